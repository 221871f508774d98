"""What a session tells the plane of its health and in its numbers."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest

from flowctl_aio import FlowctlSession
from flowctl_aio.errors import UsageError
from flowctl_aio.types import Health

from .conftest import INFO, Numbers

pytestmark = pytest.mark.anyio


async def test_an_explicit_health_is_what_the_plane_hears(plane, config):
    async with FlowctlSession(INFO, config) as session:
        for health in (Health.DEGRADED, Health.UNHEALTHY, Health.HEALTHY):
            session.health = health
            with anyio.fail_after(5):
                await plane.wait_for_service("svc", health)


async def test_the_plane_hears_that_a_session_is_stopping(plane, config):
    async with FlowctlSession(INFO, config) as session:
        session.stop()
        with anyio.fail_after(5):
            await plane.wait_for_service("svc", Health.STOPPING)


async def test_a_health_probe_that_fails_is_unhealthy_and_the_session_goes_on(plane, config):
    class Probing(Numbers):
        broken = True

        def health(self):
            if self.broken:
                raise RuntimeError("probe")
            return Health.HEALTHY

    component = Probing()
    async with FlowctlSession(component, config):
        with anyio.fail_after(5):
            await plane.wait_for_service("numbers", Health.UNHEALTHY)
            component.broken = False
            await plane.wait_for_service("numbers", Health.HEALTHY)


async def cancelled():
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    "provider", [lambda: 1 / 0, lambda: None, lambda: {"n": "many"}, lambda: {"n": [1]}, lambda: ["n"], cancelled]
)
async def test_a_metrics_provider_that_fails_sends_none_and_the_session_goes_on(plane, config, provider):
    async with FlowctlSession(INFO, config, metrics=provider) as session:
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= 3)
        assert "n" not in plane.services()[0].metrics


async def test_metrics_reach_the_plane_also_when_they_are_not_finite(plane, config):
    class Provider:
        def get_metrics(self):
            return {"lag": 2, "ok": True, "nan": float("nan"), "inf": float("inf")}

    async with FlowctlSession(INFO, config, metrics=Provider()):
        with anyio.fail_after(5):
            await plane.wait_until(lambda: plane.services()[0].metrics)
        metrics = plane.services()[0].metrics
    assert (metrics["lag"], metrics["ok"]) == (2.0, 1.0)
    assert not {"nan", "inf"} & set(metrics)


@pytest.mark.parametrize("fault", [RuntimeError("disk"), asyncio.CancelledError()])
async def test_a_component_that_cannot_tell_its_numbers_goes_on_beating(plane, config, fault):
    class Faulty(Numbers):
        def metrics(self):
            raise fault

    async with FlowctlSession(Faulty(), config) as session:
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= 3)
        assert plane.services()[0].metrics["service_status"] == 1


async def test_a_health_that_is_none_is_refused_where_it_is_set(plane, config):
    async with FlowctlSession(INFO, config) as session:
        with pytest.raises(UsageError, match="not 'fine'"):
            session.health = "fine"
        session.health = None


async def test_the_plane_hears_of_the_room_of_all_streams_together(plane, config):
    async with FlowctlSession(Numbers(), config) as session, session.source(session.endpoint) as client:
        one = session.metrics()["max_inflight"]
        async with client.stream(1, 9) as first, client.stream(1, 9) as second:
            await anext(first)
            await anext(second)
            told = session.metrics()
            assert told["max_inflight"] == session.flow.limit("numbers") == 2 * one
            assert told["inflight_utilization"] == session.flow.load
