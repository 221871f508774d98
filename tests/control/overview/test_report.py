"""The health report: always JSON, and as whole as it can be."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.control.flow.control import FlowControl
from flowctl_aio.control.overview.report import MOST_NAMED, health_report, report_of
from flowctl_aio.control.overview.rollup import pipeline_health, pipeline_metrics
from flowctl_aio.errors import PlaneUnavailableError
from flowctl_aio.types import Health
from tests.control.statuses import HOSTILE, NOW, THREE, processor, quick, sink, source

pytestmark = pytest.mark.anyio
FINE = ["Everything is within normal parameters."]


async def report_on(*statuses, flow=None):
    async def list_services():
        return statuses

    return await health_report(list_services, flow.state if flow is not None else None, now=lambda: NOW)


async def test_it_has_the_keys_that_dashboards_know():
    numbers = {
        "events_per_second": 50.0,
        "processing_latency_ms": 1500.0,
        "queue_depth": 4.0,
        "errors_total": 2.0,
        "events_processed_total": 100.0,
        "registrations_total": 3.0,
    }
    flow = FlowControl("me", now=lambda: NOW)
    flow.set_limit("me", 10)
    flow.acquire_nowait("me", 5)
    assert await report_on(sink(metrics=numbers, endpoint="h:1"), flow=flow) == {
        "timestamp": "2026-01-02T03:04:05+00:00",
        "pipeline_health": {
            "overall_status": "healthy",
            "healthy_services": 1,
            "total_services": 1,
            "health_ratio": 1.0,
        },
        "performance": {
            "total_throughput": 50.0,
            "summed_throughput": 50.0,
            "end_to_end_latency": 1.5,
            "chain_latency": 1.5,
            "service_throughput": {"sink": 50.0},
            "service_latency": {"sink": 1.5},
            "queue_depths": {"sink": 4.0},
            "error_rates": {"sink": 0.02},
        },
        "flow_control": {
            "backpressure_active": False,
            "load": 0.5,
            "throttle_rate": 1.0,
            "service_loads": {"me": 0.5},
            "last_updated": "2026-01-02T03:04:05+00:00",
        },
        "service_summary": [
            {
                "service_id": "sink",
                "status": "healthy",
                "why": "",
                "last_heartbeat": "2026-01-02T03:04:04+00:00",
                "error_count": 2,
                "response_time": 1.5,
                "endpoint": "h:1",
                "is_connected": True,
                "reconnect_count": 2,
            }
        ],
        "recommendations": FINE,
        "errors": {},
    }


async def test_without_services_it_says_so_and_divides_by_nothing():
    report = await report_on()
    assert report["pipeline_health"]["overall_status"] == "unknown"
    assert report["pipeline_health"]["health_ratio"] == 0.0
    assert report["recommendations"] == ["No services are registered."]


@pytest.mark.parametrize(
    ("metrics", "advice"),
    [
        ({}, FINE),
        ({"inflight": 8.0, "max_inflight": 10.0}, FINE),
        ({"inflight": 9.0, "max_inflight": 10.0}, ["'sink' runs at 90% of its limit: scale it, or make it faster."]),
        ({"errors_total": 5.0, "events_processed_total": 100.0}, FINE),
        (
            {"errors_total": 6.0, "events_processed_total": 100.0},
            ["'sink' fails on 6.0% of its events: look into its logs."],
        ),
        ({"processing_latency_ms": 5000.0}, FINE),
        (
            {"processing_latency_ms": 5100.0},
            ["An event takes 5.1 s from end to end: look for the bottleneck, first at 'sink'."],
        ),
        ({"events_per_second": math.nan, "errors_total": math.inf, "processing_latency_ms": -1.0}, FINE),
    ],
)
async def test_advice_is_given_where_a_number_is_beyond_its_limit_and_only_there(metrics, advice):
    assert (await report_on(*THREE[1:], sink(metrics=metrics)))["recommendations"] == advice


async def test_back_pressure_and_ill_services_are_worth_a_word():
    flow = FlowControl("me")
    flow.set_limit("me", 10)
    flow.acquire_nowait("me", 9)
    report = await report_on(source(health=Health.UNHEALTHY), processor(), sink(silent=60), flow=flow)
    assert report["recommendations"] == [
        "Back-pressure is active at a load of 90%: scale the services downstream.",
        "'me' runs at 90% of its limit: scale it, or make it faster.",
        "'source' is not healthy: it is UNHEALTHY.",
        "'sink' is not healthy: its last heartbeat was 60 s ago, and the lease is 30 s.",
    ]


async def test_a_crowd_in_trouble_does_not_flood_the_advice():
    metrics = {"errors_total": 6.0, "events_processed_total": 100.0, "inflight": 9.0, "max_inflight": 10.0}
    crowd = [sink(f"k{number}", health=Health.UNHEALTHY, metrics=metrics) for number in range(1000)]
    report = await report_on(*crowd)
    assert len(report["recommendations"]) == 3 * MOST_NAMED + 1
    assert report["recommendations"][-1] == f"{1000 - MOST_NAMED} more services are not healthy."


async def test_what_fails_is_missing_and_named_and_the_rest_stands(caplog):
    async def away():
        raise PlaneUnavailableError("the plane is away")

    async def broken():
        raise KeyError("token=hunter2")

    def no_flow():
        raise RuntimeError("flow=hunter2")

    flow = FlowControl("me")
    report = await health_report(away, flow.state, now=lambda: NOW)
    assert report["errors"] == {"pipeline_health": "the plane is away"}
    assert report["pipeline_health"] is report["performance"] is report["service_summary"] is None
    assert report["flow_control"]["load"] == 0.0
    assert report["recommendations"] == []
    report = await health_report(broken, no_flow, now=lambda: NOW)
    assert report["errors"] == {"pipeline_health": "KeyError", "flow_control": "RuntimeError"}
    assert "hunter2" not in json.dumps(report)


@quick
@given(st.lists(HOSTILE, max_size=6))
def test_it_is_json_whatever_strangers_send(statuses):
    flow = FlowControl("me", now=lambda: NOW)
    flow.observe(statuses)
    report = report_of(
        pipeline_health(statuses, now=NOW, lease=30), pipeline_metrics(statuses), flow.state(), errors={}, at=NOW
    )
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["recommendations"]
