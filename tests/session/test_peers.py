"""How a session finds its peers, by discovery or by address."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession
from flowctl_aio.component import Processor
from flowctl_aio.errors import ConfigError, PeerNotFoundError, StreamError, UsageError
from flowctl_aio.types import Health

from .conftest import INFO, Numbers

pytestmark = pytest.mark.anyio


class Maker(Processor):
    async def process(self, batch):
        return batch


async def test_discovery_that_finds_nobody_says_what_was_looked_for(plane, config):
    async with FlowctlSession(INFO, config) as session:
        with pytest.raises(PeerNotFoundError, match="no healthy source for L"):
            async with session.source():
                pass
        with pytest.raises(PeerNotFoundError, match="no healthy sink for E"):
            async with session.sink():
                pass


async def test_a_peer_that_registers_a_little_later_is_waited_for(plane, config):
    patient = replace(config, discover_timeout=5.0)
    async with FlowctlSession(INFO, patient) as session, AsyncExitStack() as stack:

        async def come_late() -> None:
            await plane.wait_changed()
            await stack.enter_async_context(FlowctlSession(Numbers(), config))

        session.start_soon(come_late)
        async with session.source() as source:
            assert source.peer.speaks_arrow


async def test_a_plane_that_is_away_for_a_moment_does_not_end_a_discovery(plane, config):
    patient = replace(config, discover_timeout=5.0)
    async with FlowctlSession(Numbers(), config), FlowctlSession(INFO, patient) as session:
        await plane.aclose()
        async with anyio.create_task_group() as group:
            found = anyio.Event()

            async def discover() -> None:
                async with session.source():
                    found.set()

            group.start_soon(discover)
            async with EmbeddedControlPlane(plane.endpoint):
                with anyio.fail_after(5):
                    await found.wait()


async def test_discovery_takes_the_end_that_fits(plane, config):
    """A sink is chosen by what it takes, a source by what it gives; the wrong way round is nobody."""
    wrong = Numbers()
    wrong.component_id, wrong.inputs, wrong.outputs = "wrong", ("L",), ("X",)
    async with FlowctlSession(wrong, config), FlowctlSession(INFO, config) as session:
        with anyio.fail_after(5):
            await plane.wait_for_service("wrong", Health.HEALTHY)
        with pytest.raises(PeerNotFoundError, match="no healthy source for L"):
            async with session.source():
                pass
        async with FlowctlSession(Numbers(), config) as right:
            with anyio.fail_after(5):
                await plane.wait_for_service("numbers", Health.HEALTHY)
            async with session.source() as source:
                assert source.peer.address == right.endpoint


async def test_discovery_does_not_find_oneself(plane, config):
    async with FlowctlSession(Maker(), config) as session:
        with anyio.fail_after(5):
            await plane.wait_for_service("maker", Health.HEALTHY)
        with pytest.raises(PeerNotFoundError):
            async with session.processor():
                pass


async def test_discovery_passes_over_who_is_not_well(plane, config):
    async with FlowctlSession(Numbers(), config) as source, FlowctlSession(INFO, config) as session:
        source.health = Health.UNHEALTHY
        with anyio.fail_after(5):
            await plane.wait_for_service("numbers", Health.UNHEALTHY)
        with pytest.raises(PeerNotFoundError, match="only numbers"):
            async with session.source():
                pass


@pytest.mark.parametrize("address", ["http://localhost:1", "", "nohost", "192.0.2.1:50051", "example.org:50051"])
async def test_an_address_that_cannot_be_is_a_config_error(address):
    async with FlowctlSession(INFO, FlowctlConfig(enabled=False)) as session:
        for opening in (session.source, session.processor, session.sink):
            with pytest.raises(ConfigError):
                async with opening(address):
                    pass


async def test_an_address_where_nobody_is_gives_a_stream_error(plane, config):
    async with FlowctlSession(INFO, config) as session:
        with pytest.raises(ConnectionError):
            async with session.source("localhost:1"):
                pass
        with pytest.raises(StreamError, match="serves no source"):
            async with session.source(plane.endpoint):
                pass


async def test_a_client_does_not_work_after_its_block(plane, config):
    async with FlowctlSession(Numbers(), config) as served, FlowctlSession(INFO, config) as session:
        async with session.source(served.endpoint) as source:
            early = source.stream(1, 2)
        with pytest.raises(StreamError):
            await anext(early)
        with pytest.raises(UsageError):
            await anext(source.stream(1, 2))
        with pytest.raises(UsageError):
            await source.health()
