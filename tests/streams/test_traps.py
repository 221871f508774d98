"""The ten traps of gRPC, asyncio and pytest: each test does what the trap describes, against our API."""

from __future__ import annotations

import asyncio
import sys
import time
from subprocess import DEVNULL

import anyio
import grpc.aio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.codec.envelope import Envelope, encode_frame
from flowctl_aio.component import Processor, Sink, Source
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.errors import (
    PeerUnavailableError,
    PlaneUnavailableError,
    SessionClosedError,
    StreamCancelledError,
)
from flowctl_aio.session import FlowctlSession
from flowctl_aio.streams.handshake import OFFER, Role, meet
from flowctl_aio.streams.receive import BatchReader, Inbox
from flowctl_aio.transport.channel import open_control_channel, open_data_channel
from flowctl_aio.transport.options import control_options, data_options
from flowctl_aio.transport.server import ClientStreamMethod, ServerCall, UnaryMethod, open_server
from flowctl_aio.types import Cursor, Dialect, Event, RawLedger, ServiceInfo, ServiceType

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


def ledger(sequence: int) -> LedgerBatch:
    return LedgerBatch.from_ledgers([RawLedger(sequence, b"xdr")])


def event(sequence: int) -> EventBatch:
    return EventBatch.from_events([Event("E", b"payload", cursor=Cursor(sequence))])


class GatedSource(Source):
    """Gives ledgers when its gate is open, and tells when a generator of it was closed."""

    def __init__(self) -> None:
        self.gate, self.asked, self.closed = anyio.Event(), anyio.Event(), anyio.Event()

    async def stream(self, request):
        try:
            self.asked.set()
            await self.gate.wait()
            for sequence in range(request.start, (request.end or 2**31) + 1):
                yield ledger(sequence)
        finally:
            self.closed.set()


class Echo(Processor):
    flushes = 0

    async def process(self, batch):
        return batch

    async def flush(self):
        self.flushes += 1


class Ledger(Sink):
    """Keeps what it consumes per epoch, and tells what became of each."""

    def __init__(self) -> None:
        self.consumed, self.aborted = anyio.Event(), anyio.Event()
        self.open: dict[int, list[int]] = {}
        self.committed: list[list[int]] = []
        self.aborts = 0

    async def consume(self, batch, epoch):
        self.open.setdefault(id(epoch), []).extend(row.cursor.sequence for row in batch)
        self.consumed.set()

    async def commit(self, epoch):
        self.committed.append(self.open.pop(id(epoch), []))

    async def abort(self, epoch):
        self.open.pop(id(epoch), None)
        self.aborts += 1
        self.aborted.set()


# T1


async def test_t1_ten_timeouts_around_a_read_on_the_server_lose_nothing(driver):
    got: list[int] = []
    go = [anyio.Event() for _ in range(5)]
    timeouts: list[bool] = []

    async def ping(request: wire.Empty) -> wire.Pong:
        return wire.Pong()

    async def ingest(call: ServerCall) -> wire.SinkAck:
        await call.greet(OFFER)
        inbox = Inbox(4)
        reader = BatchReader(inbox, Envelope.EVENT, expects_end=True, limit=MIB, peer=call.peer)
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
        "flowctl.EventSink": {"Ping": UnaryMethod(ping, wire.Empty, OFFER), "Ingest": ClientStreamMethod(ingest)}
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


# T2

DYING_CLIENT = """
import sys, anyio
from flowctl_aio import FlowctlConfig, FlowctlSession
from flowctl_aio.batches import EventBatch
from flowctl_aio.types import Cursor, Event, ServiceInfo, ServiceType

async def main():
    info = ServiceInfo("dying", ServiceType.PIPELINE)
    async with FlowctlSession(info, FlowctlConfig(enabled=False)) as session, session.sink(sys.argv[1]) as sink:
        await sink.send(EventBatch.from_events([Event("E", b"", cursor=Cursor(1))]))
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_t2_a_client_that_is_killed_commits_nothing(serve, driver):
    component = Ledger()
    session = await serve(component)
    command = [sys.executable, "-c", DYING_CLIENT, session.endpoint]
    async with await anyio.open_process(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL) as process:
        with anyio.fail_after(20):
            await component.consumed.wait()
        process.kill()
    with anyio.fail_after(5):
        await component.aborted.wait()
    assert (component.committed, component.open) == ([], {})
    # Nothing of it is in the next epoch.
    async with driver.sink(session.endpoint) as sink:
        await sink.send(event(2))
    assert component.committed == [[2]]


async def test_t2_a_client_that_cancels_commits_nothing(serve, driver):
    component = Ledger()
    session = await serve(component)
    with anyio.CancelScope() as scope:
        async with driver.sink(session.endpoint) as sink:
            await sink.send(event(1))
            await component.consumed.wait()
            scope.cancel()
            await anyio.sleep_forever()
    with anyio.fail_after(5):
        await component.aborted.wait()
    assert (component.committed, component.open) == ([], {})


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_t2_a_client_whose_deadline_expires_commits_nothing(serve, dialect):
    component = Ledger()
    session = await serve(component)
    frame = encode_frame(Role.SINK.envelope(dialect), event(1), number=0, limit=MIB)
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        call = channel.stream_unary(Role.SINK.method(dialect))(timeout=0.3, metadata=OFFER)
        await call.write(frame)
        with anyio.fail_after(5):
            await component.aborted.wait()
        with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
            await call
    assert (component.committed, component.open) == ([], {})
    assert session.metrics()["errors_total"] == 0


# T3


@pytest.mark.parametrize("after", [0, 3])
async def test_t3_the_callers_own_exception_comes_out_of_the_stream(serve, driver, until, after):
    processor, sink = Echo(), Ledger()
    processing, consuming = await serve(processor), await serve(sink)
    boom = LookupError("mine")

    async def inputs():
        for sequence in range(after):
            yield event(sequence)
        raise boom

    async def pour():
        async with driver.processor(processing.endpoint) as client, driver.sink(consuming.endpoint) as out:
            async for batch in client.stream(inputs()):
                await out.send(batch)

    with pytest.raises(LookupError) as caught:
        await pour()
    assert caught.value is boom
    await until(lambda: processing.metrics()["streams"] == consuming.metrics()["streams"] == 0)
    # The processor has seen a stream without an end, and the sink an epoch without one.
    assert processor.flushes == 0
    assert sink.committed == []
    assert processing.metrics()["errors_total"] == 0


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


# T5


@pytest.mark.parametrize("offer", [OFFER, ()], ids=["sdk", "plain"])
async def test_t5_a_stream_closed_by_a_sibling_ends_in_a_typed_error(serve, driver, offer):
    component = GatedSource()
    session = await serve(component)
    async with driver.source(session.endpoint) as source:
        if not offer:  # a plain peer marks no ends, so that a bare end would pass for a complete stream
            object.__setattr__(source.peer, "capabilities", frozenset())
        stream = source.stream(1)

        async def close() -> None:
            await component.asked.wait()
            await stream.aclose()

        async with anyio.create_task_group() as group:
            group.start_soon(close)
            with pytest.raises(StreamCancelledError):
                await anext(stream)
        with pytest.raises(StreamCancelledError):
            await anext(stream)
    assert asyncio.current_task().cancelling() == 0


async def test_t5_a_stream_of_a_session_that_ends_gets_a_session_error(serve):
    component = GatedSource()
    served = await serve(component)
    info = ServiceInfo("short", ServiceType.PIPELINE)
    async with FlowctlSession(info, FlowctlConfig(enabled=False, drain_timeout=0.05)) as session:
        async with session.source(served.endpoint) as source, source.stream(1) as stream:

            async def stop() -> None:
                await component.asked.wait()
                session.stop()

            session.start_soon(stop)
            with pytest.raises(SessionClosedError):
                await anext(stream)
            with pytest.raises(SessionClosedError):
                await anext(source.stream(1))
        with pytest.raises(SessionClosedError):
            async with session.source(served.endpoint):
                pass
    assert asyncio.current_task().cancelling() == 0


async def test_t5_an_epoch_of_a_session_that_ends_gets_a_session_error_and_commits_nothing(serve):
    component = Ledger()
    served = await serve(component)
    info = ServiceInfo("short", ServiceType.PIPELINE)
    async with FlowctlSession(info, FlowctlConfig(enabled=False, drain_timeout=0.05)) as session:

        async def send_for_ever():
            async with session.sink(served.endpoint) as sink:
                await sink.send(event(1))
                await component.consumed.wait()
                session.stop()
                while True:
                    await sink.send(event(2))
                    await anyio.sleep(0.005)

        with pytest.raises(SessionClosedError):
            await send_for_ever()
        with anyio.fail_after(5):
            await component.aborted.wait()
    assert component.committed == []


async def test_t5_cancelling_the_task_and_timeouts_keep_their_meaning(serve, driver):
    session = await serve(GatedSource())
    async with driver.source(session.endpoint) as source, source.stream(1) as stream:
        task = asyncio.create_task(anext(stream))
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(stream)
        with pytest.raises(TimeoutError), anyio.fail_after(0.01):
            await anext(stream)
        async with anyio.create_task_group() as group:
            group.start_soon(anext, stream)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert asyncio.current_task().cancelling() == 0


async def hang(request):
    await anyio.sleep_forever()


SILENT = {
    "flowctl.v1.ControlPlaneService": {"ListComponents": UnaryMethod(hang, wire.v1.ListComponentsRequest)},
    "flowctl.LedgerSource": {"Ping": UnaryMethod(hang, wire.Empty)},
}


async def test_t5_unary_calls_under_a_scope_end_in_its_timeout():
    config = FlowctlConfig(query_timeout=0.05)
    async with open_server(SILENT) as server, open_control_channel(server.endpoint) as channel:
        plane = PlaneClient(channel, FlowctlConfig())
        for _ in range(10):
            with pytest.raises(TimeoutError), anyio.fail_after(0.01):
                await plane.list_services()
            with pytest.raises(TimeoutError), anyio.fail_after(0.01):
                await meet(channel, Role.SOURCE)
            with anyio.move_on_after(0.01) as scope:
                await plane.list_services()
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await plane.list_services()
        # Its own limit is an error of its own.
        with pytest.raises(PlaneUnavailableError, match=r"within 0\.05 s"):
            await PlaneClient(channel, config).list_services()
    assert asyncio.current_task().cancelling() == 0


async def test_t5_a_peer_that_does_not_answer_the_handshake_is_unavailable(monkeypatch):
    monkeypatch.setattr("flowctl_aio.streams.handshake.HANDSHAKE_TIMEOUT", 0.05)
    async with open_server(SILENT) as server, open_data_channel(server.endpoint, max_message_bytes=MIB) as channel:
        with pytest.raises(PeerUnavailableError, match=r"no answer within 0\.05 s"):
            await meet(channel, Role.SOURCE)


async def test_t5_a_channel_closed_by_a_sibling_ends_a_unary_call_in_a_typed_error():
    async with open_server(SILENT) as server, open_control_channel(server.endpoint) as channel:
        plane = PlaneClient(channel, FlowctlConfig())
        async with anyio.create_task_group() as group:

            async def close() -> None:
                await anyio.wait_all_tasks_blocked()
                await channel.raw.close()

            group.start_soon(close)
            with pytest.raises(PlaneUnavailableError):
                await plane.list_services()
    assert asyncio.current_task().cancelling() == 0


# T6


async def test_t6_leaving_the_block_after_a_break_ends_the_call(serve, driver, no_tasks_left):
    component = GatedSource()
    component.gate.set()
    session = await serve(component)
    async with no_tasks_left(), driver.source(session.endpoint) as source:
        async with source.stream(1) as stream:
            async for _ in stream:
                break
        with anyio.fail_after(5):
            await component.closed.wait()
        with pytest.raises(StreamCancelledError):
            await anext(stream)
    assert session.metrics()["streams"] == 0


async def test_t6_a_stream_without_a_block_ends_with_its_client(serve, driver, no_tasks_left):
    component = GatedSource()
    component.gate.set()
    session = await serve(component)
    async with no_tasks_left(), driver.source(session.endpoint) as source:
        async for _ in source.stream(1):
            break
        assert not component.closed.is_set()
    with anyio.fail_after(5):
        await component.closed.wait()


async def test_t6_a_scope_that_times_out_over_a_whole_stream_ends_the_call(serve, driver, no_tasks_left):
    component = GatedSource()
    session = await serve(component)
    with anyio.move_on_after(0.05):
        async with no_tasks_left(), driver.source(session.endpoint) as source, source.stream(1) as stream:
            await anext(stream)
    with anyio.fail_after(5):
        await component.closed.wait()


async def test_t6_a_processor_whose_client_breaks_sees_a_truncated_stream(serve, driver, until, no_tasks_left):
    component = Echo()
    session = await serve(component)
    closed = anyio.Event()

    async def inputs():
        try:
            for sequence in range(10_000):
                yield event(sequence)
        finally:
            closed.set()

    async with no_tasks_left(), driver.processor(session.endpoint) as processor, processor.stream(inputs()) as outputs:
        async for _ in outputs:
            break
    assert closed.is_set()
    await until(lambda: session.metrics()["streams"] == 0)
    assert component.flushes == 0


# T8


@pytest.mark.parametrize("options", [control_options(loopback=True), data_options(loopback=True, max_message_bytes=1)])
def test_t8_reconnecting_is_tried_within_seconds(options):
    assert dict(options)["grpc.max_reconnect_backoff_ms"] <= 5000


# T10


async def test_t10_beats_come_again_after_the_loop_was_blocked(plane, config):
    async with FlowctlSession(ServiceInfo("blocked", ServiceType.PIPELINE), config) as session:
        time.sleep(3 * config.heartbeat_interval)  # noqa: ASYNC251 - the fault under test
        before = session.metrics()["heartbeats_total"]
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= before + 2)
