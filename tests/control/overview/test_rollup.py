"""How a pipeline is, and what it does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.control.numbers import MOST, number_of
from flowctl_aio.control.overview.rollup import Overall, pipeline_health, pipeline_metrics
from flowctl_aio.control.overview.topology import topology_of
from flowctl_aio.types import Health, ServiceType
from tests.control.statuses import EVENT, HOSTILE, NOW, THREE, processor, quick, service, sink, source

ILL, QUIET = Health.UNHEALTHY, Health.UNKNOWN


def health_of(*statuses):
    return pipeline_health(statuses, now=NOW, lease=30)


@pytest.mark.parametrize(
    ("statuses", "overall", "ratio"),
    [
        ([], Overall.UNKNOWN, 0.0),
        (THREE, Overall.HEALTHY, 1.0),
        ([source(), sink(health=ILL)], Overall.DEGRADED, 0.5),
        ([source(), sink(health=Health.DEGRADED)], Overall.DEGRADED, 0.5),
        ([source(health=Health.DEGRADED), sink(health=ILL)], Overall.UNHEALTHY, 0.0),
        ([source(), sink(silent=31)], Overall.DEGRADED, 0.5),
        ([source(silent=31)], Overall.UNHEALTHY, 0.0),
        ([source(silent=None)], Overall.HEALTHY, 1.0),
        # A classic list of a real plane knows nothing of anybody; that is not the same as being ill.
        ([source(health=QUIET, silent=None), sink(health=QUIET, silent=None)], Overall.UNKNOWN, 0.0),
        ([source(health=QUIET), sink(health=ILL)], Overall.UNHEALTHY, 0.0),
        ([source(health=QUIET, silent=31)], Overall.UNHEALTHY, 0.0),
    ],
)
def test_all_some_or_none_are_healthy(statuses, overall, ratio):
    health = health_of(*statuses)
    assert (health.overall, health.ratio, health.total) == (overall, ratio, len(statuses))


def test_who_is_not_healthy_has_a_reason():
    health = health_of(source(), sink("a", health=ILL), sink("b", silent=95), sink("c", health=ILL, silent=95))
    assert {key: one.why for key, one in health.services.items()} == {
        "source": "",
        "a": "it is UNHEALTHY",
        "b": "its last heartbeat was 95 s ago, and the lease is 30 s",
        "c": "it is UNHEALTHY and its last heartbeat was 95 s ago, and the lease is 30 s",
    }


def test_throughput_is_counted_where_the_pipeline_ends_and_not_at_every_stage():
    rates = {"source": 100.0, "processor": 60.0, "sink": 50.0, "sink2": 5.0}
    three = [source(), processor(), sink(), sink("sink2")]
    told = [
        service(s.service_id, s.info.service_type, s.info.input_event_types, s.info.output_event_types, metrics=m)
        for s in three
        for m in [{"events_per_second": rates[s.service_id]}]
    ]
    metrics = pipeline_metrics(told)
    assert metrics.throughput == rates
    assert (metrics.total_throughput, metrics.summed_throughput) == (55.0, 215.0)
    # Where no end tells its rate, what comes in is the best that is known.
    assert pipeline_metrics([*told[:2], sink()]).total_throughput == 100.0
    assert pipeline_metrics(told[:1]).total_throughput == 100.0
    assert pipeline_metrics(told[:2]).total_throughput == 60.0


def test_the_numbers_of_the_silent_are_not_counted_when_it_is_known_who_is():
    numbers = {"events_per_second": 10.0, "processing_latency_ms": 1.0}
    statuses = [sink("gone", silent=60, metrics=numbers), sink("there", metrics=numbers)]
    assert pipeline_metrics(statuses).total_throughput == 20.0
    metrics = pipeline_metrics(statuses, health=health_of(*statuses))
    assert (metrics.total_throughput, metrics.throughput) == (10.0, {"there": 10.0})


def test_latency_is_the_slowest_service_and_beside_it_the_slowest_way():
    def took(status, milliseconds):
        info = status.info
        return service(
            status.service_id,
            info.service_type,
            info.input_event_types,
            info.output_event_types,
            metrics={"processing_latency_ms": milliseconds},
        )

    slow = took(processor("slow"), 7.75)
    metrics = pipeline_metrics([took(source(), 0.25), took(processor(), 1.5), slow, took(sink(), 2.0)])
    assert metrics.end_to_end_latency_ms == 7.75
    assert metrics.chain_latency_ms == 10.0
    two = [service("a", ServiceType.PROCESSOR, ("A",), ("B",)), service("b", ServiceType.PROCESSOR, ("B",), ("A",))]
    assert pipeline_metrics([took(one, 3.0) for one in two]).chain_latency_ms == 6.0
    assert pipeline_metrics(THREE).end_to_end_latency_ms is None
    assert pipeline_metrics(THREE).chain_latency_ms is None


def test_queues_errors_and_load_are_those_that_are_told():
    told = {
        "queue_depth": 4.0,
        "errors_total": 5.0,
        "events_processed_total": 50.0,
        "inflight": 3.0,
        "max_inflight": 4.0,
    }
    metrics = pipeline_metrics(
        [
            sink("a", metrics=told),
            sink("b", metrics={"errors_total": 1.0, "events_processed_total": 0.0, "inflight": 8.0}),
            sink("c", metrics={"inflight": 8.0}, max_inflight=16),
        ]
    )
    assert (metrics.queue_depth, metrics.error_rate) == ({"a": 4.0}, {"a": 0.1})
    assert metrics.load == {"a": 0.75, "c": 0.5}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1.0, MOST * 2])
def test_what_is_no_number_is_not_there(number):
    assert number_of(sink(metrics={"queue_depth": number}), "queue_depth") is None


def finite(metrics):
    several = (metrics.throughput, metrics.latency_ms, metrics.queue_depth, metrics.error_rate, metrics.load)
    single = (metrics.end_to_end_latency_ms, metrics.chain_latency_ms)
    yield from (metrics.total_throughput, metrics.summed_throughput)
    yield from (number for numbers in several for number in numbers.values())
    yield from (number for number in single if number is not None)


@quick
@given(st.lists(HOSTILE, max_size=6))
def test_nothing_that_strangers_send_breaks_the_sums(statuses):
    metrics = pipeline_metrics(statuses)
    assert all(math.isfinite(number) for number in finite(metrics))
    assert metrics.summed_throughput >= metrics.total_throughput or math.isclose(
        metrics.summed_throughput, metrics.total_throughput
    )
    if metrics.chain_latency_ms is not None:
        assert metrics.chain_latency_ms >= metrics.end_to_end_latency_ms


def test_ten_thousand_services_are_no_trouble():
    numbers = {"events_per_second": 1.0, "processing_latency_ms": 1.0}
    crowd = [
        service(f"{index}", ServiceType.PROCESSOR, (f"t{index}",), (f"t{index + 1}",), metrics=numbers)
        for index in range(10_000)
    ]
    metrics = pipeline_metrics(crowd, topology_of(crowd))
    assert (metrics.chain_latency_ms, metrics.total_throughput) == (10_000.0, 1.0)
    assert health_of(*crowd).overall is Overall.HEALTHY
    assert pipeline_metrics([sink(f"{index}", EVENT, metrics=numbers) for index in range(10_000)]).throughput
