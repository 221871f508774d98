"""Streams that go on where they stopped, over real calls, also when their source was killed in the middle."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from subprocess import DEVNULL, PIPE

import anyio
import pyarrow as pa
import pytest

from flowctl_aio import FlowctlConfig, FlowctlSession
from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.component import Source
from flowctl_aio.errors import PeerError, PeerUnavailableError, StreamCancelledError
from flowctl_aio.testing.link import open_link
from flowctl_aio.types import Cursor, Dialect, Event, RawLedger

pytestmark = pytest.mark.anyio

# Serves ledgers in threes, slowly enough to be killed in the middle.
SERVED = """
import asyncio, sys
from flowctl_aio import FlowctlConfig, FlowctlSession, LedgerBatch, RawLedger, Source

class Ledgers(Source):
    async def stream(self, request):
        for first in range(request.start, request.end + 1, 3):
            some = range(first, min(first + 3, request.end + 1))
            yield LedgerBatch.from_ledgers(RawLedger(n, b"x" * 100) for n in some)
            await asyncio.sleep(0.002)

async def main():
    async with FlowctlSession(Ledgers(), FlowctlConfig(enabled=False, bind=sys.argv[1])) as session:
        print("ready", flush=True)
        await session.wait_stopped()

asyncio.run(main())
"""


@pytest.fixture(params=list(Dialect))
def dialect(request):
    return request.param


@pytest.mark.parametrize("kills", [2])
async def test_a_source_that_is_killed_and_started_again_gives_every_ledger_once(driver, free_port, dialect, kills):
    address = f"127.0.0.1:{free_port}"
    got: list[int] = []

    async def start():
        process = await anyio.open_process([sys.executable, "-c", SERVED, address], stdin=DEVNULL, stdout=PIPE)
        await process.stdout.receive()
        return process

    process = await start()
    try:
        async with driver.source(address, dialect=dialect) as source, source.resuming_stream(1, 600) as stream:
            async for batch in stream:
                got += [row.sequence for row in batch]
                if (
                    stream.reconnects < kills
                    and len(got) >= 150 * (stream.reconnects + 1)
                    and process.returncode is None
                ):
                    process.kill()
                    await process.aclose()
                    process = await start()
    finally:
        process.kill()
        await process.aclose()
    assert got == list(range(1, 601))
    assert stream.reconnects >= kills
    assert (stream.cursor, stream.rows) == (Cursor(600), 600)


class Steps(Source):
    """Gives its batches, and ends its service after so many."""

    def __init__(self, batches, fails_after: int = 10**9) -> None:
        self.batches, self.fails_after, self.starts = batches, fails_after, []

    async def stream(self, request):
        self.starts.append((request.start, request.resume_token))
        for batch in self.batches(request.start or 1):
            if self.fails_after == 0:
                self.fails_after = 10**9
                raise ConnectionAbortedError
            self.fails_after -= 1
            yield batch


def ledgers(start):
    for sequence in range(start, 11):
        yield LedgerBatch.from_ledgers([RawLedger(sequence, b"xdr")])


def events(start):
    for sequence in range(start, 6):
        for first in (0, 2):
            yield EventBatch.from_events(Event("E", b"p", cursor=Cursor(sequence, first + i)) for i in range(2))


def rows(start):
    for first in range(start, 11, 2):
        last = min(first + 1, 10)
        table = pa.record_batch({"n": [n for n in range(first, last + 1) for _ in range(100)]})
        yield EventBatch(table, event_type="N", first_cursor=Cursor(first), last_cursor=Cursor(last))


async def read(stream):
    async with stream:
        return [batch async for batch in stream]


def cursors_of(batches):
    return [row.cursor for batch in batches for row in batch]


async def test_a_stream_starts_right_behind_a_cursor(serve, driver, dialect):
    component = Steps(events)
    session = await serve(component)
    async with driver.source(session.endpoint, dialect=dialect, resume=Cursor(2, 2)) as source:
        got = await read(source.stream(1, 5))
        assert cursors_of(await read(source.stream(1, 5, resume_token="5:2"))) == [Cursor(5, 3)]
    assert cursors_of(got)[0] == Cursor(2, 3)
    assert len(cursors_of(got)) == 1 + 12
    assert component.starts == [(2, "2:2"), (5, "5:2")]


async def test_whoever_has_everything_gets_nothing(serve, driver, dialect):
    session = await serve(Steps(ledgers))
    for cursor in (Cursor(10), Cursor(12)):
        async with driver.source(session.endpoint, dialect=dialect, resume=cursor) as source:
            assert await read(source.stream(1, 10)) == []
            assert await read(source.resuming_stream(1, 10)) == []


async def test_a_token_of_somebody_else_goes_through(serve, driver, dialect):
    component = Steps(ledgers)
    session = await serve(component)
    async with driver.source(session.endpoint, dialect=dialect, resume="page=4") as source:
        assert len(await read(source.stream(3, 10))) == 8
    assert component.starts == [(3, "page=4")]


async def test_a_stream_without_the_wish_is_never_asked_for_again(serve, driver, free_port):
    component = Steps(ledgers)
    session = await serve(component, bind=f"127.0.0.1:{free_port}", max_inflight=1)
    async with driver.source(session.endpoint) as source, source.stream(1) as stream:
        await anext(stream)
        await session.aclose()
        with pytest.raises(PeerUnavailableError):
            async for _ in source.stream(1):
                pass
    assert len(component.starts) == 1


async def test_what_is_no_absence_ends_a_resuming_stream(serve, driver):
    session = await serve(Steps(ledgers, fails_after=2))
    async with driver.source(session.endpoint) as source, source.resuming_stream(1) as stream:
        got = [(await anext(stream)).last_cursor.sequence for _ in range(2)]
        for _ in range(2):
            with pytest.raises(PeerError, match="ConnectionAbortedError in steps"):
                await anext(stream)
    assert (got, stream.reconnects) == ([1, 2], 0)


async def test_a_peer_that_stays_away_ends_the_stream_in_the_end(serve, driver):
    session = await serve(Steps(ledgers))
    async with driver.source(session.endpoint) as source:
        await session.aclose()
        async with source.resuming_stream(1, reconnect_timeout=0.2) as stream:
            with pytest.raises(PeerUnavailableError):
                await anext(stream)
            assert stream.reconnects >= 2


class Halting(Source):
    """Stops in the middle of its first stream, until its service is closed."""

    def __init__(self, batches, after: int) -> None:
        self.batches, self.after, self.starts, self.halted = batches, after, [], anyio.Event()

    async def stream(self, request):
        self.starts.append(request.start)
        for n, batch in enumerate(self.batches(request.start or 1)):
            if n == self.after and len(self.starts) == 1:
                self.halted.set()
                await anyio.sleep_forever()
            yield batch


async def test_a_source_that_is_closed_and_opened_again_goes_on_behind_the_last_batch(driver, free_port, dialect):
    component = Halting(ledgers, after=4)
    config = FlowctlConfig(enabled=False, drain_timeout=0.05, bind=f"127.0.0.1:{free_port}")
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(FlowctlSession(component, config))

        async def restart():
            await component.halted.wait()
            await session.aclose()
            await stack.enter_async_context(FlowctlSession(component, config))

        async with (
            driver.source(session.endpoint, dialect=dialect) as source,
            source.resuming_stream(1, 10) as stream,
            anyio.create_task_group() as group,
        ):
            group.start_soon(restart)
            got = [row.sequence async for batch in stream for row in batch]
    assert got == list(range(1, 11))
    # What was already on its way when the service closed may be lost with it, and is then asked for again.
    assert component.starts in ([1, 4], [1, 5])


@pytest.mark.parametrize(("of", "dialect"), [(ledgers, Dialect.V1), (events, Dialect.CLASSIC), (rows, Dialect.V1)])
async def test_a_link_that_is_cut_anywhere_costs_no_row_and_repeats_none(serve, driver, until, dialect, of):
    # Messages this short cut each batch of rows into parts, and the link breaks between them as well.
    component = Steps(of)
    session = await serve(component, target_message_bytes=1024)
    whole = [row for batch in of(1) for row in batch.record_batch.to_pylist()]
    async with open_link(session.endpoint) as link, driver.source(link.endpoint, dialect=dialect) as source:
        link.trickle(60_000)
        async with source.resuming_stream(1, 10) as stream, anyio.create_task_group() as group:

            async def cut():
                for n in range(4):
                    await until(lambda n=n: len(component.starts) > n)
                    await anyio.sleep(0.05 + 0.02 * n)
                    link.cut()
                link.heal()

            group.start_soon(cut)
            got = [row async for batch in stream for row in batch.record_batch.to_pylist()]
            group.cancel_scope.cancel()
    assert got == whole


async def test_a_batch_without_cursors_cannot_be_gone_on_behind(serve, driver, free_port):
    class Nowhere(Source):
        async def stream(self, request):
            yield EventBatch(pa.record_batch({"n": [1]}), event_type="N")
            await anyio.sleep_forever()

    session = await serve(Nowhere())
    async with driver.source(session.endpoint) as source, source.resuming_stream(1) as stream:
        await anext(stream)
        await session.aclose()
        with anyio.fail_after(5), pytest.raises(PeerUnavailableError):
            await anext(stream)


async def test_timeouts_around_each_batch_lose_nothing_while_the_peer_comes_and_goes(serve, driver):
    session = await serve(Steps(ledgers), max_inflight=1)
    got: list[int] = []
    async with (
        open_link(session.endpoint) as link,
        driver.source(link.endpoint) as source,
        source.resuming_stream(1, 10) as stream,
    ):
        while len(got) < 10:
            if len(got) == 3 and not stream.reconnects:
                link.cut()
            with anyio.move_on_after(0.003):
                got += [row.sequence for row in await anext(stream)]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert got == list(range(1, 11))


async def test_a_resuming_stream_that_is_closed_says_so_and_leaves_nothing(serve, driver, no_tasks_left):
    session = await serve(Steps(ledgers))
    async with driver.source(session.endpoint) as source, no_tasks_left():
        async with source.resuming_stream(1) as stream:
            await anext(stream)
        with pytest.raises(StreamCancelledError):
            await anext(stream)


class Late(Source):
    """Gives its ledgers when all who ask have asked."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.streams = 0

    async def stream(self, request):
        self.streams += 1
        await self.gate.wait()
        for sequence in range(request.start, request.end + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"x")])


async def test_tasks_that_share_a_resuming_stream_have_each_ledger_once(serve, driver):
    source, taken = Late(), []
    session = await serve(source)

    async with driver.source(session.endpoint) as client, client.resuming_stream(1, 60) as stream:

        async def take() -> None:
            async for batch in stream:
                taken.append(batch.first_cursor.sequence)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            source.gate.set()
    assert (taken, source.streams) == (list(range(1, 61)), 1)
