"""Instruments count what they are told, keep within their bounds, and forget who is gone."""

from __future__ import annotations

import math

import pytest

from flowctl_aio.errors import UsageError
from flowctl_aio.observe.meter import DEFAULT_BOUNDS, Meter
from flowctl_aio.observe.monitor import MonitorMetrics


def test_a_counter_only_grows():
    counter = Meter().counter("calls_total", labels=("peer",))
    for amount in (2, -5, math.nan, math.inf, 0, 0.5):
        counter.add(amount, peer="a")
    counter.add(peer="b")
    assert counter.family().series == {("a",): 2.5, ("b",): 1.0}


def test_a_gauge_that_is_not_finite_is_unknown():
    gauge = Meter().gauge("load")
    gauge.set(0.5)
    assert gauge.family().series == {(): 0.5}
    gauge.set(math.nan)
    assert gauge.family().series == {}


def test_setting_all_series_takes_away_those_of_services_that_left():
    gauge = Meter().gauge("load", labels=("service_id", "service_type"))
    gauge.set_all({("a", "source"): 0.1, ("b", "sink"): 0.2})
    gauge.set_all({("b", "sink"): 0.3, ("c", "sink"): math.nan})
    assert gauge.family().series == {("b", "sink"): 0.3}
    with pytest.raises(UsageError, match="give each of them a value"):
        gauge.set_all({("a",): 1.0})


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram"])
def test_a_series_can_be_forgotten(kind):
    meter = Meter()
    if kind == "counter":
        counter = meter.counter("x_total", labels=("id",))
        counter.add(id="a")
        counter.remove(id="a")
    elif kind == "gauge":
        gauge = meter.gauge("x", labels=("id",))
        gauge.set(1, id="a")
        gauge.remove(id="a")
    else:
        histogram = meter.histogram("x", labels=("id",))
        histogram.observe(1, id="a")
        histogram.remove(id="a")
    (family,) = meter.families()
    assert not family.series
    assert not family.distributions


def test_a_histogram_counts_each_bound_as_included():
    histogram = Meter().histogram("t_seconds", bounds=(1, 2))
    for value in (0.5, 1, 1.5, 2, 3, math.nan):
        histogram.observe(value)
    distribution = histogram.family().distributions[()]
    assert (distribution.counts, distribution.sum) == ((2, 2, 1), 8.0)


def test_past_the_bound_no_series_is_begun_and_the_old_ones_go_on():
    counter = Meter(max_series=2).counter("x_total", labels=("id",))
    for id_ in "abcab":
        counter.add(id=id_)
    assert counter.family().series == {("a",): 2.0, ("b",): 2.0}


def test_a_long_label_value_is_cut():
    gauge = Meter().gauge("x", labels=("id",))
    gauge.set(1, id="a" * 10_000)
    ((value,),) = gauge.family().series
    assert len(value) == 200


def test_the_same_name_is_the_same_instrument():
    meter = Meter()
    assert meter.gauge("x", labels=("a",)) is meter.gauge("x", labels=("a",))
    for other in (
        lambda: meter.gauge("x"),
        lambda: meter.histogram("x", labels=("a",)),
    ):
        with pytest.raises(UsageError, match=r"x is a gauge with the labels \['a'\] already"):
            other()
    meter.histogram("h")
    with pytest.raises(UsageError, match="h is a histogram"):
        meter.histogram("h", bounds=(1,))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda m: m.gauge("a-b"), "'a-b' cannot be the name"),
        (lambda m: m.gauge("a_total"), "a_total is a gauge"),
        (lambda m: m.counter("a"), "a is a counter"),
        (lambda m: m.gauge("a", labels=("le",)), "'le' cannot be a label"),
        (lambda m: m.gauge("a", labels=("__x",)), "'__x' cannot be a label"),
        (lambda m: m.gauge("a", labels=("x", "x")), "a label twice"),
        (lambda m: m.histogram("a", bounds=()), "must be finite and rise"),
        (lambda m: m.histogram("a", bounds=(2, 1)), "must be finite and rise"),
        (lambda m: m.gauge("a", labels=("x",)).set(1), r"has the labels \['x'\], not \[\]"),
    ],
)
def test_what_no_page_could_show_is_refused_at_once(make, says):
    with pytest.raises(UsageError, match=says):
        make(Meter())


def test_upstreams_names_are_all_there():
    meter = Meter()
    metrics = MonitorMetrics(meter)
    metrics.reconnections.add(service_id="s", reason="gone")
    metrics.discovery_duration.observe(0.003)
    families = {family.name: family for family in meter.families()}
    assert {(name, family.kind, family.label_names) for name, family in families.items()} == {
        ("flowctl_pipeline_throughput_total", "gauge", ()),
        ("flowctl_pipeline_latency_seconds", "gauge", ()),
        ("flowctl_service_load_ratio", "gauge", ("service_id", "service_type")),
        ("flowctl_backpressure_active", "gauge", ()),
        ("flowctl_throttle_rate", "gauge", ()),
        ("flowctl_service_connections", "gauge", ("service_id", "endpoint")),
        ("flowctl_service_discovery_duration_seconds", "histogram", ()),
        ("flowctl_reconnection_events_total", "counter", ("service_id", "reason")),
        ("flowctl_service_throughput", "gauge", ("service_id", "service_type")),
        ("flowctl_service_queue_depth", "gauge", ("service_id", "service_type")),
        ("flowctl_pool_total_connections", "gauge", ("endpoint",)),
        ("flowctl_pool_healthy_connections", "gauge", ("endpoint",)),
        ("flowctl_pool_idle_connections", "gauge", ("endpoint",)),
    }
    assert DEFAULT_BOUNDS[0] == 0.001
    assert DEFAULT_BOUNDS[-1] == 0.512
    assert len(DEFAULT_BOUNDS) == 10
