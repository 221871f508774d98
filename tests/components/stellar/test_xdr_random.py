"""Claims about corners of the schema that no ledger at hand reaches: values at random, from another library.

That library's own decoder is given a source of random numbers in place of bytes, so it makes values of every type
it knows; written out again, the walker must end exactly where they end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any

import pytest
import stellar_sdk.xdr as sx

from flowctl_aio.components.stellar.xdr import ledger_header, walk_ledger
from flowctl_aio.components.stellar.xdr.entries import read_changes, skip_changes
from flowctl_aio.components.stellar.xdr.envelopes import Envelope, walk_envelope, walk_envelopes
from flowctl_aio.components.stellar.xdr.meta import walk_meta
from flowctl_aio.components.stellar.xdr.results import skip_result_pair
from flowctl_aio.components.stellar.xdr.values import skip_event, skip_ledger_key, skip_scvals
from flowctl_aio.components.stellar.xdr.words import words_of

# Discriminants are drawn blindly; a union that gets none of its own draws again.
_TRIES = 500


class Chance:
    """Stands where the decoder expects bytes. Lengths become 0 when the value has grown enough."""

    def __init__(self, seed: int, *, plenty: int) -> None:
        self.random = random.Random(seed)
        self.left = plenty

    def get_buffer(self) -> bytes:
        return bytes(1000)

    def get_position(self) -> int:
        return 0

    def unpack_uint(self) -> int:
        self.left -= 1
        return self.random.choice((0, 1, 1, 2, 3)) if self.left > 0 else 0

    def unpack_int(self) -> int:
        return self.random.randrange(5)

    def unpack_uhyper(self) -> int:
        return self.random.randrange(2**33)

    def unpack_hyper(self) -> int:
        return self.random.randrange(-(2**63), 2**63)

    def unpack_bool(self) -> bool:
        return self.random.random() < 0.5

    def unpack_fopaque(self, size: int) -> bytes:
        return self.random.randbytes(size)


def choosing(kind: type[IntEnum]) -> Any:
    members = list(kind)
    if kind.__name__.endswith("ResultCode"):
        # Success is one code of many, and the one that says more.
        members += [kind(0)] * len(members)
    return classmethod(lambda cls, chance: chance.random.choice(members))


def retrying(unpack: Callable[..., Any]) -> Any:
    def again(cls: type, chance: Chance, *depth: int) -> Any:
        for _ in range(_TRIES):
            try:
                return unpack(cls, chance, *depth)
            except ValueError:
                continue
        raise AssertionError(f"{cls.__name__} cannot be made by chance")

    return classmethod(again)


@pytest.fixture(scope="module", autouse=True)
def _decoder_takes_chance() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in dir(sx):
            kind = getattr(sx, name)
            if isinstance(kind, type) and "unpack" in vars(kind) and kind.__module__.startswith("stellar_sdk.xdr."):
                if issubclass(kind, IntEnum):
                    patch.setattr(kind, "unpack", choosing(kind))
                elif isinstance(vars(kind)["unpack"], classmethod):
                    patch.setattr(kind, "unpack", retrying(vars(kind)["unpack"].__func__))
        yield


@pytest.mark.parametrize(
    ("kind", "end_of"),
    [
        (sx.SCVal, lambda w: skip_scvals(w, 0, 1)),
        (sx.LedgerKey, lambda w: skip_ledger_key(w, 0)),
        (sx.LedgerEntryChanges, lambda w: skip_changes(w, 0)),
        (sx.ContractEvent, lambda w: skip_event(w, 0)),
        (sx.TransactionEnvelope, lambda w: walk_envelope(w, 0)[0]),
        (sx.TransactionResultPair, lambda w: skip_result_pair(w, 0)),
        (sx.TransactionMeta, lambda w: walk_meta(w, 0)[0]),
    ],
    ids=lambda value: getattr(value, "__name__", None) if isinstance(value, type) else "",
)
def test_the_walk_ends_where_a_random_value_ends(kind: Any, end_of: Callable[[Any], int]) -> None:
    for seed in range(400):
        value = kind.unpack(Chance(seed, plenty=60))
        if kind is sx.TransactionMeta and value.v == 0:
            continue  # an error that says so
        w = words_of(value.to_xdr_bytes())
        assert end_of(w) == len(w), f"seed {seed}"


def test_random_ledgers_are_walked_to_their_end() -> None:
    made = 0
    for seed in range(300):
        value = sx.LedgerCloseMeta.unpack(Chance(seed, plenty=150))
        body = value.v0 or value.v1 or value.v2
        if any(each.tx_apply_processing.v == 0 for each in body.tx_processing):
            continue
        data = value.to_xdr_bytes()
        ledger = walk_ledger(data)
        assert walk_ledger(data, with_envelopes=False).transactions == ledger.transactions
        assert ledger.header == ledger_header(data)
        assert ledger.header.sequence == body.ledger_header.header.ledger_seq.uint32
        assert len(ledger.transactions) == len(body.tx_processing)
        made += 1
    assert made > 100


def test_envelopes_of_usual_shapes_are_read_as_the_walk_reads_them() -> None:
    for seed in range(400):
        some = [sx.TransactionEnvelope.unpack(Chance(seed + k, plenty=30)) for k in range(3)]
        w = words_of(b"\0\0\0\3" + b"".join(each.to_xdr_bytes() for each in some))
        found: list[Envelope] = []
        assert walk_envelopes(w, 0, found) == walk_envelopes(w, 0, None) == len(w), f"seed {seed}"
        i = 1
        for envelope in found:
            i, walked = walk_envelope(w, i)
            assert envelope == walked, f"seed {seed}"


def test_the_entries_of_random_changes_are_found() -> None:
    for seed in range(200):
        value = sx.LedgerEntryChanges.unpack(Chance(seed, plenty=60))
        found = read_changes(words_of(value.to_xdr_bytes()), 0)
        assert [entry.change for entry in found] == [change.type.value for change in value.ledger_entry_changes]
        for entry, change in zip(found, value.ledger_entry_changes, strict=True):
            kept = change.created or change.updated or change.state or change.restored
            assert entry.kind == (kept.data.type if kept else change.removed.type).value
