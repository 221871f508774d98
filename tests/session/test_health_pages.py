"""The health pages of a real session: up before everything else, truthful, and one story with all else it says."""

from __future__ import annotations

import json
import logging
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import anyio
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from flowctl_aio import FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType, State
from flowctl_aio.observe.prometheus import prometheus_name
from flowctl_aio.testing import PlaneUnderTest, assert_no_leaks
from flowctl_aio.types import Health

from .conftest import INFO, Numbers

pytestmark = pytest.mark.anyio
PAGES = "127.0.0.1:0"


@pytest.fixture
async def moody():
    """A plane that fails when it is told to."""
    async with PlaneUnderTest() as plane:
        yield plane


@pytest.fixture
def seen(moody) -> FlowctlConfig:
    """Settings of a session of that plane that can be looked at."""
    return FlowctlConfig(
        endpoint=moody.endpoint,
        health_bind=PAGES,
        heartbeat_interval=0.1,
        heartbeat_timeout=0.5,
        drain_timeout=2.0,
    )


async def look(session: FlowctlSession, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(f"http://{session.health_endpoint}{path}") as answer:
        return answer.status, await answer.text()


async def code(session: FlowctlSession, path: str) -> int:
    return (await look(session, path))[0]


async def told(session: FlowctlSession) -> dict:
    return json.loads((await look(session, "/health"))[1])


async def samples(session: FlowctlSession) -> dict[tuple[str, tuple], float]:
    """What /metrics says, by name and labels."""
    status, text = await look(session, "/metrics")
    assert status == 200
    families = text_string_to_metric_families(text)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


async def test_the_pages_are_up_while_the_plane_has_not_answered_yet(moody, seen):
    session = FlowctlSession(INFO, seen)

    async def live() -> None:
        async with session:
            await session.wait_stopped()

    async with moody.hanging(methods=["RegisterComponent"]) as fault, anyio.create_task_group() as group:
        group.start_soon(live)
        await fault.wait_hits(1)
        assert session.state is State.CONNECTING
        codes = {path: await code(session, path) for path in ("/live", "/ready", "/startupz")}
        assert codes == {"/live": 200, "/ready": 503, "/startupz": 503}
        assert (await told(session))["state"] == "connecting"
        session.stop()
        group.cancel_scope.cancel()
    assert session.state is State.CLOSED


async def test_the_pages_are_up_while_the_component_still_comes_up(seen):
    class Slow(Numbers):
        def __init__(self):
            self.begun = anyio.Event()

        @asynccontextmanager
        async def lifespan(self):
            self.begun.set()
            await anyio.sleep_forever()
            yield

    component = Slow()
    session = FlowctlSession(component, seen)
    async with anyio.create_task_group() as group:
        group.start_soon(session.__aenter__)
        await component.begun.wait()
        assert (await code(session, "/live"), await code(session, "/ready")) == (200, 503)
        group.cancel_scope.cancel()
    assert session.state is State.CLOSED


async def test_an_outage_is_told_with_its_reason_and_fails_no_probe(moody, seen):
    async with FlowctlSession(INFO, seen) as session:
        assert await code(session, "/ready") == 200
        assert (await told(session))["reasons"] == []
        async with moody.outage():
            await session.wait_for(State.DEGRADED, timeout=5)
            codes = {path: await code(session, path) for path in ("/live", "/ready", "/health", "/startupz")}
            assert codes == dict.fromkeys(codes, 200)
            page = await told(session)
            assert page["state"] == "degraded"
            [reason] = page["reasons"]
            assert reason.startswith("degraded: ")
            assert moody.endpoint in reason
        await session.wait_for(State.REGISTERED, timeout=5)
        page = await told(session)
        assert (page["state"], page["reasons"]) == ("registered", [])


async def test_a_plane_that_was_never_there_fails_no_probe_either(free_port, seen):
    config = replace(seen, endpoint=f"127.0.0.1:{free_port}")
    async with FlowctlSession(Numbers(), config) as session:
        assert (await code(session, "/live"), await code(session, "/ready")) == (200, 200)
        page = await told(session)
        assert page["service_id"].startswith("sim-SERVICE_TYPE_SOURCE-")
        assert str(free_port) in " ".join(page["reasons"])


async def test_who_drains_is_live_and_not_ready(seen):
    async with FlowctlSession(Numbers(), seen) as session:
        await session.drain()
        codes = {path: await code(session, path) for path in ("/live", "/ready", "/health", "/startupz")}
        assert codes == {"/live": 200, "/ready": 503, "/health": 503, "/startupz": 200}
        page = await told(session)
        assert (page["state"], page["health"]) == ("draining", "HEALTH_STATUS_STOPPING")
        assert page["reasons"] == ["it is draining"]


async def test_a_probe_that_says_unhealthy_is_what_liveness_fails_for(seen):
    class Probed(Numbers):
        said = Health.UNHEALTHY

        def health(self):
            return self.said

    component = Probed()
    async with FlowctlSession(component, seen) as session:
        codes = {path: await code(session, path) for path in ("/live", "/ready", "/health")}
        assert codes == {"/live": 500, "/ready": 503, "/health": 503}
        assert (await told(session))["reasons"] == ["the component says UNHEALTHY"]
        component.said = Health.DEGRADED
        codes = {path: await code(session, path) for path in ("/live", "/ready", "/health")}
        assert codes == {"/live": 200, "/ready": 200, "/health": 200}


async def test_pages_metrics_repr_and_log_tell_one_story(moody, seen, caplog, until):
    caplog.set_level(logging.INFO)
    async with FlowctlSession(INFO, seen, metrics=lambda: {"depth": 7}) as session:
        await until(lambda: session.metrics()["heartbeats_total"] >= 2)
        moody.forget("svc")
        await until(lambda: session.metrics()["registrations_total"] == 2)
        async with moody.outage():
            await session.wait_for(State.DEGRADED, timeout=5)
            page, text = await told(session), repr(session)
            assert page["state"] == "degraded"
            assert " degraded " in text
            assert page["service_id"] == session.service_id == text.split()[1]
        await session.wait_for(State.REGISTERED, timeout=5)
        await until(lambda: session.metrics()["registrations_total"] == 3)
        before, found, after = session.metrics(), await samples(session), session.metrics()
        own = (("service_id", "svc"), ("service_type", "processor"))
        for name, low in before.items():
            if name in ("memory_usage_bytes", "loop_lag_seconds"):
                continue  # they fall as they rise
            shown = found[prometheus_name(name), own]
            assert low <= shown <= after[name], name
        assert found["flowctl_depth", own] == 7
        assert found["flowctl_registrations_total", own] == 3
        # Forgotten alone, and again by the plane that came back without its memory.
        assert found["flowctl_reconnection_events_total", (("reason", "forgotten"), ("service_id", "svc"))] == 2
        page = await told(session)
        assert (page["state"], page["health"]) == (session.state.value, f"HEALTH_STATUS_{session.read_health().name}")
        assert " registered " in repr(session)
    moves = [record.state for record in caplog.records if hasattr(record, "state_before")]
    assert moves == ["connecting", "registered", "degraded", "registered", "draining", "closed"]
    assert " closed" in repr(session)


async def test_back_pressure_is_on_the_metrics_page(seen):
    async with FlowctlSession(INFO, seen) as session:
        session.flow.set_limit("other", 10)
        session.flow.set_inflight("other", 9)
        found = await samples(session)
        assert found["flowctl_backpressure_active", ()] == 1
        assert found["flowctl_throttle_rate", ()] == 0.5
        assert found["flowctl_service_load_ratio", (("service_id", "other"), ("service_type", ""))] == 0.9
        session.flow.set_inflight("other", 0)
        session.flow.set_limit("other", 0)
        found = await samples(session)
        assert found["flowctl_backpressure_active", ()] == 0
        # Who is gone leaves no series behind.
        assert not [labels for name, labels in found if name == "flowctl_service_load_ratio"]


async def test_who_looks_at_the_pipeline_shows_it_under_the_names_of_upstreams_monitor(moody, seen, until):
    numbers = {"events_per_second": 5, "processing_latency_ms": 20, "queue_depth": 3, "inflight": 1, "max_inflight": 4}
    wide = replace(seen, flow_scope="pipeline", watch_interval=0.05, query_max_age=0)
    other = ServiceInfo("other", ServiceType.SINK, endpoint="127.0.0.1:9")
    async with FlowctlSession(INFO, wide) as session:
        page: dict[tuple[str, tuple], float] = {}

        async def shows(name: str, value: float | None) -> None:
            with anyio.fail_after(5):
                while [told for (shown, _), told in page.items() if shown == name] != (
                    [] if value is None else [value]
                ):
                    page.clear()
                    page.update(await samples(session))

        async with FlowctlSession(other, replace(seen, health_bind=""), metrics=lambda: numbers):
            await shows("flowctl_pipeline_throughput_total", 5)
            await shows("flowctl_pipeline_latency_seconds", 0.02)
            own = (("service_id", "other"), ("service_type", "sink"))
            assert page["flowctl_service_throughput", own] == 5
            assert page["flowctl_service_queue_depth", own] == 3
            assert page["flowctl_service_load_ratio", own] == 0.25
            assert page["flowctl_service_connections", (("endpoint", "127.0.0.1:9"), ("service_id", "other"))] == 1
            assert page["flowctl_service_discovery_duration_seconds_count", ()] >= 1
        # Who is gone leaves no series behind.
        await shows("flowctl_service_throughput", None)
        await shows("flowctl_pipeline_latency_seconds", None)
        # And of a plane that does not answer, nothing is known.
        async with moody.outage():
            await shows("flowctl_pipeline_throughput_total", None)
            await shows("flowctl_service_connections", None)
        await shows("flowctl_service_connections", 1)


async def test_a_port_that_is_taken_is_a_warning_and_the_session_runs(seen, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        async with FlowctlSession(INFO, replace(seen, health_bind=bind)) as session:
            assert (session.state, session.health_endpoint) == (State.REGISTERED, "")
    [warning] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert bind in warning.getMessage()


async def test_nothing_is_left_of_the_pages_and_the_port_is_free(seen):
    async with assert_no_leaks():
        async with FlowctlSession(INFO, seen) as session:
            assert await code(session, "/live") == 200
            host, port = session.health_endpoint.split(":")
        assert session.health_endpoint == ""
        with socket.create_server((host, int(port))):
            pass


async def test_without_the_setting_nothing_listens(seen):
    def listening() -> int:
        found = psutil.Process().net_connections("tcp")
        return len([one for one in found if one.status == psutil.CONN_LISTEN])

    before = listening()
    async with FlowctlSession(INFO, replace(seen, health_bind="")) as session:
        assert (session.health_endpoint, listening()) == ("", before)
