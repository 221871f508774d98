"""T9: however long a consumer stalls, its producer runs ahead by no more than the bound, in batches and in bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from flowctl_aio.batches import EventBatch
from flowctl_aio.codec.envelope import Envelope, encode_frame
from flowctl_aio.component import Processor, Sink, Source
from flowctl_aio.streams.receive import Inbox
from flowctl_aio.types import Event

pytestmark = pytest.mark.anyio

KIB = 1024
BATCHES = 8
# The bytes that may be in flight, by the size of a payload.
BYTES = {100: 512 * KIB, 4 * KIB: KIB * KIB, KIB * KIB: 8 * KIB * KIB}
SIZES = list(BYTES)


def one(size: int) -> EventBatch:
    return EventBatch.from_events([Event("E", b"x" * size)])


def length(size: int) -> int:
    """Of the message around it."""
    return len(encode_frame(Envelope.EVENT, one(size), number=0, limit=2 * size + 64 * KIB))


def plenty(size: int) -> int:
    """So many batches as are more than all buffers of gRPC would take, were they not bounded."""
    return 5 * BYTES[size] // length(size) + BATCHES


class Progress:
    """Counts, and tells when nothing has moved for a while."""

    def __init__(self) -> None:
        self.count = 0

    async def rests(self) -> int:
        """The count, once it no longer grows."""
        quiet = last = 0
        while quiet < 10:
            await anyio.sleep(0.02)
            quiet = quiet + 1 if self.count == last else 0
            last = self.count
        return last


class Endless(Source):
    def __init__(self, size: int) -> None:
        self.batch, self.made = one(size), Progress()

    async def stream(self, request) -> AsyncIterator[EventBatch]:
        while True:
            self.made.count += 1
            yield self.batch


class Stalled(Sink):
    def __init__(self) -> None:
        self.gate, self.rows = anyio.Event(), 0

    async def consume(self, batch, epoch):
        await self.gate.wait()
        self.rows += len(batch)

    async def commit(self, epoch): ...

    async def abort(self, epoch): ...


class StalledProcessor(Processor):
    def __init__(self) -> None:
        self.gate = anyio.Event()

    async def process(self, batch):
        await self.gate.wait()
        return batch


class Echo(Processor):
    async def process(self, batch):
        return batch


def settings(size: int) -> dict[str, Any]:
    # Without shared memory, which has a bound of its own.
    return {"max_inflight": BATCHES, "max_inflight_bytes": BYTES[size], "shared_memory": False}


@pytest.mark.parametrize("size", SIZES)
async def test_t9_a_source_runs_ahead_of_a_stalled_reader_by_no_more_than_the_bytes(serve, drive, size):
    component = Endless(size)
    session = await serve(component)
    async with drive(**settings(size)) as driver, driver.source(session.endpoint) as source, source.stream() as stream:
        await anext(stream)
        made = await component.made.rests()
        # One was taken, one is still in the component's hands, and the window ends inside of one.
        assert (made - 3) * length(size) <= BYTES[size]
        for _ in range(2 * made if size < KIB * KIB else 4):
            await anext(stream)


@pytest.mark.parametrize("size", SIZES)
async def test_t9_a_client_runs_ahead_of_a_stalled_sink_by_no_more_than_the_bytes(serve, drive, size):
    component, sent = Stalled(), Progress()
    session = await serve(component, **settings(size))
    async with drive(**settings(size)) as driver, driver.sink(session.endpoint) as sink:

        async def send() -> None:
            for _ in range(plenty(size)):
                await sink.send(batch)
                sent.count += 1

        batch = one(size)
        async with anyio.create_task_group() as group:
            group.start_soon(send)
            # One is in the sink, `send` keeps as many in memory as it may, and one is being written.
            queue = min(BATCHES, BYTES[size] // size + 1)
            on_the_way = await sent.rests() - 1 - queue - 1
            assert on_the_way * length(size) <= BYTES[size]
            component.gate.set()
        await sink.flush()
        assert component.rows == plenty(size)


@pytest.mark.parametrize("size", SIZES)
async def test_t9_inputs_run_ahead_of_a_stalled_processor_by_no_more_than_the_batches_and_bytes(serve, drive, size):
    component, made = StalledProcessor(), Progress()
    session = await serve(component, **settings(size))

    async def inputs() -> AsyncIterator[EventBatch]:
        batch = one(size)
        for _ in range(4 * BATCHES):
            made.count += 1
            yield batch

    async with (
        drive(**settings(size)) as driver,
        driver.processor(session.endpoint) as processor,
        processor.stream(inputs()) as stream,
    ):
        ahead = await made.rests() - 2  # one is in the component, and one has no credit
        assert ahead <= BATCHES
        assert ahead * length(size) <= BYTES[size]
        component.gate.set()
        assert sum([len(batch) async for batch in stream]) == 4 * BATCHES


@pytest.mark.parametrize("size", SIZES)
async def test_t9_a_processor_runs_ahead_of_a_stalled_reader_by_no_more_than_the_batches_and_bytes(serve, drive, size):
    made = Progress()
    session = await serve(Echo(), **settings(size))

    async def inputs() -> AsyncIterator[EventBatch]:
        batch = one(size)
        for _ in range(8 * BATCHES):
            made.count += 1
            yield batch

    async with (
        drive(**settings(size)) as driver,
        driver.processor(session.endpoint) as processor,
        processor.stream(inputs()) as stream,
    ):
        await anext(stream)
        ahead = await made.rests() - 3
        assert ahead <= 2 * BATCHES  # in each direction
        assert ahead * length(size) <= 2 * BYTES[size]
        assert sum([len(batch) async for batch in stream]) == 8 * BATCHES - 1


async def test_streams_that_stall_hold_up_no_other_on_the_same_connection(serve, drive):
    session = await serve(Endless(4 * KIB))
    one_connection = {"connection_pool_min_connections": 1, "connection_pool_max_connections": 1}
    async with (
        drive(**settings(4 * KIB), **one_connection) as driver,
        driver.source(session.endpoint) as source,
        AsyncExitStack() as stalled,
    ):
        for _ in range(6):
            await anext(await stalled.enter_async_context(source.stream()))
        async with source.stream() as stream:
            for _ in range(4 * BYTES[4 * KIB] // (4 * KIB)):
                await anext(stream)


async def test_a_message_above_the_bound_of_an_inbox_passes_when_it_is_empty_and_the_next_waits(until):
    messages = [b"x" * 100, b"y" * 10, b"z", None]
    inbox = Inbox(16, max_bytes=50)

    async def read() -> bytes | None:
        return messages.pop(0)

    async with anyio.create_task_group() as group:
        group.start_soon(inbox.run_pump, read)
        await until(lambda: len(messages) == 3)
        assert inbox.receive_nowait() == b"x" * 100
        await until(lambda: not messages)
        assert [await inbox.receive() for _ in range(3)] == [b"y" * 10, b"z", None]
