"""The error policy of one batch, with values: what is tried, in what order, and what is set aside."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import BadEventsError, CodecError, ConfigError, StreamError
from flowctl_aio.serving.policy import MAX_DELAY, Policy, Trial, without
from flowctl_aio.types import Cursor, Event, RawLedger

pytestmark = pytest.mark.anyio
SKIP = Policy("skip")


def batch(count: int) -> EventBatch:
    return EventBatch.from_events([Event("E", b"", cursor=Cursor(number)) for number in range(count)])


def numbers(part) -> list[int]:
    return [row.cursor.sequence for row in part]


class Picky:
    """Takes a batch unless one of its rows is bad; fails `times` times before that whatever comes."""

    def __init__(self, bad=(), *, times: int = 0, error: type[Exception] = ValueError) -> None:
        self.bad, self.times, self.error = set(bad), times, error
        self.calls: list[list[int]] = []

    async def __call__(self, part) -> list[int]:
        self.calls.append(numbers(part))
        if self.times > 0:
            self.times -= 1
            raise ConnectionError("not yet")
        if self.bad & set(numbers(part)):
            raise self.error("bad")
        return numbers(part)


async def tried(policy: Policy, attempt, given, waits: list[float] | None = None) -> Trial:
    async def sleep(seconds: float) -> None:
        (waits if waits is not None else []).append(seconds)

    trial = Trial(policy, attempt, sleep=sleep, jitter=lambda: 1.0)
    await trial.run(given)
    return trial


def rows_of(trial: Trial) -> list[int]:
    return [number for part in trial.results for number in part]


def aside_of(trial: Trial) -> list[int]:
    return [numbers(row.row)[0] for row in trial.aside]


async def test_a_batch_without_bad_rows_is_given_once_and_whole():
    picky = Picky()
    trial = await tried(SKIP, picky, batch(10))
    assert (picky.calls, trial.results, trial.aside) == ([list(range(10))], [list(range(10))], [])


@given(st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1)))))
async def test_exactly_the_bad_rows_are_set_aside_and_the_rest_keeps_its_order(case):
    size, bad = case
    picky = Picky(bad)
    trial = await tried(SKIP, picky, batch(size))
    assert rows_of(trial) == [number for number in range(size) if number not in bad]
    assert aside_of(trial) == sorted(bad)
    assert len(picky.calls) < 2 * size


@given(st.integers(1, 30).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1), min_size=1))))
async def test_rows_that_the_component_names_are_set_aside_without_searching(case):
    size, bad = case
    calls = []

    async def naming(part):
        calls.append(numbers(part))
        if named := {at: f"row {number}" for at, number in enumerate(numbers(part)) if number in bad}:
            raise BadEventsError(dict(reversed(named.items())))
        return numbers(part)

    trial = await tried(Policy("skip", max_retries=3), naming, batch(size))
    assert rows_of(trial) == [number for number in range(size) if number not in bad]
    assert aside_of(trial) == sorted(bad)
    assert [row.reason for row in trial.aside] == [f"row {number}" for number in sorted(bad)]
    assert all(row.is_invalid and row.attempts == 1 for row in trial.aside)
    assert len(calls) == (1 if len(bad) == size else 2)
    assert trial.retries == 0


@pytest.mark.parametrize("rows", [{}, {10: "beyond"}, {-1: "before"}, {"a": "no number"}])
async def test_rows_that_are_not_there_are_searched_for(rows):
    async def wrong(part):
        if 3 in numbers(part):
            raise BadEventsError(rows)
        return numbers(part)

    trial = await tried(SKIP, wrong, batch(10))
    assert aside_of(trial) == [3]


async def test_a_retry_that_succeeds_sets_nothing_aside():
    waits: list[float] = []
    picky = Picky(times=2)
    trial = await tried(Policy("skip", max_retries=5, retry_delay=1.0), picky, batch(4), waits)
    assert (rows_of(trial), trial.aside, trial.retries) == ([0, 1, 2, 3], [], 2)
    assert waits == [1.0, 2.0]


async def test_only_the_whole_batch_is_retried():
    picky = Picky([2])
    trial = await tried(Policy("skip", max_retries=2), picky, batch(4))
    assert picky.calls == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1], [2, 3], [2], [3]]
    assert (aside_of(trial), trial.aside[0].attempts, trial.retries) == ([2], 5, 2)


async def test_where_the_policy_is_to_fail_the_last_error_comes_out_after_the_retries():
    picky = Picky([0])
    with pytest.raises(ValueError, match="bad"):
        await tried(Policy("fail", max_retries=2), picky, batch(2))
    assert len(picky.calls) == 3


async def test_no_row_can_be_blamed_for_an_empty_batch():
    with pytest.raises(ConnectionError):
        await tried(SKIP, Picky(times=1), batch(0))


async def test_an_error_of_the_stream_is_nobodys_row():
    picky = Picky([1], error=StreamError)
    with pytest.raises(StreamError):
        await tried(Policy("skip", max_retries=3), picky, batch(2))
    assert len(picky.calls) == 1


async def test_what_does_not_decode_is_invalid_and_anything_else_has_failed():
    invalid = await tried(SKIP, Picky([0], error=CodecError), batch(1))
    failed = await tried(SKIP, Picky([0]), batch(1))
    assert [invalid.aside[0].is_invalid, failed.aside[0].is_invalid] == [True, False]


async def test_a_reason_is_bounded_and_can_always_be_sent():
    class OddError(Exception):
        def __str__(self) -> str:
            raise ValueError

    for error in (ValueError("x" * 10_000), ValueError("\ud800"), OddError()):

        async def fails(part, error=error):
            raise error

        reason = (await tried(SKIP, fails, batch(1))).aside[0].reason
        assert len(reason.encode()) <= 2000


def test_waits_double_up_to_a_limit_and_are_any_part_of_that():
    policy = Policy(max_retries=1000, retry_delay=1.0)
    assert list(policy.delays(lambda: 1.0))[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, MAX_DELAY, MAX_DELAY]
    assert list(policy.delays(lambda: 0.0)) == [0.0] * 1000
    assert list(Policy().delays()) == []


@pytest.mark.parametrize(
    "whole",
    [
        batch(5),
        LedgerBatch.from_ledgers(RawLedger(number, b"xdr") for number in range(5)),
        EventBatch(
            pa.record_batch({"n": [1, 2, 3, 4, 5]}), event_type="N", first_cursor=Cursor(1), last_cursor=Cursor(9)
        ),
    ],
)
def test_the_rest_of_a_batch_covers_what_the_whole_did(whole):
    rest = without(whole, {0, 4})
    assert type(rest) is type(whole)
    assert len(rest) == 3
    assert (rest.first_cursor, rest.last_cursor) == (whole.first_cursor, whole.last_cursor)
    assert (rest.event_type, rest.schema) == (whole.event_type, whole.schema)


@pytest.mark.parametrize("place", ["letters.jsonl", "/var/letters.parquet", "localhost:50051", "unix:///run/sink"])
def test_dead_letters_go_to_a_file_a_folder_or_a_sink(place):
    assert FlowctlConfig(on_event_error="dead-letter", dead_letters=place).dead_letters == place


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"on_event_error": "dead-letter"}, "dead_letters must name a place"),
        ({"dead_letters": "letters.csv"}, "dead_letters must be a path ending in .jsonl or .parquet, or host:port"),
        ({"on_event_error": "ignore"}, "on_event_error must be one of fail, skip, dead-letter"),
        ({"max_retries": -1}, "max_retries must lie between 0 and 1000"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(settings, problem):
    with pytest.raises(ConfigError, match=problem):
        FlowctlConfig(**settings)
