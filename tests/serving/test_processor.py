"""A served processor: every shape of answer, in the order of the inputs, and its faults."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from flowctl_aio.batches import EventBatch
from flowctl_aio.component import Processor
from flowctl_aio.errors import PeerError
from flowctl_aio.types import Cursor, Dialect, Event

pytestmark = pytest.mark.anyio


def event(sequence: int, size: int = 0) -> EventBatch:
    return EventBatch.from_events([Event("E", b"x" * size, cursor=Cursor(sequence))])


@pytest.fixture(params=[False, True], ids=["grpc", "local"])
def local_streams(request):
    return request.param


def numbers(batches) -> list[int]:
    return [row.cursor.sequence for batch in batches for row in batch]


async def inputs(count: int, size: int = 0):
    for sequence in range(count):
        yield event(sequence, size)


async def outputs(driver, session, count: int, dialect: Dialect | None = None) -> list[int]:
    async with driver.processor(session.endpoint, dialect=dialect) as client, client.stream(inputs(count)) as stream:
        return numbers([batch async for batch in stream])


class Same(Processor):
    async def process(self, batch):
        return batch


class Even(Processor):
    async def process(self, batch):
        return batch if batch.first_cursor.sequence % 2 == 0 else None


class Twice(Processor):
    async def process(self, batch):
        return [batch, batch]


class Tuple(Processor):
    async def process(self, batch):
        return (batch,)


class Generator(Processor):
    async def process(self, batch):
        yield batch
        await anyio.lowlevel.checkpoint()
        yield batch


class Late(Processor):
    """Holds everything back until the end."""

    def __init__(self) -> None:
        self.held = []

    async def process(self, batch):
        self.held.append(batch)

    async def flush(self):
        return self.held


SHAPES = [
    (Same, [0, 1, 2, 3]),
    (Even, [0, 2]),
    (Twice, [0, 0, 1, 1, 2, 2, 3, 3]),
    (Tuple, [0, 1, 2, 3]),
    (Generator, [0, 0, 1, 1, 2, 2, 3, 3]),
    (Late, [0, 1, 2, 3]),
]


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize(("component", "expected"), SHAPES)
async def test_every_shape_of_answer_keeps_the_order(serve, driver, component, expected, dialect):
    session = await serve(component())
    assert await outputs(driver, session, 4, dialect) == expected


async def test_no_inputs_give_the_flush_alone(serve, driver):
    class Last(Same):
        async def flush(self):
            return event(99)

    session = await serve(Last())
    assert await outputs(driver, session, 0) == [99]


async def test_a_thousand_batches_keep_their_order(serve, driver):
    session = await serve(Same())
    assert await outputs(driver, session, 1000) == list(range(1000))


async def test_an_empty_batch_travels_for_its_cursors(serve, driver):
    class Watermark(Processor):
        async def process(self, batch):
            return EventBatch(
                batch.record_batch.slice(0, 0), first_cursor=batch.first_cursor, last_cursor=batch.last_cursor
            )

    session = await serve(Watermark())
    async with driver.processor(session.endpoint) as client, client.stream(inputs(3)) as stream:
        got = [batch async for batch in stream]
    assert [(len(batch), batch.last_cursor) for batch in got] == [(0, Cursor(n)) for n in range(3)]


class InProcess(Processor):
    async def process(self, batch):
        raise ValueError("token=abc123")


class InCall(Processor):
    def process(self, batch):
        raise ValueError("token=abc123")


class InGenerator(Processor):
    async def process(self, batch):
        yield batch
        raise ValueError("token=abc123")


class InFlush(Same):
    async def flush(self):
        raise ValueError("token=abc123")


@pytest.mark.parametrize("component", [InProcess, InCall, InGenerator, InFlush])
async def test_a_fault_is_counted_and_tells_no_secret(serve, driver, component):
    session = await serve(component())
    with pytest.raises(PeerError, match="ValueError in in-") as caught:
        await outputs(driver, session, 3)
    assert "abc123" not in f"{caught.value}{caught.value.details}"
    assert session.metrics()["errors_total"] == 1


class NoBatch(Processor):
    async def process(self, batch):
        return "rows"


class NoBatchInList(Processor):
    async def process(self, batch):
        return [batch, Event("E", b"")]


class Sync(Processor):
    def process(self, batch):
        return batch


class YieldsRows(Processor):
    async def process(self, batch):
        yield Event("E", b"")


@pytest.mark.parametrize("component", [NoBatch, NoBatchInList, Sync, YieldsRows])
async def test_a_processor_that_gives_something_else_is_a_fault(serve, driver, component):
    session = await serve(component())
    with pytest.raises(PeerError, match="TypeError in"):
        await outputs(driver, session, 1)
    assert session.metrics()["errors_total"] == 1


async def test_a_cancelled_error_out_of_nowhere_is_a_fault(serve, driver):
    class Confused(Processor):
        async def process(self, batch):
            raise asyncio.CancelledError

    session = await serve(Confused())
    with pytest.raises(PeerError, match="CancelledError out of nowhere"), anyio.fail_after(5):
        await outputs(driver, session, 1)


async def test_a_fault_in_one_stream_leaves_the_others_alone(serve, driver):
    class Picky(Processor):
        async def process(self, batch):
            if batch.first_cursor.sequence == 13:
                raise ValueError
            return batch

    session = await serve(Picky())
    async with driver.processor(session.endpoint) as client:
        gate = anyio.Event()

        async def gated():
            yield event(1)
            await gate.wait()
            yield event(2)

        async with client.stream(gated()) as good:
            await anext(good)
            with pytest.raises(PeerError):
                await outputs(driver, session, 14)
            gate.set()
            assert numbers([batch async for batch in good]) == [2]


async def test_the_true_reason_comes_out_while_inputs_are_still_being_written(serve, driver):
    session = await serve(InProcess())
    for _ in range(10):
        async with driver.processor(session.endpoint) as client, client.stream(inputs(10_000, 500_000)) as stream:
            with pytest.raises(PeerError, match="ValueError in in-process"):
                await anext(stream)


async def test_a_slow_reader_bounds_how_many_inputs_are_taken(serve, driver):
    session = await serve(Same(), max_inflight=2)
    taken = 0

    async def counted():
        nonlocal taken
        async for batch in inputs(10_000, 1_000_000):
            taken += 1
            yield batch

    async with driver.processor(session.endpoint) as client, client.stream(counted()) as stream:
        await anext(stream)
        known = -1
        while known != taken:  # until it stands still
            known = taken
            await anyio.sleep(0.2)
        assert taken < 80


async def test_a_source_streams_through_two_processors_in_order(serve, driver):
    first, second = await serve(Twice()), await serve(Even())
    async with (
        driver.processor(first.endpoint) as one,
        driver.processor(second.endpoint) as two,
        one.stream(inputs(6)) as middle,
        two.stream(middle) as end,
    ):
        assert numbers([batch async for batch in end]) == [0, 0, 2, 2, 4, 4]
    assert middle.batches == 12
