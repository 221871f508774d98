"""Whatever the numbers are called, the page can be read, and shows each under one name."""

from __future__ import annotations

import math
import re

import prometheus_client
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from flowctl_aio.observe.meter import Meter
from flowctl_aio.observe.monitor import MonitorMetrics
from flowctl_aio.observe.prometheus import DROPPED, Page, finite, label_name, prometheus_name, render

LABELS = {"service_id": "ledgers-1"}


def read(page: Page) -> dict[str, float]:
    """Sample names with their values, once each sample is seen to be there once."""
    found: dict[str, float] = {}
    seen: set[tuple[str, str | None]] = set()
    for family in text_string_to_metric_families(render(page).decode()):
        for sample in family.samples:
            assert (sample.name, sample.labels.get("le")) not in seen
            seen.add((sample.name, sample.labels.get("le")))
            found[sample.name] = sample.value
    return found


def test_seed_and_upstream_names_stay_and_others_get_the_prefix():
    assert prometheus_name("ledgers_processed_total") == "ledgers_processed_total"
    assert prometheus_name("stellar_source_current_ledger") == "stellar_source_current_ledger"
    assert prometheus_name("flowctl_throttle_rate") == "flowctl_throttle_rate"
    assert prometheus_name("streams") == "flowctl_streams"
    assert prometheus_name("go.gc-pauses") == "flowctl_go_gc_pauses"


def test_a_number_is_shown_with_its_type_its_help_and_its_labels():
    text = render(Page({"heartbeats_total": 3, "streams": 2, "uptime_seconds": 1.5}, LABELS)).decode()
    assert "# TYPE flowctl_heartbeats_total counter\n" in text
    assert 'flowctl_heartbeats_total{service_id="ledgers-1"} 3.0\n' in text
    assert "# HELP flowctl_streams Streams under way.\n# TYPE flowctl_streams gauge\n" in text
    assert 'uptime_seconds{service_id="ledgers-1"} 1.5\n' in text


def test_a_gauge_and_a_counter_of_one_stem_are_two():
    found = read(Page({"streams": 1, "streams_total": 9}, {}))
    assert (found["flowctl_streams"], found["flowctl_streams_total"], found[DROPPED]) == (1, 9, 0)


def test_the_name_that_needs_no_mending_wins():
    found = read(Page({"a.b": 1, "a b": 2, "a_b": 3}, {}))
    assert found["flowctl_a_b"] == 3
    assert found[DROPPED] == 2


def test_what_is_not_finite_is_left_out():
    assert set(read(Page({"a": math.nan, "b": math.inf, "c": 10**400}, {}))) == {DROPPED}
    assert [finite(value) for value in (1, True, "2", None, "x", math.inf)] == [1.0, 1.0, 2.0, None, None, None]


def test_a_page_has_a_bound():
    found = read(Page({f"n{i}": i for i in range(3000)}, {}))
    assert len(found) == 2001
    assert found[DROPPED] == 1000


def test_upstreams_metrics_are_shown_as_upstream_has_them():
    meter = Meter()
    monitor = MonitorMetrics(meter)
    monitor.throughput.set(12.5)
    monitor.load_ratio.set_all({("a", "sink"): 0.25})
    monitor.reconnections.add(2, service_id="a", reason='gone "away"\n')
    monitor.discovery_duration.observe(0.0015)
    monitor.discovery_duration.observe(9)
    text = render(Page({"flowctl_throttle_rate": 0.5}, {}, meter.families())).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["flowctl_pipeline_throughput_total"].type == "gauge"
    (load,) = families["flowctl_service_load_ratio"].samples
    assert (load.labels, load.value) == ({"service_id": "a", "service_type": "sink"}, 0.25)
    (again,) = families["flowctl_reconnection_events"].samples
    assert (again.labels["reason"], again.value) == ('gone "away"\n', 2)
    buckets = {
        sample.labels["le"]: sample.value
        for sample in families["flowctl_service_discovery_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    assert (buckets["0.001"], buckets["0.002"], buckets["0.512"], buckets["+Inf"]) == (0, 1, 1, 2)
    # The meter's family has the name by right; the number of the same name is the one that goes.
    assert families[DROPPED].samples[0].value == 1


def test_the_applications_own_registry_is_left_alone():
    before = set(prometheus_client.REGISTRY._names_to_collectors)
    render(Page({"uptime_seconds": 1}, LABELS))
    assert set(prometheus_client.REGISTRY._names_to_collectors) == before


ANY_TEXT = (
    st.text(max_size=30)
    | st.text(alphabet='ab._-:0é\n"{}\\ ', max_size=8)
    | st.sampled_from(
        ["", "le", "__name__", "a_total", "a_bucket", "a", "a_count", "streams", "flowctl_streams", "h", "h_sum"]
    )
)
ANY_SURROGATE = st.text(alphabet=st.characters(categories=["Cs", "Ll"]), max_size=5)


@given(
    numbers=st.dictionaries(ANY_TEXT | ANY_SURROGATE, st.floats() | st.integers(), max_size=12),
    labels=st.dictionaries(ANY_TEXT | ANY_SURROGATE, ANY_TEXT | ANY_SURROGATE, max_size=4),
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_no_name_and_no_label_can_spoil_the_page(numbers, labels):
    meter = Meter()
    meter.histogram("flowctl_h").observe(1)
    meter.counter("flowctl_a_total").add()
    text = render(Page(numbers, labels, meter.families())).decode()
    types = re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
    assert len(types) == len(set(types))
    found = read(Page(numbers, labels, meter.families()))
    assert found["flowctl_h_count"] == 1
    assert all(math.isfinite(value) for value in found.values())
    wanted = {prometheus_name(name) for name, value in numbers.items() if finite(value) is not None}
    assert wanted - {"flowctl_h"} <= set(found)  # the histogram has that one


@given(ANY_TEXT | ANY_SURROGATE)
def test_a_label_name_is_one_that_prometheus_takes(name):
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", label_name(name))
    assert label_name(name) not in {"le", "quantile", "job", "instance"}


@pytest.mark.parametrize("name", ["a" * 10_000, "é" * 10_000])
def test_a_long_name_is_cut(name):
    assert len(prometheus_name(name)) < 300
