"""What lies behind a cursor, with values."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.errors import ConfigError
from flowctl_aio.streams.behind import rows_behind
from flowctl_aio.streams.resume import cursor_of, position_of, start_behind
from flowctl_aio.types import Cursor, Event, RawLedger, StreamRequest

cursors = st.builds(Cursor, st.integers(0, 5), st.integers(0, 3))


def rows(first: int, last: int) -> EventBatch:
    table = pa.record_batch({"n": list(range(first, last + 1))})
    return EventBatch(table, event_type="N", first_cursor=Cursor(first), last_cursor=Cursor(last))


@given(st.lists(st.none() | cursors, min_size=1, max_size=12), cursors)
def test_of_events_just_those_behind_the_cursor_stay(of_events, cursor):
    batch = EventBatch.from_events(
        Event("E", str(n).encode(), cursor=at) for n, at in enumerate(sorted(of_events, key=str))
    )
    kept = [row for row in batch if row.cursor is None or row.cursor > cursor]
    behind = rows_behind(batch, cursor)
    assert (list(behind) if behind is not None else []) == kept


@given(st.integers(0, 5), st.integers(1, 5), cursors)
def test_of_ledgers_just_those_behind_the_cursors_ledger_stay(first, count, cursor):
    batch = LedgerBatch.from_ledgers(RawLedger(n, b"x") for n in range(first, first + count))
    behind = rows_behind(batch, cursor)
    kept = [n for n in range(first, first + count) if n > cursor.sequence]
    assert [row.sequence for row in behind or ()] == kept


def test_a_part_of_a_batch_keeps_its_trace_and_its_type():
    batch = LedgerBatch.from_ledgers([RawLedger(1, b"x"), RawLedger(2, b"x")])
    batch.trace = {"traceparent": "t"}
    behind = rows_behind(batch, Cursor(1))
    assert (behind.trace, behind.first_cursor, type(behind)) == (batch.trace, Cursor(2), LedgerBatch)


def test_rows_without_cursors_are_dropped_by_whole_batches():
    assert rows_behind(rows(1, 4), Cursor(4)) is None
    assert len(rows_behind(rows(1, 4), Cursor(3))) == 4
    assert len(rows_behind(rows(1, 4), None)) == 4
    empty = EventBatch(pa.record_batch({"n": []}), first_cursor=Cursor(5), last_cursor=Cursor(6))
    assert rows_behind(empty, Cursor(4)) is empty
    assert rows_behind(empty, Cursor(6)) is None


def test_a_start_lies_within_what_was_asked_for():
    ask = StreamRequest(start=10, end=20)
    assert start_behind(ask, None) == 10
    assert start_behind(ask, Cursor(5)) == 10
    assert start_behind(ask, Cursor(15, 3)) == 15
    assert start_behind(ask, Cursor(15), is_whole=True) == 16
    assert start_behind(ask, Cursor(99)) == 20
    assert start_behind(StreamRequest(), Cursor(7)) == 7
    with pytest.raises(ConfigError, match="4294967296:0"):
        start_behind(ask, Cursor(2**32))


@given(st.text(max_size=30))
def test_a_token_is_a_cursor_or_somebody_elses(text):
    cursor = cursor_of(text)
    assert cursor is None or cursor == Cursor.parse(text)


@pytest.mark.anyio
async def test_a_position_is_a_cursor_a_checkpoint_or_a_token():
    class Kept:
        async def load(self):
            return Cursor(9)

        async def save(self, cursor): ...

    assert await position_of(Cursor(1, 2)) == (Cursor(1, 2), "")
    assert await position_of(Kept()) == (Cursor(9), "")
    assert await position_of("7:3") == (Cursor(7, 3), "")
    assert await position_of("page=4") == (None, "page=4")
    assert await position_of(None) == (None, "")
