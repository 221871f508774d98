"""Traps T2, T3 and T6: a stream that was left, killed or broken off is never taken for a complete one."""

from __future__ import annotations

import sys
from subprocess import DEVNULL

import anyio
import grpc.aio
import pytest

from flowctl_aio.codec.envelope import encode_frame
from flowctl_aio.errors import StreamCancelledError
from flowctl_aio.streams.handshake import LEAST, Role
from flowctl_aio.types import Dialect

from .components import MIB, Echo, GatedSource, Ledger, event

pytestmark = pytest.mark.anyio


# T2


@pytest.fixture(params=[False, True], ids=["grpc", "local"])
def local_streams(request):
    return request.param


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
        call = channel.stream_unary(Role.SINK.method(dialect))(timeout=0.3, metadata=LEAST.metadata)
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
