"""Trap T5: what a sibling closes ends in a typed error, and cancellations and timeouts stay what they are."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.errors import PeerUnavailableError, PlaneUnavailableError, SessionClosedError, StreamCancelledError
from flowctl_aio.session import FlowctlSession
from flowctl_aio.streams.handshake import LEAST, Offer, Role, meet
from flowctl_aio.transport.channel import open_control_channel, open_data_channel
from flowctl_aio.transport.server import UnaryMethod, open_server
from flowctl_aio.types import ServiceInfo, ServiceType

from .components import MIB, GatedSource, Ledger, event

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("offer", [LEAST, Offer()], ids=["sdk", "plain"])
async def test_t5_a_stream_closed_by_a_sibling_ends_in_a_typed_error(serve, driver, offer):
    component = GatedSource()
    session = await serve(component)
    async with driver.source(session.endpoint) as source:
        # A plain peer marks no ends, so that a bare end would pass for a complete stream.
        object.__setattr__(source.peer, "offer", offer)
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


@pytest.fixture(params=[False, True], ids=["grpc", "local"])
def local_streams(request):
    return request.param


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
