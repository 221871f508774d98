import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.codec.split import split
from flowctl_aio.errors import FrameTooLargeError
from flowctl_aio.types import Cursor, RawLedger

quick = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
sizes = st.lists(st.integers(0, 3000), max_size=20)


def ledgers(sizes):
    return [RawLedger(sequence, bytes(size)) for sequence, size in enumerate(sizes, start=100)]


@quick
@given(sizes, st.integers(1, 5000))
def test_the_parts_are_the_batch_in_order_and_each_is_small_or_a_single_row(sizes, target):
    batch = LedgerBatch.from_ledgers(ledgers(sizes))
    parts = list(split(batch, target=target, limit=10_000))
    assert [ledger for part in parts for ledger in part] == list(batch)
    assert all(part.nbytes <= target or len(part) <= 1 for part in parts)
    assert all(len(part) for part in parts) or len(parts) == 1


def test_a_batch_that_fits_stays_whole():
    batch = LedgerBatch.from_ledgers(ledgers([10, 10]))
    assert list(split(batch, target=batch.nbytes, limit=batch.nbytes)) == [batch]


def test_a_batch_without_rows_is_one_part_with_its_cursors():
    batch = EventBatch(pa.record_batch({"x": pa.array([], pa.int64())}), first_cursor=Cursor(1), last_cursor=Cursor(9))
    assert list(split(batch, target=0, limit=0)) == [batch]


def test_a_row_above_the_target_travels_alone_and_one_above_the_limit_is_named():
    batch = LedgerBatch.from_ledgers(ledgers([10, 5000, 10]))
    assert [len(part) for part in split(batch, target=100, limit=6000)] == [1, 1, 1]
    with pytest.raises(FrameTooLargeError, match=r"one row at 101:0 takes 50\d\d bytes, above the limit of 4000"):
        list(split(batch, target=100, limit=4000))


def test_the_parts_share_the_bytes_of_the_batch():
    batch = LedgerBatch.from_ledgers(ledgers([1000] * 8))
    data = batch.record_batch.column("xdr").buffers()[2]
    for part in split(batch, target=2500, limit=10_000):
        assert part.record_batch.column("xdr").buffers()[2].address == data.address


def test_only_the_last_part_of_typed_rows_has_come_as_far_as_the_batch():
    # A checkpoint made from an earlier part would otherwise skip the rows of the later ones.
    batch = EventBatch(
        pa.record_batch({"amount": list(range(1000))}),
        event_type="transfer",
        first_cursor=Cursor(5),
        last_cursor=Cursor(9),
    )
    parts = list(split(batch, target=2500, limit=10_000))
    assert [part.last_cursor for part in parts] == [None] * (len(parts) - 1) + [Cursor(9)]
    assert {part.first_cursor for part in parts} == {Cursor(5)}
    assert {part.event_type for part in parts} == {"transfer"}
