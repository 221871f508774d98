"""A session works as a fixture of pytest-asyncio, whose two halves run in different tasks."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession
from flowctl_aio.batches import LedgerBatch
from flowctl_aio.component import Source
from flowctl_aio.control.lifecycle import State
from flowctl_aio.types import RawLedger, ServiceInfo, ServiceType


class Numbers(Source):
    async def stream(self, request):
        for sequence in range(request.start, request.end + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"")])


async def work(session: FlowctlSession, served: FlowctlSession) -> None:
    assert session.state is State.REGISTERED
    async with session.source() as source, source.stream(1, 3) as stream:
        assert [row.sequence async for batch in stream for row in batch] == [1, 2, 3]
        assert source.peer.address == served.endpoint
    ran = asyncio.Event()

    async def note() -> None:
        ran.set()

    session.start_soon(note)
    await ran.wait()
    assert asyncio.current_task().cancelling() == 0


def settings(plane: EmbeddedControlPlane) -> FlowctlConfig:
    return FlowctlConfig(endpoint=plane.endpoint, heartbeat_interval=0.1, drain_timeout=2.0)


@pytest_asyncio.fixture
async def in_function():
    async with EmbeddedControlPlane() as plane:
        config = settings(plane)
        async with (
            FlowctlSession(Numbers(), config) as served,
            FlowctlSession(ServiceInfo("user", ServiceType.PIPELINE), config) as session,
        ):
            yield session, served
        assert plane.services() == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def in_module():
    async with EmbeddedControlPlane() as plane:
        config = settings(plane)
        async with (
            FlowctlSession(Numbers(), config) as served,
            FlowctlSession(ServiceInfo("user", ServiceType.PIPELINE), config) as session,
        ):
            yield session, served
        assert plane.services() == []


@pytest.mark.asyncio
async def test_t7_a_session_works_as_a_fixture_of_a_function(in_function):
    await work(*in_function)


@pytest.mark.asyncio(loop_scope="module")
async def test_t7_a_session_works_as_a_fixture_of_a_module(in_module):
    await work(*in_module)


@pytest.mark.asyncio(loop_scope="module")
async def test_t7_it_still_works_in_the_next_test_of_the_module(in_module):
    await work(*in_module)


@pytest.mark.asyncio
async def test_t7_a_task_that_fails_after_the_setup_comes_out_of_the_teardown_half():
    """What a fixture does: the entering task is gone when the failure comes, so there is no block to cancel."""
    session = FlowctlSession(ServiceInfo("user", ServiceType.PIPELINE), FlowctlConfig(enabled=False))

    async def fail() -> None:
        raise KeyError("mine")

    await asyncio.create_task(session.__aenter__())
    session.start_soon(fail)
    await session.wait_stopped()
    with pytest.raises(KeyError, match="mine"):
        await asyncio.create_task(session.__aexit__(None, None, None))
