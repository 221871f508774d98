"""Claims about the skip walker: it agrees with a full decoder, and bad bytes give one kind of error."""

from __future__ import annotations

import random
from typing import Any

import pytest
from stellar_sdk.xdr import LedgerCloseMeta

from flowctl_aio.components.stellar.xdr import ledger_header, split_ledgers, walk_ledger
from flowctl_aio.components.stellar.xdr.entries import skip_changes
from flowctl_aio.components.stellar.xdr.meta import walk_meta
from flowctl_aio.components.stellar.xdr.results import skip_result_pair
from flowctl_aio.components.stellar.xdr.values import skip_scvals
from flowctl_aio.components.stellar.xdr.words import decoding, words_of
from flowctl_aio.errors import LedgerDecodeError

# Small enough for a slow library, and between them every version and most kinds of operation.
COMPARED = [
    "pubnet-6154623",
    "pubnet-16154623",
    "pubnet-30822018",
    "pubnet-53312000",
    "testnet-997",
    "pubnet-46154623",
    "pubnet-57500008",
    "pubnet-63092989",
    "coretest-MergeTests-7b2e6a32c85708f5",
    "coretest-InvokeHostFunctionTests-6de1fadf0f1a6789",
    "coretest-InvokeHostFunctionTests-99541d3371b2ebcf",
    "coretest-InvokeHostFunctionTests-90bf93d9cc8919fb",
    "coretest-FrozenLedgerKeysTests-7832644d33f07016",
    "coretest-BeginSponsoringFutureReservesTests-290f483246862549",
]
BROKEN = ["pubnet-16154623", "testnet-998", "coretest-MergeTests-7b2e6a32c85708f5"]


def test_every_real_ledger_ends_on_its_last_word(real: Any, real_name: str) -> None:
    for data in real.ledgers(real_name):
        assert walk_ledger(data).header == ledger_header(data)
        assert walk_ledger(data, with_envelopes=False).transactions == walk_ledger(data).transactions


@pytest.mark.parametrize("name", COMPARED)
def test_walk_and_header_agree_with_a_full_decoder(real: Any, name: str) -> None:
    for data in real.ledgers(name):
        decoded = LedgerCloseMeta.from_xdr_bytes(data)
        body = next(part for part in (decoded.v0, decoded.v1, decoded.v2) if part is not None)
        entry, ledger = body.ledger_header, walk_ledger(data)
        assert ledger.header == (
            entry.header.ledger_seq.uint32,
            entry.header.scp_value.close_time.time_point.uint64,
            entry.hash.hash,
            entry.header.previous_ledger_hash.hash,
            entry.header.ledger_version.uint32,
        )
        assert len(ledger.envelopes) == len(ledger.transactions) == len(body.tx_processing)
        for walked, processed in zip(ledger.transactions, body.tx_processing, strict=True):
            start = 4 * walked.result.pair
            assert data[start : start + 32] == processed.result.transaction_hash.hash
            meta = processed.tx_apply_processing
            parts = next(part for part in (meta.v1, meta.v2, meta.v3, meta.v4) if part is not None)
            assert walked.meta.version == meta.v
            assert len(walked.meta.operations) == len(parts.operations)
            assert len(walked.meta.events) == len(getattr(parts, "events", None) or [])


@pytest.mark.parametrize("name", COMPARED)
def test_a_transaction_passed_at_once_is_as_its_parts_are(real: Any, name: str) -> None:
    for data in real.ledgers(name):
        ledger = walk_ledger(data)
        w = ledger.words
        for result, fee_changes, meta, post_fee_changes in ledger.transactions:
            assert skip_result_pair(w, result.pair) == fee_changes
            i, parts = walk_meta(w, skip_changes(w, fee_changes))
            assert parts == meta
            assert post_fee_changes in (0, i)


def test_ledgers_back_to_back_are_cut_apart(real: Any) -> None:
    ledgers = real.ledgers("coretest-OfferTests-f7a7364752aecebb")
    assert split_ledgers(b"".join(ledgers), len(ledgers)) == ledgers
    assert split_ledgers(b"", 0) == []


def test_another_number_of_ledgers_than_announced_is_refused(real: Any) -> None:
    ledgers = real.ledgers("coretest-MergeTests-7b2e6a32c85708f5")
    with pytest.raises(LedgerDecodeError, match="bytes follow the last of 1"):
        split_ledgers(b"".join(ledgers), 1)
    with pytest.raises(LedgerDecodeError, match="the bytes end before number 3 of 3"):
        split_ledgers(b"".join(ledgers), 3)
    with pytest.raises(LedgerDecodeError, match="end inside a value"):
        split_ledgers(b"".join(ledgers)[:-4], 2)


def test_the_header_is_read_without_the_rest(real: Any) -> None:
    (data,) = real.ledgers("pubnet-63092991")
    assert ledger_header(data[:1001]).sequence == 63092991


@pytest.mark.parametrize("name", BROKEN)
def test_a_cut_ledger_is_an_error_that_names_it(real: Any, name: str) -> None:
    data = real.ledgers(name)[-1]
    sequence = ledger_header(data).sequence
    cuts = random.Random(1).sample(range(len(data)), 120)
    for cut in cuts:
        with pytest.raises(LedgerDecodeError) as caught:
            walk_ledger(data[:cut])
        error = caught.value
        assert error.ledger in (None, sequence)  # a cut header does not say
        assert error.offset is not None
        assert error.offset >= 0


def test_bytes_after_the_end_are_an_error_that_says_where(real: Any) -> None:
    data = real.ledgers("testnet-997")[0]
    with pytest.raises(LedgerDecodeError, match="8 bytes follow its end") as caught:
        walk_ledger(data + bytes(8))
    assert (caught.value.ledger, caught.value.offset) == (997, len(data))


@pytest.mark.parametrize("name", BROKEN)
def test_a_flipped_bit_gives_one_kind_of_error_or_none(real: Any, name: str) -> None:
    data = real.ledgers(name)[-1]
    chance = random.Random(2)
    failed = 0
    for _ in range(400):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            walk_ledger(bytes(broken))
        except LedgerDecodeError as error:
            failed += error.offset is not None
    assert failed > 10


def test_any_word_may_be_the_largest_number(real: Any) -> None:
    """Counts and lengths of four thousand million neither hang nor use up memory."""
    data = real.ledgers("coretest-MergeTests-7b2e6a32c85708f5")[-1]
    for word in range(len(data) // 4):
        broken = data[: 4 * word] + b"\xff\xff\xff\xff" + data[4 * word + 4 :]
        try:
            walk_ledger(broken)
        except LedgerDecodeError:
            continue


@pytest.mark.parametrize("data", [b"", bytes(4), b"\0\0\0\1", b"abc", bytes(5), b"\xff" * 64])
def test_what_is_no_ledger_is_refused(data: bytes) -> None:
    for read in (walk_ledger, ledger_header):
        with pytest.raises(LedgerDecodeError):
            read(data)


def test_an_unknown_version_is_said_by_its_number(real: Any) -> None:
    data = real.ledgers("testnet-997")[0]
    with pytest.raises(LedgerDecodeError, match="LedgerCloseMeta has version 3"):
        walk_ledger(b"\0\0\0\3" + data[4:])
    ledger = walk_ledger(data)
    meta = 4 * (ledger.transactions[0].meta.before - 2)  # before the extension and the version
    with pytest.raises(LedgerDecodeError, match=r"ledger 997 .* transaction meta has version 5") as caught:
        walk_ledger(data[:meta] + b"\0\0\0\5" + data[meta + 4 :])
    assert caught.value.offset == meta + 4


def test_no_depth_of_nesting_is_too_much() -> None:
    vector_of_one = b"\0\0\0\x10\0\0\0\1\0\0\0\1"
    depth = 100_000
    w = words_of(vector_of_one * depth + b"\0\0\0\1")
    assert skip_scvals(w, 0, 1) == len(w)


def test_recursion_that_ran_out_becomes_the_decode_error() -> None:
    def deeper(i: int) -> int:
        return deeper(i + 1)

    with pytest.raises(LedgerDecodeError, match="nested too deep"), decoding(ledger=7):
        deeper(0)
