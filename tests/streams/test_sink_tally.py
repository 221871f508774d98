"""When an epoch ends, with values: the limits, and what is inside a ledger."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.errors import ConfigError
from flowctl_aio.streams.epoch import EpochLimits, EpochTally
from flowctl_aio.types import Cursor, Event, RawLedger


def ledgers(*sequences: int) -> LedgerBatch:
    return LedgerBatch.from_ledgers(RawLedger(sequence, b"xdr") for sequence in sequences)


def events(*cursors: Cursor | None) -> EventBatch:
    return EventBatch.from_events(Event("E", b"p", cursor=cursor) for cursor in cursors)


def rows(first: Cursor | None, last: Cursor | None) -> EventBatch:
    return EventBatch(pa.record_batch({"n": [1]}), first_cursor=first, last_cursor=last)


def tally_of(*batches, at: float = 0.0) -> EpochTally:
    tally = EpochTally(0.0)
    for batch in batches:
        tally.note(batch, at)
    return tally


def test_the_first_limit_that_is_reached_makes_it_due():
    tally = tally_of(ledgers(1), ledgers(2))
    none = {"batches": None, "bytes": None, "interval": None}
    assert not tally.is_due(EpochLimits(**none), 1e9)
    assert tally.is_due(EpochLimits(**none | {"batches": 2}), 0)
    assert not tally.is_due(EpochLimits(**none | {"batches": 3}), 0)
    assert tally.is_due(EpochLimits(**none | {"bytes": tally.bytes}), 0)
    assert not tally.is_due(EpochLimits(**none | {"bytes": tally.bytes + 1}), 0)
    assert tally.is_due(EpochLimits(**none | {"interval": 2.0}), 2.0)
    assert not tally_of().is_due(EpochLimits(interval=2.0), 99)


def test_limits_that_cannot_be_are_all_named():
    with pytest.raises(ConfigError) as caught:
        EpochLimits(batches=0, bytes=-1, interval=0.0)
    assert [problem.split()[0] for problem in caught.value.problems] == [
        "epoch_batches",
        "epoch_bytes",
        "epoch_interval",
    ]


def test_it_ends_between_ledgers_only():
    open_ = tally_of(events(Cursor(7, 0), Cursor(7, 1)))
    assert not open_.ends_before(events(Cursor(7, 2)))
    assert open_.ends_before(events(Cursor(8, 0)))
    part = tally_of(rows(Cursor(7), None))
    assert not part.ends_before(ledgers(9))
    assert tally_of(rows(None, None)).ends_before(ledgers(1))


def test_silence_ends_it_where_it_may_be_the_end_of_a_ledger():
    limits, whole = EpochLimits(interval=10.0), EpochLimits(interval=10.0, whole_ledgers=True)
    assert tally_of(ledgers(1), at=4.0).due_at(limits) == 10.0
    assert tally_of(events(Cursor(1)), at=4.0).due_at(limits) == 14.0
    assert tally_of(events(Cursor(1)), at=4.0).due_at(whole) is None
    assert tally_of(events(None), at=4.0).due_at(whole) == 10.0
    assert tally_of(rows(Cursor(7), None)).due_at(limits) is None
    assert tally_of().due_at(limits) is None


@given(st.lists(st.integers(1, 4), min_size=1, max_size=30), st.integers(1, 5))
def test_no_ledger_is_ever_in_two_epochs(events_of, limit):
    limits = EpochLimits(batches=limit, bytes=None, interval=None)
    flow = [events(Cursor(n, i)) for n, count in enumerate(events_of) for i in range(count)]
    epochs: list[set[int]] = []
    tally = None
    for batch in flow:
        if tally is None or (tally.is_due(limits, 0) and tally.ends_before(batch)):
            tally = EpochTally(0.0)
            epochs.append(set())
        tally.note(batch, 0)
        epochs[-1].add(batch.first_cursor.sequence)
    assert sum(map(len, epochs)) == len(events_of)
