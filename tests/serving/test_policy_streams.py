"""Error policies on real streams: what the other end gets, and what is counted."""

from __future__ import annotations

import logging

import anyio
import pytest

from flowctl_aio.batches import EventBatch
from flowctl_aio.component import Processor, Sink
from flowctl_aio.errors import BadEventsError, PeerError
from flowctl_aio.serving.dead_letters import read_dead_letters
from flowctl_aio.testing.components import RecordingSink
from flowctl_aio.types import Cursor, Dialect, Event

from .hard_work import Working

pytestmark = pytest.mark.anyio
SECRET = "token=abc123"


@pytest.fixture(params=[False, True], ids=["grpc", "local"])
def local_streams(request):
    return request.param


def events(first: int, count: int) -> EventBatch:
    return EventBatch.from_events(
        Event("E", b"%d" % number, cursor=Cursor(number)) for number in range(first, first + count)
    )


def numbers(batches) -> list[int]:
    return [row.cursor.sequence for batch in batches for row in batch]


class Picky(Processor):
    """Fails at every batch with one of the bad rows in it."""

    def __init__(self, *bad: int, times: int = 0) -> None:
        self.bad, self.times, self.calls = set(bad), times, 0

    def look(self, batch) -> None:
        self.calls += 1
        if self.times > 0:
            self.times -= 1
            raise ConnectionError("not yet")
        if self.bad & set(numbers([batch])):
            raise ValueError(SECRET)

    async def process(self, batch):
        self.look(batch)
        return batch


class PickyGenerator(Picky):
    """Yields something before it fails."""

    async def process(self, batch):
        yield batch.slice(0, 1)
        self.look(batch)
        if len(batch) > 1:
            yield batch.slice(1)


class InLoop(Processor):
    """The work of `Working` without worker processes."""

    def __init__(self, **attributes) -> None:
        self.__dict__.update(attributes)

    async def process(self, batch):
        return Working.picky(self, batch)


class PickySink(RecordingSink):
    def __init__(self, *bad: int) -> None:
        super().__init__(component_id="picky-sink")
        self.bad = set(bad)

    async def consume(self, batch, epoch):
        if self.bad & set(numbers([batch])):
            raise ValueError(SECRET)
        await super().consume(batch, epoch)


async def outputs(driver, session, batches, dialect: Dialect | None = None) -> list[int]:
    async def inputs():
        for batch in batches:
            yield batch

    async with driver.processor(session.endpoint, dialect=dialect) as client, client.stream(inputs()) as stream:
        return numbers([batch async for batch in stream])


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("kind", [Picky, PickyGenerator])
@pytest.mark.parametrize("place", ["letters.jsonl", "letters.parquet"])
async def test_one_bad_row_in_a_thousand_costs_that_row_and_leaves_one_letter(
    serve, driver, tmp_path, kind, dialect, place
):
    session = await serve(kind(500), on_event_error="dead-letter", dead_letters=str(tmp_path / place))
    got = await outputs(driver, session, [events(0, 1000), events(1000, 10)], dialect)
    assert got == [number for number in range(1010) if number != 500]
    (letter,) = read_dead_letters(tmp_path / place)
    assert letter.event() == Event("E", b"500", cursor=Cursor(500))
    assert (letter.processor_id, letter.error_type, letter.message) == (
        session.info.component_id,
        "PROCESSING",
        f"ValueError: {SECRET}",
    )
    assert letter.context == {"error": "ValueError", "attempts": "10", "event_type": "E", "cursor": "500:0"}
    found = session.metrics()
    assert (found["processing_errors_total"], found["validation_errors_total"], found["errors_total"]) == (1, 0, 0)


async def test_by_default_a_bad_row_ends_its_stream(serve, driver):
    session = await serve(Picky(5))
    with pytest.raises(PeerError, match="ValueError in picky"):
        await outputs(driver, session, [events(0, 10)])
    assert session.metrics()["processing_errors_total"] == 0
    assert session.metrics()["errors_total"] == 1


@pytest.mark.parametrize("kind", [Picky, PickyGenerator])
async def test_a_batch_that_succeeds_at_the_second_attempt_is_sent_once(serve, driver, kind):
    component = kind(times=1)
    session = await serve(component, max_retries=3, retry_delay=0.001)
    assert await outputs(driver, session, [events(0, 3), events(3, 3)]) == list(range(6))
    assert component.calls == 3
    assert (session.metrics()["retries_total"], session.metrics()["errors_total"]) == (1, 0)


async def test_where_the_retries_do_not_help_the_stream_fails_and_has_sent_nothing_of_the_batch(serve, driver):
    component = PickyGenerator(4)
    session = await serve(component, max_retries=2, retry_delay=0.001)

    async def inputs():
        yield events(0, 2)
        yield events(2, 5)

    async with driver.processor(session.endpoint) as client, client.stream(inputs()) as stream:
        got = [await anext(stream), await anext(stream)]
        with pytest.raises(PeerError, match="ValueError in picky-generator"):
            await anext(stream)
    assert numbers(got) == [0, 1]
    assert (component.calls, session.metrics()["errors_total"]) == (4, 1)


async def test_a_batch_of_which_nothing_is_left_counts_as_an_error_and_the_stream_goes_on(serve, driver, caplog):
    session = await serve(Picky(*range(100)), on_event_error="skip")
    with caplog.at_level(logging.WARNING, "flowctl_aio"):
        assert await outputs(driver, session, [events(0, 50), events(50, 50), events(100, 2)]) == [100, 101]
    assert (session.metrics()["processing_errors_total"], session.metrics()["errors_total"]) == (100, 2)
    told = [record.getMessage() for record in caplog.records if "rows of a batch" in record.getMessage()]
    assert told == [f"picky: rows of a batch skipped: 50; the first at 0:0: ValueError: {SECRET}"]


async def test_a_component_may_name_its_bad_rows(serve, driver, tmp_path):
    class Naming(Picky):
        async def process(self, batch):
            self.calls += 1
            if bad := {at: "no amount" for at, number in enumerate(numbers([batch])) if number % 10 == 0}:
                raise BadEventsError(bad)
            return batch

    component, path = Naming(), tmp_path / "letters.jsonl"
    session = await serve(component, on_event_error="dead-letter", dead_letters=str(path))
    assert await outputs(driver, session, [events(0, 30)]) == [number for number in range(30) if number % 10]
    assert component.calls == 2
    assert [(letter.error_type, letter.cursor) for letter in read_dead_letters(path)] == [
        ("VALIDATION", Cursor(number)) for number in (0, 10, 20)
    ]
    assert (session.metrics()["validation_errors_total"], session.metrics()["processing_errors_total"]) == (3, 0)


async def test_a_cancellation_out_of_nowhere_is_a_failure_like_any_other(serve, driver):
    class Cancelled(Picky):
        def look(self, batch) -> None:
            if 1 in numbers([batch]):
                raise anyio.get_cancelled_exc_class()()

    session = await serve(Cancelled(), on_event_error="skip")
    assert await outputs(driver, session, [events(0, 3)]) == [0, 2]


async def test_a_client_that_leaves_ends_the_wait_for_a_retry(serve, driver, until):
    component = Picky(times=1000)
    session = await serve(component, on_event_error="skip", max_retries=10, retry_delay=1000.0)
    async with driver.processor(session.endpoint) as client:

        async def inputs():
            yield events(0, 3)
            await anyio.sleep_forever()

        async with client.stream(inputs()):
            await until(lambda: component.calls == 1)
    await until(lambda: session.metrics()["streams"] == 0)
    assert session.metrics()["processing_errors_total"] == 0


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_an_acknowledgement_tells_what_was_set_aside(serve, driver, dialect, tmp_path):
    path = tmp_path / "letters.jsonl"
    component = PickySink(3, 12)
    session = await serve(component, on_event_error="dead-letter", dead_letters=str(path))
    async with driver.sink(session.endpoint, dialect=dialect) as sink:
        await sink.send(events(0, 10))
        await sink.send(events(10, 10))
        ack = await sink.flush()
        assert (ack.batches, ack.rows, ack.failed) == (2, 18, 2)
        assert all(SECRET not in error for error in ack.errors)
        # Classic has one field for all of them.
        told = "ValueError in picky-sink, rows: 1"
        assert ack.errors == ((told, told) if dialect is Dialect.V1 else (f"{told}; {told}",))
        await sink.send(events(20, 5))
        last = await sink.flush()
        assert (last.failed, last.errors) == (0, ())
    assert numbers(component.batches) == [number for number in range(25) if number not in (3, 12)]
    assert [letter.cursor for letter in read_dead_letters(path)] == [Cursor(3), Cursor(12)]


async def test_a_commit_that_fails_is_never_skipped(serve, driver):
    class Uncommitted(Sink):
        async def consume(self, batch, epoch):
            pass

        async def commit(self, epoch):
            raise ValueError

    session = await serve(Uncommitted(), on_event_error="skip", max_retries=3, retry_delay=0.001)
    async with driver.sink(session.endpoint) as sink:
        await sink.send(events(0, 1))
        with pytest.raises(PeerError, match="ValueError in uncommitted"):
            await sink.flush()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "attributes", [{"processes": 2}, {"processes": 0, "concurrency": 3}], ids=["processes", "lanes"]
)
async def test_worker_processes_and_lanes_set_bad_rows_aside_too_and_keep_the_order(serve, driver, attributes):
    rows = 3
    batches = [
        EventBatch.from_events(Event("E", b"picky", cursor=Cursor(number, index)) for index in range(rows))
        for number in range(20)
    ]
    component = Working(**attributes) if attributes["processes"] else InLoop(**attributes)
    session = await serve(component, on_event_error="skip")
    assert await outputs(driver, session, batches) == [number for number in range(20) for _ in range(rows - 1)]
