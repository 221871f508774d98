"""The standard metrics carry the seed's names, tell what is known, and nothing that is not."""

from __future__ import annotations

import math

import pytest

from flowctl_aio.observe.process import rss_bytes
from flowctl_aio.observe.standard import HELP, SEED_NAMES, Facts, standard_metrics
from flowctl_aio.types import ServiceType

ALL = Facts(
    uptime=60.0,
    batches_in=10,
    rows_in=1000,
    bytes_in=8000,
    batches_out=5,
    rows_out=500,
    bytes_out=4000,
    faults=2,
    streams=1,
    streams_total=3,
    calls=7,
    rows_per_second=16.5,
    inflight=4,
    max_inflight=16,
    queue_depth=2,
    processing=3.5,
    latency=0.012,
    since_last=0.5,
    loop_lag=0.003,
    rss=100_000_000,
    files_written=6,
    bytes_written=2000,
    websocket_connections=1,
)
PROMISED = {
    ServiceType.SOURCE: {
        "ledgers_processed_total": 500,
        "processing_duration_seconds": 3.5,
        "rpc_requests_total": 7,
        "errors_total": 2,
    },
    ServiceType.PROCESSOR: {
        "events_processed_total": 1000,
        "events_per_second": 16.5,
        "compute_operations_total": 10,
        "memory_usage_bytes": 100_000_000,
    },
    ServiceType.SINK: {
        "files_written_total": 6,
        "websocket_connections": 1,
        "bytes_written_total": 2000,
        "compression_ratio": 4.0,
    },
}


@pytest.mark.parametrize("kind", list(PROMISED))
def test_the_promised_names_of_each_kind_are_there(kind):
    numbers = standard_metrics(kind, ALL)
    assert PROMISED[kind].items() <= numbers.items()
    # What the pipeline's roll-up reads of every service, and what every service was to have.
    assert {
        "events_per_second",
        "processing_latency_ms",
        "queue_depth",
        "errors_total",
        "events_processed_total",
    } <= set(numbers)
    assert {"service_status", "uptime_seconds", "seconds_since_last_processed"} <= set(numbers)
    assert numbers["processing_latency_ms"] == 12.0
    assert numbers["inflight_utilization"] == 0.25
    assert all(isinstance(value, float) and math.isfinite(value) for value in numbers.values())


@pytest.mark.parametrize("kind", list(ServiceType))
def test_every_name_is_explained(kind):
    assert set(standard_metrics(kind, ALL)) <= set(HELP)


def test_every_promised_name_is_one_of_the_seeds():
    assert {name for numbers in PROMISED.values() for name in numbers} <= SEED_NAMES


@pytest.mark.parametrize("kind", list(PROMISED))
def test_what_is_unknown_is_left_out(kind):
    numbers = standard_metrics(kind, Facts(uptime=1.0, is_up=False, loop_lag=math.nan))
    assert numbers["service_status"] == 0.0
    assert not {
        "events_per_second",
        "seconds_since_last_processed",
        "processing_latency_ms",
        "queue_depth",
        "inflight",
        "max_inflight",
        "inflight_utilization",
        "loop_lag_seconds",
        "memory_usage_bytes",
        "files_written_total",
        "compression_ratio",
    } & set(numbers)


def test_a_service_that_moves_no_data_has_no_numbers_of_data():
    assert set(standard_metrics(ServiceType.PIPELINE, ALL)) == {
        "service_status",
        "uptime_seconds",
        "errors_total",
        "loop_lag_seconds",
        "memory_usage_bytes",
    }


def test_memory_is_measured(monkeypatch, tmp_path):
    assert rss_bytes() > 1_000_000
    # Where there is no /proc, the peak stands in.
    monkeypatch.setattr("flowctl_aio.observe.process.STATM", tmp_path / "absent")
    assert rss_bytes() > 1_000_000
