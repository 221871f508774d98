"""Traps T1 and T4: a timeout around a read or a write costs neither rows nor the stream."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.codec.envelope import Envelope
from flowctl_aio.streams.forms import WireDecoder
from flowctl_aio.streams.handshake import LEAST
from flowctl_aio.streams.receive import BatchReader, Inbox
from flowctl_aio.transport.server import ClientStreamMethod, ServerCall, UnaryMethod, open_server

from .components import MIB, GatedSource, Ledger, event

pytestmark = pytest.mark.anyio


# T1


@pytest.fixture(params=[False, True], ids=["grpc", "local"])
def local_streams(request):
    return request.param


async def test_t1_ten_timeouts_around_a_read_on_the_server_lose_nothing(driver):
    got: list[int] = []
    go = [anyio.Event() for _ in range(5)]
    timeouts: list[bool] = []

    async def ping(request: wire.Empty) -> wire.Pong:
        return wire.Pong()

    async def ingest(call: ServerCall) -> wire.SinkAck:
        await call.greet(LEAST.metadata)
        inbox = Inbox(4)
        reader = BatchReader(inbox, WireDecoder(Envelope.EVENT, limit=MIB), expects_end=True, peer=call.peer)
        async with anyio.create_task_group() as group:
            group.start_soon(inbox.run_pump, call.read)
            assert len(await reader.next()) == 0
            for gate in go:
                for _ in range(2):
                    with anyio.move_on_after(0.005) as scope:
                        await reader.next()
                    timeouts.append(scope.cancelled_caught)
                gate.set()
                batch = await reader.next()
                got.extend(row.cursor.sequence for row in batch)
            assert await reader.next() is None
            group.cancel_scope.cancel()
        return wire.SinkAck(success=True)

    services = {
        "flowctl.EventSink": {
            "Ping": UnaryMethod(ping, wire.Empty, LEAST.metadata),
            "Ingest": ClientStreamMethod(ingest),
        }
    }
    async with open_server(services) as server, driver.sink(server.endpoint) as sink:
        await sink.send(event(0).slice(0, 0))  # opens the epoch, and is no row
        for sequence, gate in enumerate(go):
            await gate.wait()
            await sink.send(event(sequence))
        await sink.flush()
    assert got == [0, 1, 2, 3, 4]
    assert timeouts == [True] * 10


async def test_t1_a_reader_cancelled_in_the_turn_of_the_delivery_loses_nothing():
    inbox = Inbox(4)
    gate = anyio.Event()
    reads = iter([b"first", None])

    async def read():
        if not gate.is_set():
            await gate.wait()
        message = next(reads)
        if message is None:
            reader.cancel()  # the pump has delivered in this very turn
        return message

    async with anyio.create_task_group() as group:
        reader = asyncio.create_task(inbox.receive())
        group.start_soon(inbox.run_pump, read)
        await anyio.wait_all_tasks_blocked()
        gate.set()
        await asyncio.wait([reader])
    assert reader.cancelled()
    assert await inbox.receive() == b"first"
    assert await inbox.receive() is None


# T4


async def test_t4_timeouts_around_the_next_batch_keep_the_stream_alive(serve, driver):
    component = GatedSource()
    session = await serve(component)
    async with driver.source(session.endpoint) as source, source.stream(1, 5) as batches:
        for _ in range(4):
            with anyio.move_on_after(0.005):
                await anext(batches)
                pytest.fail("the gate is closed")
            with pytest.raises(TimeoutError), anyio.fail_after(0.005):
                await anext(batches)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.005):
                    await anext(batches)
        component.gate.set()
        got = []
        while len(got) < 5:
            with anyio.move_on_after(0.0001):
                got += [row.sequence for row in await anext(batches)]
        assert got == [1, 2, 3, 4, 5]
        with pytest.raises(StopAsyncIteration):
            await anext(batches)


@pytest.mark.parametrize("limit", [anyio.move_on_after, asyncio.timeout])
async def test_t4_a_timeout_of_zero_around_the_very_first_batch_keeps_the_stream_alive(serve, driver, limit):
    component = GatedSource()
    component.gate.set()
    session = await serve(component)
    async with driver.source(session.endpoint) as source:
        batches = source.stream(1, 2)
        if limit is asyncio.timeout:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anext(batches)
        else:
            with anyio.move_on_after(0):
                await anext(batches)
        assert [row.sequence async for batch in batches for row in batch] == [1, 2]


@pytest.mark.parametrize("limit", [0, 0.0001])
async def test_t4_a_timeout_around_the_first_send_keeps_the_epoch_alive(serve, driver, limit):
    component = Ledger()
    session = await serve(component)
    async with driver.sink(session.endpoint) as sink:
        with anyio.move_on_after(limit):
            await sink.send(event(1))
        await sink.send(event(2))
        ack = await sink.flush()
    assert component.committed[0][-1] == 2
    assert ack.rows == len(component.committed[0])
