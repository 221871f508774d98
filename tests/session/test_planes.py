"""Planes that are away, come back, forget, or speak one dialect."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession
from flowctl_aio import _wire as wire
from flowctl_aio.control import registration
from flowctl_aio.control.lifecycle import State
from flowctl_aio.errors import ControlError, NotRegisteredError, PeerNotFoundError, RegistrationError, UsageError
from flowctl_aio.plane.v1 import SERVICE as V1_SERVICE
from flowctl_aio.testing.link import open_link
from flowctl_aio.transport.server import UnaryMethod, open_server
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import Dialect, Health, ServiceType

from .conftest import INFO, Numbers, ids, is_uncancelled

pytestmark = pytest.mark.anyio


async def test_a_plane_that_is_away_degrades_and_the_service_registers_when_it_comes(config):
    async with EmbeddedControlPlane() as away:
        endpoint = away.endpoint
    config = replace(config, endpoint=endpoint)
    async with FlowctlSession(Numbers(), config) as session:
        assert session.state is State.DEGRADED
        assert re.fullmatch(r"sim-SERVICE_TYPE_SOURCE-\d{14}-[0-9a-f]{8}", session.service_id)
        async with EmbeddedControlPlane(endpoint) as plane:
            with anyio.fail_after(10):
                assert await session.wait_for(State.REGISTERED) is State.REGISTERED
                status = await plane.wait_for_service("numbers", Health.HEALTHY)
            # The simulated id was never sent.
            assert ids(plane) == ["numbers"]
            assert status.info.endpoint == session.endpoint
            assert session.service_id == "numbers"


async def test_a_plane_that_restarts_empty_gets_the_service_back(config):
    async with EmbeddedControlPlane() as first:
        config = replace(config, endpoint=first.endpoint)
        session = FlowctlSession(INFO, config)
        await session.__aenter__()
    try:
        with anyio.fail_after(10):
            await session.wait_for(State.DEGRADED)
            async with EmbeddedControlPlane(config.endpoint) as second:
                await second.wait_for_service("svc", Health.HEALTHY)
                await session.wait_for(State.REGISTERED)
                assert session.metrics()["registrations_total"] == 2
                await session.aclose()
                assert ids(second) == []
    finally:
        await session.aclose()


async def test_a_service_that_the_plane_forgot_registers_again_with_its_next_beat(plane, config):
    async with FlowctlSession(INFO, config) as session:
        with anyio.fail_after(5):
            await plane.wait_for_service("svc", Health.HEALTHY)
            await session._life.plane.unregister("svc")
            await plane.wait_for_service("svc", Health.HEALTHY)
            await plane.wait_until(lambda: session.metrics()["registrations_total"] == 2)
        assert session.state is State.REGISTERED


async def test_a_plane_outage_does_not_stop_data(config):
    async with EmbeddedControlPlane() as plane:
        config = replace(config, endpoint=plane.endpoint)
        source, reader = FlowctlSession(Numbers(), config), FlowctlSession(INFO, config)
        await source.__aenter__()
        await reader.__aenter__()
        client = reader.source()
        numbers = await client.__aenter__()
    with anyio.fail_after(10):
        await source.wait_for(State.DEGRADED)
        async with numbers.stream(1, 5) as stream:
            assert len([batch async for batch in stream]) == 5
        await client.__aexit__(None, None, None)
        await reader.aclose()
        await source.aclose()


CLASSIC_ONLY = {"dialects": [Dialect.CLASSIC]}


@pytest.mark.parametrize("dialect", ["auto", "classic"])
async def test_a_classic_plane_is_spoken_to_in_classic(config, until, dialect):
    async with (
        EmbeddedControlPlane(**CLASSIC_ONLY) as plane,
        FlowctlSession(INFO, replace(config, endpoint=plane.endpoint, dialect=dialect)) as session,
    ):
        assert (session.state, session.dialect) == (State.REGISTERED, Dialect.CLASSIC)
        await until(lambda: session.metrics()["heartbeats_total"] >= 3)
        assert session.state is State.REGISTERED
        [status] = await session.list_services()
        assert (status.service_id, status.info.service_type) == ("svc", ServiceType.PROCESSOR)
        # Nobody else is there.
        with pytest.raises(PeerNotFoundError):
            async with session.source():
                pass
    assert is_uncancelled()


async def test_a_classic_plane_refuses_who_insists_on_v1(config):
    async with EmbeddedControlPlane(**CLASSIC_ONLY) as plane:
        with pytest.raises(RegistrationError, match="RegisterComponent"):
            async with FlowctlSession(INFO, replace(config, endpoint=plane.endpoint, dialect="v1")):
                pytest.fail("entered")


@pytest.mark.parametrize(("choice", "spoken"), [("auto", Dialect.V1), ("v1", Dialect.V1), ("classic", Dialect.CLASSIC)])
async def test_the_dialect_is_the_one_that_was_chosen(plane, config, choice, spoken):
    async with FlowctlSession(INFO, replace(config, dialect=choice)) as session:
        assert session.dialect is spoken
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= 2)
        assert ids(plane) == ["svc"]
    assert ids(plane) == []


async def test_without_a_plane_streams_by_address_work():
    off = FlowctlConfig(enabled=False, endpoint="http://nowhere", drain_timeout=0.2)
    async with FlowctlSession(Numbers(), off) as source, FlowctlSession(INFO, off) as session:
        assert session.state is State.DEGRADED
        async with session.source(source.endpoint) as client, client.stream(1, 2) as stream:
            assert len([batch async for batch in stream]) == 2
        with pytest.raises(UsageError, match="no control plane"):
            await session.list_services()
        with pytest.raises(UsageError, match="no control plane"):
            async with session.source():
                pass


@pytest.mark.parametrize(
    ("before", "after", "spoken"),
    [
        ((Dialect.V1,), (Dialect.CLASSIC,), Dialect.CLASSIC),
        ((Dialect.CLASSIC,), (Dialect.V1,), Dialect.V1),
        ((Dialect.CLASSIC,), tuple(Dialect), Dialect.V1),
    ],
)
async def test_a_plane_of_another_dialect_that_takes_the_place_of_the_first_is_spoken_to_in_its_own(
    config, before, after, spoken
):
    async with EmbeddedControlPlane(dialects=before) as first:
        session = FlowctlSession(INFO, replace(config, endpoint=first.endpoint))
        await session.__aenter__()
    try:
        with anyio.fail_after(10):
            await session.wait_for(State.DEGRADED)
            async with EmbeddedControlPlane(first.endpoint, dialects=after) as second:
                await second.wait_for_service("svc", Health.HEALTHY)
                await session.wait_for(State.REGISTERED)
                assert session.dialect is spoken
                await session.aclose()
    finally:
        await session.aclose()


async def test_a_simulated_id_is_never_sent_not_even_in_a_question(config):
    asked = []

    async def gate(method, request):
        asked.append(str(request))
        if method.endswith(("/RegisterComponent", "/Register")):
            raise Refused("UNAVAILABLE", "not yet")

    async with EmbeddedControlPlane(gate=gate) as plane:
        async with FlowctlSession(INFO, replace(config, endpoint=plane.endpoint)) as session:
            assert session.service_id.startswith("sim-")
            with pytest.raises(NotRegisteredError, match="svc"):
                await session.get_service_status()
            async with session.chunk(1, 2):
                pass
        assert [chunk.component_id for chunk in plane.chunks()] == ["svc"]
    assert not any("sim-" in text for text in asked)


class Garbled:
    def SerializeToString(self) -> bytes:
        return b"\xff\xff\xff"


async def garble(request):
    return Garbled()


async def test_an_answer_that_cannot_be_read_is_a_refusal_and_ends_nothing(config, until):
    async def register(request):
        return wire.v1.RegisterResponse(service_id="svc")

    v1 = {
        "RegisterComponent": UnaryMethod(register, wire.v1.RegisterRequest),
        "Heartbeat": UnaryMethod(garble, wire.v1.HeartbeatRequest),
        "ListComponents": UnaryMethod(garble, wire.v1.ListComponentsRequest),
    }
    async with (
        open_server({V1_SERVICE: v1}) as server,
        FlowctlSession(INFO, replace(config, endpoint=server.endpoint)) as session,
    ):
        with pytest.raises(ControlError, match="no ListComponentsResponse"):
            await session.list_services()
        await until(lambda: session.metrics()["heartbeats_rejected_total"] >= 3)
        assert session.state is State.DEGRADED


async def test_a_registration_that_cannot_be_read_is_refused(config):
    v1 = {"RegisterComponent": UnaryMethod(garble, wire.v1.RegisterRequest)}
    async with open_server({V1_SERVICE: v1}) as server:
        with pytest.raises(RegistrationError, match="no RegisterResponse"):
            async with FlowctlSession(INFO, replace(config, endpoint=server.endpoint)):
                pytest.fail("entered")


async def test_who_is_registered_again_finds_itself_in_the_next_list(plane, config, until):
    async with FlowctlSession(INFO, replace(config, query_max_age=3600.0)) as session:
        plane.forget()
        assert await session.list_services() == []
        await until(lambda: session.metrics()["registrations_total"] == 2)
        assert [status.service_id for status in await session.list_services()] == ["svc"]


async def test_a_connection_that_died_without_a_word_is_dialled_anew(plane, config, until):
    async with open_link(plane.endpoint) as link:
        config = replace(config, endpoint=link.endpoint, heartbeat_timeout=0.2, register_timeout=0.5)
        async with FlowctlSession(INFO, config) as session:
            await until(lambda: session.metrics()["heartbeats_total"] >= 2)
            link.strand()
            with anyio.fail_after(10):
                await session.wait_for(State.DEGRADED)
                await session.wait_for(State.REGISTERED)
            assert link.accepted == 2
    assert ids(plane) == []


@pytest.mark.parametrize(("dialect", "registrations"), [("classic", 2), ("v1", 1)])
async def test_a_machine_that_slept_longer_than_the_lease_registers_again_in_classic(
    plane, config, until, monkeypatch, dialect, registrations
):
    async with FlowctlSession(INFO, replace(config, dialect=dialect)) as session:
        await until(lambda: session.metrics()["heartbeats_total"] >= 2)
        slept = time.monotonic() + 3600
        monkeypatch.setattr(registration, "since_boot", lambda: slept + time.monotonic())
        before = session.metrics()["heartbeats_total"]
        await until(lambda: session.metrics()["heartbeats_total"] >= before + 4)
        assert session.metrics()["registrations_total"] == registrations


async def test_a_classic_beat_that_came_in_after_the_lease_was_over_registers_again(config, until):
    async with EmbeddedControlPlane(quirks="flowctl", heartbeat_ttl=0.3, janitor_interval=0.05) as plane:
        held, released = anyio.Event(), anyio.Event()

        async def hold(method, request):
            if method.endswith("/Heartbeat"):
                held.set()
                await released.wait()

        config = replace(config, endpoint=plane.endpoint, dialect="classic", lease_timeout=0.3, heartbeat_timeout=5.0)
        async with FlowctlSession(INFO, config) as session:
            plane.gate = hold
            with anyio.fail_after(5):
                await held.wait()
                await plane.wait_for_service("svc", Health.UNHEALTHY)
                plane.gate = None
                released.set()  # to a real plane it says nothing of health, and lifts nothing
                await plane.wait_for_service("svc", Health.HEALTHY)
            await until(lambda: session.metrics()["registrations_total"] == 2)
