"""What a session can ask its plane, in both dialects and at planes that can tell less."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio
import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio.control.discovery.changes import Added, Changed, Removed
from flowctl_aio.control.discovery.watch import Lost, Snapshot
from flowctl_aio.control.overview.rollup import Overall
from flowctl_aio.errors import NotRegisteredError, PlaneUnavailableError
from flowctl_aio.types import Dialect, Health

from .conftest import INFO, Numbers

pytestmark = pytest.mark.anyio

SINK = ServiceInfo(
    "sink", ServiceType.SINK, input_event_types=("E",), endpoint="127.0.0.1:9", metadata={"network": "testnet"}
)
IDS = {"numbers", "svc", "sink"}


@dataclass(frozen=True)
class World:
    """A plane, what it can tell, and three services in a chain: `numbers` feeds `svc`, and that feeds `sink`.

    Attributes:
        tells_metrics: false where the numbers of beats are dropped.
        lets_go: false where a service that leaves cannot say so: classic has no word for it.
    """

    plane: EmbeddedControlPlane
    config: FlowctlConfig
    dialect: Dialect
    tells_metrics: bool = True
    lets_go: bool = True


WORLDS = {
    "v1": ({}, "v1", {}),
    "classic": ({}, "classic", {}),
    "v1 of flowctl": ({"quirks": "flowctl"}, "v1", {}),
    # A real flowctl drops the numbers of classic beats.
    "classic of flowctl": ({"quirks": "flowctl"}, "classic", {"tells_metrics": False}),
    "classic alone": ({"dialects": [Dialect.CLASSIC]}, "auto", {"lets_go": False}),
}


@pytest.fixture(params=WORLDS)
async def world(request):
    options, dialect, told = WORLDS[request.param]
    async with EmbeddedControlPlane(**options) as plane:
        config = FlowctlConfig(
            endpoint=plane.endpoint,
            dialect=dialect,
            heartbeat_interval=0.05,
            query_max_age=0,
            watch_interval=0.05,
            drain_timeout=2.0,
        )
        spoken = Dialect.V1 if dialect == "v1" else Dialect.CLASSIC
        yield World(plane, config, spoken, **told)


@asynccontextmanager
async def chain(world: World):
    """The three of them, each heard of at least once; the one in the middle asks."""
    numbers = {"events_per_second": 5, "processing_latency_ms": 20, "errors_total": 1, "events_processed_total": 10}
    async with (
        FlowctlSession(Numbers(), world.config) as source,
        FlowctlSession(SINK, world.config, metrics=lambda: numbers) as sink,
        FlowctlSession(INFO, world.config, metrics=lambda: {"inflight": 1, "max_inflight": 4}) as session,
    ):
        with anyio.fail_after(5):
            for one in (source, sink, session):
                await world.plane.wait_until(lambda one=one: one.metrics()["heartbeats_total"] >= 3)
        assert session.dialect is world.dialect
        yield session, source


def strict(report) -> dict:
    """The report through JSON that knows no NaN."""

    def refuse(word: str):
        pytest.fail(f"{word} is no JSON")

    return json.loads(json.dumps(report, allow_nan=False), parse_constant=refuse)


async def test_the_services_are_listed_with_all_that_they_told(world):
    async with chain(world) as (session, source):
        found = {status.service_id: status for status in await session.list_services()}
        assert set(found) == IDS
        assert found["numbers"].info.endpoint == source.endpoint
        assert found["numbers"].info.output_event_types == ("L",)
        assert found["sink"].info.service_type is ServiceType.SINK
        assert found["sink"].info.metadata["network"] == "testnet"
        assert all(status.last_heartbeat is not None for status in found.values())
        assert {status.health for status in found.values()} == {Health.HEALTHY}
        if world.tells_metrics:
            assert found["sink"].metrics["events_per_second"] == 5
            assert found["sink"].metrics["uptime_seconds"] > 0


async def test_one_service_is_asked_for_by_its_id_and_without_one_it_is_oneself(world):
    async with chain(world) as (session, _):
        own, other = await session.get_service_status(), await session.get_service_status("sink")
        assert (own.service_id, own.info.service_type) == ("svc", ServiceType.PROCESSOR)
        assert (other.service_id, other.info.input_event_types) == ("sink", ("E",))
        with pytest.raises(NotRegisteredError, match="nobody"):
            await session.get_service_status("nobody")


async def test_others_are_discovered_by_what_they_give_and_take(world):
    async with chain(world) as (session, source):

        async def ids(*arguments, **wishes):
            return {one.service_id for one in await session.discover(*arguments, **wishes)}

        assert await ids(event_type="L") == {"numbers", "svc"}
        assert await ids(ServiceType.SOURCE, event_type="L") == {"numbers"}
        assert await ids(event_types=("L", "E")) == IDS
        assert await ids(metadata={"network": "testnet"}) == {"sink"}
        assert await ids(metadata={"network": "mainnet"}) == set()
        assert await ids(event_type="nothing") == set()
        assert await ids(healthy_only=True) == IDS
        [upstream], [downstream] = await session.upstream(), await session.downstream()
        assert (upstream.service_id, upstream.status.info.endpoint) == ("numbers", source.endpoint)
        # As it was told, and never guessed.
        assert (downstream.service_id, downstream.status.info.endpoint) == ("sink", "127.0.0.1:9")


async def test_what_is_discovered_can_be_streamed_from(world):
    async with chain(world) as (session, _), session.source() as client, client.stream(1, 5) as stream:
        assert [ledger.sequence async for batch in stream for ledger in batch] == [1, 2, 3, 4, 5]


async def test_a_watch_tells_everybody_first_and_then_who_comes_changes_and_goes(world):
    async with chain(world) as (session, _), session.watch() as watch:
        with anyio.fail_after(10):
            first = await anext(watch)
            assert isinstance(first, Snapshot)
            assert {status.service_id for status in first.services} == IDS
            late = ServiceInfo("late", ServiceType.SINK)
            async with FlowctlSession(late, world.config) as another:
                news = await anext(watch)
                assert isinstance(news, Added)
                assert news.status.service_id == "late"
                if world.dialect is Dialect.V1:  # a classic beat has no health to tell
                    another.health = Health.DEGRADED
                    while not (isinstance(news, Changed) and news.after.health is Health.DEGRADED):
                        news = await anext(watch)
            if not world.lets_go:
                return
            while not isinstance(news, Removed):
                news = await anext(watch)
            assert news.status.service_id == "late"


async def test_the_topology_is_the_chain(world):
    async with chain(world) as (session, _):
        topology = await session.topology()
        assert list(topology.chains) == [("numbers", "svc", "sink")]
        strict(topology.to_json())
        for drawing in (topology.to_dot(), topology.to_mermaid()):
            assert all(service_id in drawing for service_id in IDS)


async def test_health_and_metrics_are_rolled_up(world):
    async with chain(world) as (session, _):
        health, metrics = await session.pipeline_health(), await session.pipeline_metrics()
        assert health.total == 3
        assert (health.overall, health.healthy, health.ratio) == (Overall.HEALTHY, 3, 1.0)
        if world.tells_metrics:
            assert metrics.total_throughput == 5
            assert metrics.latency_ms["sink"] == metrics.end_to_end_latency_ms == metrics.chain_latency_ms == 20
            assert metrics.error_rate["sink"] == 0.1
            assert metrics.load["svc"] == 0.25
        else:
            assert (metrics.total_throughput, metrics.chain_latency_ms) == (0, None)


async def test_the_report_is_json_and_advises(world):
    async with chain(world) as (session, _):
        report = strict(await session.health_report())
        assert report["errors"] == {}
        assert report["pipeline_health"]["total_services"] == 3
        assert {one["service_id"] for one in report["service_summary"]} == IDS
        if world.tells_metrics:
            assert "'sink' fails on 10.0% of its events: look into its logs." in report["recommendations"]


async def test_of_a_plane_that_is_away_the_report_is_json_and_says_so_and_questions_fail_clearly(world):
    async with chain(world) as (session, _):
        await world.plane.aclose()
        report = strict(await session.health_report())
        assert (report["pipeline_health"], report["performance"]) == (None, None)
        assert world.plane.endpoint in report["errors"]["pipeline_health"]
        assert report["flow_control"]["throttle_rate"] == 1
        for question in (
            session.get_service_status,
            session.list_services,
            session.discover,
            session.upstream,
            session.downstream,
            session.topology,
            session.pipeline_health,
            session.pipeline_metrics,
        ):
            with pytest.raises(PlaneUnavailableError, match=world.plane.endpoint):
                await question()


async def test_a_report_of_nobody_is_json_too():
    async with EmbeddedControlPlane() as plane:
        config = FlowctlConfig(endpoint=plane.endpoint, query_max_age=0)
        async with FlowctlSession(INFO, config) as session:
            plane.forget()
            report = strict(await session.health_report())
    assert report["pipeline_health"] == {
        "overall_status": "unknown",
        "healthy_services": 0,
        "total_services": 0,
        "health_ratio": 0.0,
    }


async def test_numbers_that_are_none_do_not_spoil_the_report(plane, config):
    odd = {"events_per_second": float("inf"), "errors_total": float("nan"), "queue_depth": -1, "inflight": 1e300}
    async with FlowctlSession(INFO, replace(config, query_max_age=0), metrics=lambda: odd) as session:
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= 2)
        strict(await session.health_report())


async def test_a_flowctl_of_before_v1_tells_of_one_service_what_its_list_tells():
    async with (
        EmbeddedControlPlane(quirks="flowctl", dialects=[Dialect.CLASSIC]) as plane,
        FlowctlSession(INFO, FlowctlConfig(endpoint=plane.endpoint)) as session,
    ):
        status = await session.get_service_status()
        assert (status.service_id, status.info.service_type) == ("svc", ServiceType.PROCESSOR)
        # It says that of everybody, and drops what would tell more.
        assert (status.health, status.metrics, status.info.endpoint) == (Health.UNKNOWN, {}, "")
        with pytest.raises(NotRegisteredError, match="nobody"):
            await session.get_service_status("nobody")
        assert (await session.pipeline_health()).overall is Overall.UNKNOWN
        assert strict(await session.health_report())["errors"] == {}


async def test_those_who_are_unhealthy_are_neighbours_only_on_request(plane, config):
    config = replace(config, query_max_age=0)
    async with FlowctlSession(Numbers(), config) as source, FlowctlSession(INFO, config) as session:
        source.health = Health.UNHEALTHY
        await plane.wait_for_service("numbers", Health.UNHEALTHY)
        assert await session.upstream() == []
        assert [one.service_id for one in await session.upstream(include_unhealthy=True)] == ["numbers"]
        assert await session.downstream(include_unhealthy=True) == []


async def test_a_watch_tells_on_request_that_the_plane_went_away(plane, config):
    config = replace(config, query_max_age=0)
    async with FlowctlSession(INFO, config) as session, session.watch(interval=0.05, outages=True) as watch:
        with anyio.fail_after(10):
            assert isinstance(await anext(watch), Snapshot)
            await plane.aclose()
            assert isinstance(await anext(watch), Lost)
