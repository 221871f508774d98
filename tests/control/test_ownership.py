"""Two processes under one id: noticed, said once for each, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowctl_aio.control import ownership
from flowctl_aio.control.ownership import Ownership
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.service import INSTANCE_ID_KEY
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.types import ServiceInfo, ServiceType

pytestmark = pytest.mark.anyio
OURS = ServiceInfo("svc", ServiceType.SINK, metadata={INSTANCE_ID_KEY: "ours"})


def other(name: str) -> ServiceInfo:
    return replace(OURS, metadata={INSTANCE_ID_KEY: name})


@pytest.fixture
async def client(plane, config):
    async with open_control_channel(plane.endpoint) as channel:
        yield PlaneClient(channel, config)


async def test_each_other_process_under_our_id_is_named_once(client, caplog):
    owned = Ownership(client, OURS, interval=0)
    for info in (OURS, other("a"), other("a"), OURS, other("b"), other("a")):
        await client.register(info, timeout=5)
        await owned.check("svc")
    assert owned.foreign == 2
    named = [record.getMessage() for record in caplog.records if record.name == "flowctl_aio.control.ownership"]
    assert [message.split(" at ")[0] for message in named] == [
        "svc is also registered by a",
        "svc is also registered by b",
    ]


async def test_it_looks_only_now_and_then_and_not_without_a_name_of_its_own(client):
    await client.register(other("a"), timeout=5)
    for owned in (Ownership(client, OURS, interval=3600), Ownership(client, replace(OURS, metadata={}), interval=0)):
        await owned.check("svc")
        assert owned.foreign == 0


async def test_a_plane_that_does_not_know_us_is_no_matter_here(client):
    await Ownership(client, OURS, interval=0).check("svc")


async def test_however_often_others_come_and_go_the_memory_of_them_is_bounded(client, monkeypatch):
    monkeypatch.setattr(ownership, "MOST_SEEN", 3)
    owned = Ownership(client, OURS, interval=0)
    for number in range(10):
        await client.register(other(f"crash {number}"), timeout=5)
        await owned.check("svc")
    assert owned.foreign == 10
    assert len(owned._seen) <= 3
