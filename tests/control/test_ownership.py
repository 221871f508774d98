"""Two processes under one id: the plane takes both, so the services themselves have to notice."""

from __future__ import annotations

import logging
from dataclasses import replace

import anyio
import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio.control import ownership
from flowctl_aio.control.ownership import Ownership
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.service import INSTANCE_ID_KEY
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.types import Dialect, Health

pytestmark = pytest.mark.anyio


def instance(name: str) -> ServiceInfo:
    return ServiceInfo("svc", ServiceType.SINK, endpoint="127.0.0.1:9", metadata={INSTANCE_ID_KEY: name})


@pytest.fixture
async def client(plane):
    async with open_control_channel(plane.endpoint) as channel:
        yield PlaneClient(channel, FlowctlConfig())


def warnings(caplog) -> list[str]:
    found = [record for record in caplog.records if record.name == "flowctl_aio.control.ownership"]
    return [record.getMessage() for record in found if record.levelno == logging.WARNING]


async def test_another_instance_is_named_once_and_counted(client, caplog):
    ours = Ownership(client, instance("one@here"), interval=0)
    await client.register(instance("one@here"), timeout=5)
    await ours.check("svc")
    assert (ours.foreign, warnings(caplog)) == (0, [])
    for name in ("two@there", "three@there", "two@there"):
        await client.register(instance(name), timeout=5)
        await ours.check("svc")
        await ours.check("svc")
    assert ours.foreign == 2
    assert warnings(caplog) == [
        f"svc is also registered by {name} at '127.0.0.1:9': two processes, one id"
        for name in ("two@there", "three@there")
    ]


async def test_it_looks_only_when_it_is_time_to(client, caplog):
    ours = Ownership(client, instance("one@here"))
    await client.register(instance("two@there"), timeout=5)
    await ours.check("svc")
    assert ours.foreign == 0


async def test_a_service_without_an_instance_id_has_nothing_to_compare(client):
    nameless = Ownership(client, ServiceInfo("svc", ServiceType.SINK), interval=0)
    await client.register(instance("two@there"), timeout=5)
    await nameless.check("svc")
    assert nameless.foreign == 0


async def test_an_entry_that_names_no_instance_is_nobody_else(client):
    ours = Ownership(client, instance("one@here"), interval=0)
    await client.register(ServiceInfo("svc", ServiceType.SINK), timeout=5)
    await ours.check("svc")
    assert ours.foreign == 0


async def test_a_plane_that_is_away_or_does_not_know_says_nothing_about_it(plane, client, caplog):
    ours = Ownership(client, instance("one@here"), interval=0)
    await ours.check("svc")
    await plane.aclose()
    await ours.check("svc")
    assert (ours.foreign, warnings(caplog)) == (0, [])


@pytest.mark.parametrize("quirks", [None, "flowctl"])
@pytest.mark.parametrize("dialect", ["v1", "classic"])
async def test_two_sessions_of_one_id_are_told_of_each_other(quirks, dialect, caplog, until):
    async with EmbeddedControlPlane(quirks=quirks) as plane:
        config = FlowctlConfig(endpoint=plane.endpoint, dialect=dialect, heartbeat_interval=0.05)
        first, second = (
            FlowctlSession(replace(instance(name), endpoint=""), config) for name in ("one@here", "two@there")
        )
        async with first:
            first._life.registration._ownership = Ownership(first._life.plane, first.info, interval=0)
            async with second:
                with anyio.fail_after(5):
                    await plane.wait_for_service("svc", Health.HEALTHY)
                await until(lambda: first.metrics()["foreign_instances_total"] == 1)
                assert second.metrics()["foreign_instances_total"] == 0
    [warning] = warnings(caplog)
    assert "two@there" in warning


async def test_each_session_is_an_instance_of_its_own(plane, config):
    info = ServiceInfo("svc", ServiceType.SINK)
    async with FlowctlSession(info, config) as session:
        other = FlowctlSession(info, config)
        assert session.info.metadata[INSTANCE_ID_KEY] != other.info.metadata[INSTANCE_ID_KEY]
        with anyio.fail_after(5):
            status = await plane.wait_for_service("svc")
        assert status.info.metadata[INSTANCE_ID_KEY] == session.info.metadata[INSTANCE_ID_KEY]


async def test_a_plane_of_the_classic_dialect_alone_tells_it_by_the_beats(caplog, until):
    async with EmbeddedControlPlane(dialects=[Dialect.CLASSIC]) as plane:
        config = FlowctlConfig(endpoint=plane.endpoint, heartbeat_interval=0.05)
        async with FlowctlSession(instance("one@here"), config) as first:
            first._life.registration._ownership = Ownership(first._life.plane, first.info, interval=0)
            async with FlowctlSession(instance("two@there"), config):
                await until(lambda: first.metrics()["foreign_instances_total"] == 1)


async def test_however_often_others_come_and_go_the_memory_of_them_is_bounded(client, monkeypatch):
    monkeypatch.setattr(ownership, "MOST_SEEN", 3)
    ours = Ownership(client, instance("one@here"), interval=0)
    for number in range(10):
        await client.register(instance(f"crash {number}"), timeout=5)
        await ours.check("svc")
    assert ours.foreign == 10
    assert len(ours._seen) <= 3
