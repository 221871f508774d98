"""What a session knows of the other services."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession
from flowctl_aio.control.discovery.directory import Directory
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.errors import ControlError, NotRegisteredError, PlaneUnavailableError
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.types import Health, ServiceInfo, ServiceType
from tests.control.statuses import EVENT, LEDGER, NOW, THREE, processor, service, sink, source

pytestmark = pytest.mark.anyio


class Plane:
    """Knows what the test tells it, and counts how often it is asked."""

    def __init__(self, *statuses) -> None:
        self.statuses, self.asked = list(statuses), 0
        self.error: ControlError | None = None

    async def list_services(self):
        self.asked += 1
        await checkpoint()
        if self.error is not None:
            raise self.error
        return self.statuses

    async def get_service_status(self, service_id):
        self.asked += 1
        await checkpoint()
        for status in self.statuses:
            if status.service_id == service_id:
                return status
        raise NotRegisteredError(f"service {service_id} not found")

    def directory(self, **settings) -> Directory:
        return Directory(self.list_services, self.get_service_status, now=lambda: NOW, **settings)


def ids(found):
    return [one.service_id for one in found]


async def test_answers_are_shared_and_briefly_kept():
    plane = Plane(*THREE)
    directory = plane.directory(max_age=60)
    async with anyio.create_task_group() as group:
        for ask in (directory.list_services, directory.discover, directory.list_services):
            group.start_soon(ask)
    assert plane.asked == 1
    answer = await directory.list_services()
    answer.clear()  # the caller's own
    assert ids(await directory.list_services()) == ["sink", "processor", "source"]
    directory.forget()
    await directory.list_services()
    assert plane.asked == 2


async def test_nothing_is_kept_if_the_age_is_none():
    plane = Plane()
    directory = plane.directory(max_age=0)
    for _ in range(3):
        await directory.list_services()
    assert plane.asked == 3


async def test_one_service_is_asked_for_by_its_id():
    directory = Plane(*THREE).directory()
    assert (await directory.get_service_status("sink")).service_id == "sink"
    with pytest.raises(NotRegisteredError, match="nobody"):
        await directory.get_service_status("nobody")


async def test_discovery_filters_and_the_best_come_first():
    plane = Plane(
        source("old", silent=41),
        source("slow", health=Health.DEGRADED),
        source("good", metadata={"network": "testnet"}),
        source("ill", health=Health.UNHEALTHY),
        *THREE[:2],
    )
    directory = plane.directory()
    assert ids(await directory.discover(ServiceType.SOURCE)) == ["good", "slow", "ill", "old"]
    assert ids(await directory.discover(ServiceType.SOURCE, healthy_only=True)) == ["good"]
    assert ids(await directory.discover(event_types=[EVENT])) == ["processor", "sink"]
    assert ids(await directory.discover(metadata={"network": "testnet"})) == ["good"]


async def test_a_service_is_marked_only_when_the_plane_had_time_to_notice():
    directory = Plane(source("a", silent=39), source("b", silent=41)).directory(lease=30)
    assert [(one.service_id, one.is_stale) for one in await directory.discover()] == [("a", False), ("b", True)]


async def test_upstream_and_downstream_are_those_who_can_be_worked_with():
    plane = Plane(
        source("ill", health=Health.UNHEALTHY),
        source("going", health=Health.STOPPING),
        source("quiet", health=Health.UNKNOWN),
        source("good", endpoint="localhost:8815"),
        source("other", "something.Else"),
        service("open", ServiceType.SINK),
        *THREE[:2],
    )
    directory = plane.directory()
    found = await directory.upstream(processor().info)
    assert ids(found) == ["good", "quiet"]
    assert found[0].connection.endpoint == "localhost:8815"
    assert found[1].connection is None
    everybody = await directory.upstream(processor().info, include_unhealthy=True)
    assert ids(everybody) == ["good", "quiet", "going", "ill"]
    assert ids(await directory.downstream(processor().info)) == ["open", "sink"]
    assert await directory.downstream(sink().info) == []


async def test_a_plane_that_is_away_is_an_error_and_the_next_question_is_asked_again():
    plane = Plane(*THREE)
    plane.error = PlaneUnavailableError("gone")
    directory = plane.directory(max_age=60)
    for ask in (directory.list_services, directory.discover, lambda: directory.upstream(sink().info)):
        with pytest.raises(PlaneUnavailableError, match="gone"):
            await ask()
    plane.error = None
    assert ids(await directory.upstream(sink().info)) == ["processor"]


async def test_it_works_over_a_real_plane():
    async with EmbeddedControlPlane() as plane:
        config = FlowctlConfig(endpoint=plane.endpoint, heartbeat_interval=0.1)
        async with (
            FlowctlSession(ServiceInfo("src", ServiceType.SOURCE, (), (LEDGER,)), config),
            open_control_channel(plane.endpoint) as channel,
        ):
            client = PlaneClient(channel, config)

            async def nobody(service_id):
                raise NotRegisteredError(service_id)

            directory = Directory(client.list_services, nobody)
            assert ids(await directory.upstream(sink("k", LEDGER).info)) == ["src"]
