from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio import _wire as wire
from flowctl_aio.plane.validation import _check_fields, check
from flowctl_aio.transport.status import Refused

V1_INFO = wire.v1.ComponentInfo


def component(**fields):
    return wire.v1.RegisterRequest(component=V1_INFO(**fields))


def refused(message, *required):
    with pytest.raises(Refused) as caught:
        check(message, *required)
    assert caught.value.code == "INVALID_ARGUMENT"
    return caught.value.details


@pytest.mark.parametrize(
    ("message", "field", "text"),
    [
        (wire.v1.RegisterRequest(component_id="x"), "component", "component is missing"),
        (wire.v1.HeartbeatRequest(), "service_id", "service_id is empty"),
        (wire.UpdatePipelineRunRequest(), "run_id", "run_id is empty"),
    ],
)
def test_a_required_field_must_be_there(message, field, text):
    assert refused(message, field) == text


def test_a_component_that_says_nothing_is_there():
    check(component(), "component")
    check(wire.v1.RegisterRequest(component=V1_INFO()), "component")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (wire.ServiceInfo(service_type=5), "service_type is 5, which flowctl.ServiceType does not have"),
        (component(type=4), "component.type is 4, which flowctl.v1.ComponentType does not have"),
        (wire.v1.HeartbeatRequest(status=-1), "status is -1, which flowctl.v1.HealthStatus does not have"),
        (wire.UpdatePipelineRunRequest(status=6), "status is 6, which flowctl.RunStatus does not have"),
        (wire.v1.ListComponentsRequest(type_filter=9), "type_filter is 9, which flowctl.v1.ComponentType does"),
        (wire.ServiceInfo(max_inflight=-1), "max_inflight is negative (-1)"),
        (wire.ListPipelineRunsRequest(limit=-5), "limit is negative (-5)"),
        (
            wire.UpdatePipelineRunRequest(metrics=wire.RunMetrics(bytes_processed=-1)),
            "metrics.bytes_processed is negative (-1)",
        ),
        (
            wire.RunMetrics(component_metrics={"a": wire.ComponentMetrics(events_in=-1)}),
            "a value of component_metrics.events_in is negative (-1)",
        ),
    ],
)
def test_numbers_that_mean_nothing_are_refused(message, text):
    assert refused(message).startswith(text)


@pytest.mark.parametrize(
    ("good", "bad", "text"),
    [
        ("x" * 256, "x" * 257, "service_id has 257 characters, above the limit of 256"),
        ("é" * 256, "é" * 257, "service_id has 257 characters, above the limit of 256"),
        ("a b/c:1", "a\nb", "service_id has a control character, or one that cannot be seen"),
        ("дом-家", "a\x00", "service_id has a control character, or one that cannot be seen"),
        ("-", "a\x1b[31m", "service_id has a control character, or one that cannot be seen"),
        ("_", "a\u202eb", "service_id has a control character, or one that cannot be seen"),
    ],
)
def test_ids_are_short_and_can_be_printed(good, bad, text):
    check(wire.v1.HeartbeatRequest(service_id=good), "service_id")
    assert refused(wire.v1.HeartbeatRequest(service_id=bad), "service_id") == text
    assert refused(wire.ServiceInfo(service_id=bad)) == text
    assert refused(component(id=bad)) == text.replace("service_id", "component.id")
    assert refused(wire.CreatePipelineRunRequest(component_ids=["ok", bad])) == text.replace(
        "service_id", "an item of component_ids"
    )


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda text: component(endpoint=text), "component.endpoint"),
        (lambda text: component(metadata={"k": text}), "a value of component.metadata"),
        (lambda text: component(metadata={text: "v"}), "a key of component.metadata"),
        (lambda text: component(output_event_types=["ok", text]), "an item of component.output_event_types"),
        (lambda text: wire.v1.HeartbeatRequest(metrics={"k": text}), "a value of metrics"),
        (lambda text: wire.ServiceHeartbeat(metrics={text: 1.0}), "a key of metrics"),
        (lambda text: wire.v1.DiscoveryRequest(metadata_filters={"k": text}), "a value of metadata_filters"),
        (lambda text: wire.CreatePipelineRunRequest(pipeline_name=text), "pipeline_name"),
    ],
)
def test_texts_have_4_kib_at_most(make, path):
    check(make("x" * 4096))
    assert refused(make("x" * 4097)) == f"{path} has 4097 bytes, above the limit of 4096"
    assert refused(make("é" * 2049)) == f"{path} has 4098 bytes, above the limit of 4096"


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda text: wire.CreatePipelineRunRequest(config_yaml=text), "config_yaml"),
        (lambda text: wire.UpdatePipelineRunRequest(error=text), "error"),
    ],
)
def test_configurations_and_errors_have_1_mib_at_most(make, field):
    check(make("x" * 1024 * 1024))
    assert refused(make("x" * (1024 * 1024 + 1))) == f"{field} has 1048577 bytes, above the limit of 1048576"


def many(count):
    return {str(n): "1" for n in range(count)}


@pytest.mark.parametrize(
    ("make", "limit", "path"),
    [
        (lambda n: component(metadata=many(n)), 256, "component.metadata"),
        (lambda n: wire.ServiceInfo(metadata=many(n)), 256, "metadata"),
        (lambda n: wire.v1.DiscoveryRequest(metadata_filters=many(n)), 256, "metadata_filters"),
        (lambda n: wire.v1.DiscoveryRequest(event_types=many(n)), 1000, "event_types"),
        (lambda n: component(input_event_types=many(n)), 1000, "component.input_event_types"),
        (lambda n: wire.ServiceInfo(output_event_types=many(n)), 1000, "output_event_types"),
        (lambda n: wire.CreatePipelineRunRequest(component_ids=many(n)), 1000, "component_ids"),
        (lambda n: wire.v1.HeartbeatRequest(metrics=many(n)), 1024, "metrics"),
        (lambda n: wire.ServiceHeartbeat(metrics=dict.fromkeys(many(n), 1.0)), 1024, "metrics"),
        (
            lambda n: wire.RunMetrics(component_metrics=dict.fromkeys(many(n), wire.ComponentMetrics())),
            1024,
            "component_metrics",
        ),
    ],
)
def test_lists_and_maps_are_bounded(make, limit, path):
    check(make(limit))
    assert refused(make(limit + 1)) == f"{path} has {limit + 1} entries, above the limit of {limit}"


def test_what_is_legal_passes():
    beat = wire.ServiceHeartbeat(service_id="x", metrics={"drift": -1.5, "nan": float("nan")})
    beat.timestamp.FromDatetime(datetime(1950, 1, 1, tzinfo=UTC))
    check(beat, "service_id")
    check(wire.ServiceInfo(service_type=4, max_inflight=2**31 - 1, health_endpoint="http://localhost:8088/health"))
    check(wire.Empty())


IDS = st.text(st.sampled_from("aé\n\x00"), max_size=5) | st.sampled_from(["x" * 256, "x" * 257])
COUNTS = st.integers(-1, 2)
ENTRIES = st.sampled_from([0, 1, 256, 257])


@given(
    st.one_of(
        st.builds(wire.v1.HeartbeatRequest, service_id=IDS, status=COUNTS, metrics=ENTRIES.map(many)),
        st.builds(
            wire.ServiceInfo, service_id=IDS, service_type=COUNTS, max_inflight=COUNTS, metadata=ENTRIES.map(many)
        ),
        st.builds(
            wire.v1.RegisterRequest,
            component=st.none() | st.builds(V1_INFO, id=IDS, type=COUNTS, input_event_types=ENTRIES.map(many)),
        ),
        st.builds(wire.CreatePipelineRunRequest, run_id=IDS, component_ids=st.lists(IDS, max_size=2)),
        st.builds(
            wire.UpsertChunkRunRequest,
            chunk=st.builds(
                wire.ChunkRun, chunk_start=COUNTS, status=COUNTS, row_counts=st.dictionaries(IDS, COUNTS, max_size=2)
            ),
        ),
        st.builds(wire.ServiceHeartbeat, service_id=IDS, metrics=st.dictionaries(IDS, st.floats(), max_size=2)),
    )
)
def test_the_quick_look_at_small_messages_lets_nothing_through_that_the_long_one_refuses(message):
    def verdict(judge):
        try:
            judge(message)
        except Refused as said:
            return said.details
        return "good"

    assert verdict(check) == verdict(lambda message: _check_fields(message, ""))
