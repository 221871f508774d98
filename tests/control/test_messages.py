"""Service values ⇄ the control messages of both dialects, there and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from flowctl_aio import _wire as wire
from flowctl_aio.control import messages
from flowctl_aio.types import Health, ServiceInfo, ServiceType

FULL = ServiceInfo(
    component_id="ttp",
    service_type=ServiceType.PROCESSOR,
    input_event_types=("L", "M"),
    output_event_types=("E",),
    endpoint="localhost:50051",
    max_inflight=16,
    metadata={"network": "testnet"},
    name="Token transfers",
    version="1.2.3",
    description="walks ledgers",
)
BARE = ServiceInfo("bare", ServiceType.SOURCE)


def test_a_service_survives_v1():
    back = messages.info_from_v1(messages.info_to_v1(FULL))
    assert back == FULL


def test_a_service_survives_classic_with_its_names_in_the_metadata():
    message = messages.info_to_classic(FULL, "id-at-the-plane")
    assert (message.service_id, message.component_id) == ("id-at-the-plane", "ttp")
    assert message.health_endpoint == "localhost:50051"
    back = messages.info_from_classic(message)
    names = {"name": "Token transfers", "version": "1.2.3", "description": "walks ledgers"}
    assert back.metadata == {**FULL.metadata, **names}
    assert {key: getattr(back, key) for key in names} == names
    assert (back.input_event_types, back.output_event_types) == (("L", "M"), ("E",))
    assert (back.max_inflight, back.endpoint) == (16, "localhost:50051")


def test_what_is_not_said_is_not_sent():
    assert dict(messages.info_to_classic(BARE, "bare").metadata) == {}
    assert dict(messages.info_to_v1(BARE).metadata) == {}


def test_the_users_own_metadata_wins():
    info = ServiceInfo("a", ServiceType.SINK, name="A", max_inflight=4, metadata={"name": "B", "max_inflight": "9"})
    assert messages.info_to_classic(info, "a").metadata["name"] == "B"
    assert messages.info_to_v1(info).metadata["max_inflight"] == "9"


@pytest.mark.parametrize("kind", list(ServiceType))
def test_every_type_has_its_number_in_both_dialects(kind):
    info = ServiceInfo("a", kind)
    assert messages.info_to_classic(info, "a").service_type == kind
    expected = ServiceType.UNSPECIFIED if kind is ServiceType.PIPELINE else kind
    assert messages.info_to_v1(info).type == expected


@pytest.mark.parametrize("number", [5, 99, -1])
def test_a_type_of_a_newer_plane_is_unspecified(number):
    assert messages.service_type(number) is ServiceType.UNSPECIFIED


@pytest.mark.parametrize("text", ["", "many", "-1", "1e3", "٣", "9" * 30, " 4"])
def test_a_max_inflight_that_is_no_number_is_none(text):
    assert messages.info_from_v1(wire.v1.ComponentInfo(id="a", metadata={"max_inflight": text})).max_inflight == 0


def test_a_status_of_classic_that_is_not_healthy_is_unknown():
    message = wire.ServiceStatus(service_id="a", service_type=wire.ServiceType.ValueType(3), metrics={"n": 2})
    status = messages.status_from_classic(message)
    assert (status.service_id, status.info.component_id) == ("a", "a")
    assert (status.health, status.last_heartbeat, status.metrics) == (Health.UNKNOWN, None, {"n": 2.0})
    assert status.info.service_type is ServiceType.SINK
    message.is_healthy = True
    message.component_id = "stable"
    status = messages.status_from_classic(message)
    assert (status.health, status.info.component_id) == (Health.HEALTHY, "stable")


def test_a_status_of_v1_tells_health_times_and_the_numbers_among_the_metrics():
    message = wire.v1.ComponentStatusResponse(
        component=messages.info_to_v1(FULL),
        status=wire.v1.HealthStatus.HEALTH_STATUS_DEGRADED,
        metrics={"n": "2.5", "mode": "live"},
    )
    message.last_heartbeat.FromJsonString("2026-01-02T03:04:05Z")
    status = messages.status_from_v1(message)
    assert status.info == FULL
    assert (status.health, status.metrics) == (Health.DEGRADED, {"n": 2.5})
    assert status.last_heartbeat == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert status.registered_at is None


def test_a_moment_outside_the_calendar_is_none():
    assert messages.moment(Timestamp(seconds=2**60)) is None
    assert messages.moment(Timestamp(seconds=0)) == datetime(1970, 1, 1, tzinfo=UTC)


def test_metrics_that_are_not_finite_stay_at_home():
    numbers = {"a": 1, "b": 0.1, "c": float("nan"), "d": float("-inf"), "e": True}
    assert messages.metrics_to_classic(numbers) == {"a": 1.0, "b": 0.1, "e": 1.0}
    assert messages.metrics_to_v1(numbers) == {"a": "1", "b": "0.10000000000000001", "e": "1"}


@pytest.mark.parametrize("number", [0.1, 1 / 3, 1e300, 5e-324, -0.0, 12345678901234567])
def test_metrics_survive_being_text(number):
    assert float(messages.metrics_to_v1({"n": number})["n"]) == float(number)
