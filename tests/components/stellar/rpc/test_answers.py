"""Answers of a server as it writes them, and answers that are none."""

from __future__ import annotations

import gzip
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.components.stellar.lake.store import PassingError
from flowctl_aio.components.stellar.rpc.answers import (
    RefusedError,
    read_page,
    read_passphrase,
    read_result,
    read_window,
)
from flowctl_aio.components.stellar.rpc.client import read_retry_after


def test_pages_of_real_ledgers_give_their_bytes_and_chain_across_pages(real):
    folder = real.root / "containers" / "rpc"
    one, two = (read_result((folder / f"getLedgers.testnet.page{n}.response.json").read_bytes(), 1) for n in (1, 2))
    first = read_page(one, first=997, limit=2)
    second = read_page(two, first=999, limit=2, previous=first.ledgers[-1])
    assert (first.fault, second.fault) == (None, None)
    assert first.latest == 999
    found = [*first.ledgers, *second.ledgers]
    assert [ledger.xdr for ledger in found] == [real.ledgers(f"testnet-{n}")[0] for n in (997, 998, 999)]
    packed = gzip.decompress((folder / "getLedgers.pubnet.response.json.gz").read_bytes())
    busy = read_page(read_result(packed, 1), first=63092988, limit=2)
    assert [ledger.sequence for ledger in busy.ledgers] == [63092988, 63092989]


def test_an_error_is_told_in_the_servers_words(real):
    text = (real.root / "containers" / "rpc" / "getLedgers.testnet.after-tip.response.json").read_bytes()
    with pytest.raises(RefusedError, match="must be between the oldest ledger: 997") as caught:
        read_result(text, 1)
    assert caught.value.code == -32600


def test_words_of_a_server_are_bounded_and_on_one_line():
    with pytest.raises(RefusedError) as caught:
        read_result(b'{"error":{"code":1,"message":"a\\u001b\\nb' + b"x" * 10_000 + b'"}}', 1)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_numbers_may_be_text():
    window = read_window({"oldestLedger": "7", "latestLedger": 9})
    assert (window.oldest, window.latest) == (7, 9)
    for wrong in (None, "", "-1", "٣", 1.0, True, 2**32, "9" * 50, []):
        with pytest.raises(PassingError):
            read_window({"oldestLedger": 1, "latestLedger": wrong})
    with pytest.raises(PassingError):
        read_window({"oldestLedger": 9, "latestLedger": 7})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
ENTRIES = st.lists(
    JSON | st.fixed_dictionaries({"hash": JSON | st.just("00"), "sequence": JSON | st.just(7), "metadataXdr": JSON})
)
RESULTS = st.fixed_dictionaries({"ledgers": ENTRIES | JSON, "latestLedger": JSON | st.just(9), "passphrase": JSON})


@given(RESULTS | st.dictionaries(st.text(), JSON))
def test_no_answer_makes_another_error(result):
    for read in (read_window, read_passphrase, lambda values: read_page(values, first=7, limit=2)):
        with suppress(PassingError):
            read(result)


@given(st.binary() | st.text().map(str.encode))
def test_no_text_makes_another_error(text):
    with pytest.raises(PassingError):
        read_result(text, 1)


@given(st.text())
def test_no_header_makes_an_error(text):
    assert (read_retry_after(text) or 0) >= 0
