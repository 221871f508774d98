import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.errors import NotRegisteredError
from flowctl_aio.plane.registry import MAX_METRICS, Registry, health_after_beat
from flowctl_aio.types import Health, ServiceInfo, ServiceType


@pytest.fixture
def changes():
    return []


@pytest.fixture
def registry(clock, changes):
    return Registry(
        heartbeat_ttl=30.0, now=clock.now, monotonic=clock.monotonic, changed=lambda: changes.append(clock.elapsed)
    )


def service(component_id="ttp", service_type=ServiceType.PROCESSOR, **facts):
    return ServiceInfo(component_id=component_id, service_type=service_type, **facts)


def ids(entries):
    return [entry.service_id for entry in entries]


def test_a_registered_service_is_healthy_and_seen_now(registry, clock):
    status = registry.register(service()).status()
    assert (status.service_id, status.health) == ("ttp", Health.HEALTHY)
    assert status.last_heartbeat == status.registered_at == clock.now()
    assert status.metrics == {}


def test_the_proposed_id_wins_over_the_component_id(registry):
    entry = registry.register(service("ttp"), "ttp-1")
    assert (entry.service_id, entry.info.component_id) == ("ttp-1", "ttp")


def test_the_two_ids_are_not_mixed_up_in_lookups(registry):
    registry.register(service("ttp"), "ttp-1")
    assert registry.entry("ttp-1").info.component_id == "ttp"
    with pytest.raises(NotRegisteredError):
        registry.entry("ttp")


@pytest.mark.parametrize(
    ("service_type", "name"),
    [
        (ServiceType.UNSPECIFIED, "COMPONENT_TYPE_UNSPECIFIED"),
        (ServiceType.SOURCE, "COMPONENT_TYPE_SOURCE"),
        (ServiceType.PROCESSOR, "COMPONENT_TYPE_PROCESSOR"),
        (ServiceType.SINK, "COMPONENT_TYPE_CONSUMER"),
        (ServiceType.PIPELINE, "COMPONENT_TYPE_UNSPECIFIED"),
    ],
)
def test_a_service_without_ids_gets_one_of_its_type_and_the_time(registry, service_type, name):
    entry = registry.register(service("", service_type))
    assert entry.service_id == f"{name}-1767225600000000000"
    assert entry.info.component_id == entry.service_id
    assert registry.beat(entry.service_id, health=None).service_id == entry.service_id


def test_two_generated_ids_of_one_moment_differ(registry):
    assert registry.register(service("")).service_id != registry.register(service("")).service_id
    assert len(registry.entries()) == 2


def test_registering_again_starts_afresh(registry, clock):
    registry.register(service(endpoint="a:1"))
    registry.beat("ttp", health=Health.DEGRADED, metrics={"n": "1"})
    clock.advance(5)
    entry = registry.register(service(endpoint="b:2"))
    assert (entry.health, entry.info.endpoint, entry.metrics) == (Health.HEALTHY, "b:2", {})
    assert entry.registered_at == clock.now()
    assert ids(registry.entries()) == ["ttp"]


def test_an_id_that_moves_to_another_endpoint_is_warned_of(registry, caplog):
    registry.register(service(endpoint="a:1"))
    registry.register(service(endpoint="a:1"))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    registry.register(service(endpoint="b:2"))
    assert "moved from 'a:1' to 'b:2'" in caplog.text


def test_two_instances_of_one_id_are_warned_of_once_for_each_pair(registry, caplog):
    def register(instance, **facts):
        registry.register(service(metadata={"instance_id": instance} if instance else {}, **facts))
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    register("a", endpoint="a:1")
    assert register("a", endpoint="a:1") == []
    told = ["ttp registered from instance 'a' and from 'b': two processes, one id?"]
    assert register("b", endpoint="b:2") == told
    assert register("a", endpoint="a:1") == told
    assert register("b", endpoint="b:2") == told
    assert len(register("c", endpoint="b:2")) == 2
    registry.beat("ttp", health=Health.UNHEALTHY)
    assert len(register("d", endpoint="b:2")) == 2  # the one before was gone
    assert len(register("", endpoint="b:2")) == 2
    registry.unregister("ttp")
    assert len(register("e", endpoint="e:1")) == 2


def test_an_entry_is_a_snapshot(registry):
    before = registry.register(service())
    registry.beat("ttp", health=Health.DEGRADED, metrics={"n": "1"})
    assert (before.health, before.metrics) == (Health.HEALTHY, {})


def test_unregister_removes_and_is_idempotent(registry, changes):
    registry.register(service())
    assert registry.unregister("ttp") is True
    assert registry.unregister("ttp") is False
    assert registry.entries() == []
    assert len(changes) == 2


@pytest.mark.parametrize("ask", [lambda r: r.entry("x"), lambda r: r.beat("x", health=None)])
def test_an_unknown_service_is_not_found_in_the_words_of_flowctl(registry, changes, ask):
    with pytest.raises(NotRegisteredError, match=r"^service x not found$"):
        ask(registry)
    assert changes == []


def test_metrics_are_merged_key_by_key(registry):
    registry.register(service())
    registry.beat("ttp", health=Health.UNKNOWN, metrics={"a": "1", "b": "2"})
    assert registry.beat("ttp", health=Health.UNKNOWN, metrics={"b": "3"}).metrics == {"a": "1", "b": "3"}
    assert registry.beat("ttp", health=Health.UNKNOWN).metrics == {"a": "1", "b": "3"}


def test_metrics_that_are_no_numbers_stay_as_text_and_out_of_the_status(registry):
    registry.register(service())
    entry = registry.beat("ttp", health=Health.UNKNOWN, metrics={"n": "1.5", "mode": "live"})
    assert entry.metrics == {"n": "1.5", "mode": "live"}
    assert entry.status().metrics == {"n": 1.5}


def test_ever_new_metric_names_push_out_the_oldest(registry):
    registry.register(service())
    registry.beat("ttp", health=None, metrics={"first": "1", "second": "1"})
    registry.beat("ttp", health=None, metrics={str(n): "1" for n in range(MAX_METRICS - 2)})
    registry.beat("ttp", health=None, metrics={"first": "2"})
    metrics = registry.beat("ttp", health=None, metrics={"new": "1"}).metrics
    assert len(metrics) == MAX_METRICS
    assert "second" not in metrics
    assert metrics["first"] == "2"


def test_a_beat_moves_the_last_seen_time(registry, clock):
    registry.register(service())
    clock.advance(7)
    entry = registry.beat("ttp", health=Health.UNKNOWN)
    assert entry.last_heartbeat == clock.now()
    assert entry.last_heartbeat - entry.registered_at == timedelta(seconds=7)


def test_the_table_of_v1_beats():
    for before in Health:
        for said in Health:
            if said is not Health.UNKNOWN:
                assert health_after_beat(before, said) is said
        expected = Health.HEALTHY if before is Health.UNKNOWN else before
        assert health_after_beat(before, Health.UNKNOWN) is expected


def test_a_classic_beat_lifts_unhealthy_and_unknown_only():
    lifted = {before for before in Health if health_after_beat(before, None) is not before}
    assert lifted == {Health.UNHEALTHY, Health.UNKNOWN}
    assert {health_after_beat(before, None) for before in lifted} == {Health.HEALTHY}


def test_a_lease_lasts_for_its_ttl_and_no_longer(registry, clock, changes):
    registry.register(service())
    clock.advance(30)
    assert registry.sweep() == []
    assert len(changes) == 1
    clock.advance(0.001)
    assert ids(registry.sweep()) == ["ttp"]
    assert registry.entry("ttp").health is Health.UNHEALTHY
    assert len(changes) == 2
    assert registry.sweep() == []


def test_a_lapse_is_seen_only_at_a_sweep(registry, clock):
    registry.register(service())
    clock.advance(1000)
    assert registry.entry("ttp").health is Health.HEALTHY
    assert registry.beat("ttp", health=None).health is Health.HEALTHY
    assert registry.sweep() == []


def test_a_lapse_leaves_the_last_heartbeat_alone(registry, clock):
    seen = registry.register(service()).last_heartbeat
    clock.advance(31)
    registry.sweep()
    assert registry.entry("ttp").last_heartbeat == seen


@pytest.mark.parametrize("health", [Health.STARTING, Health.DEGRADED, Health.UNHEALTHY, Health.STOPPING])
def test_a_silent_service_that_was_not_healthy_keeps_its_state(registry, clock, health):
    registry.register(service())
    registry.beat("ttp", health=health)
    clock.advance(1000)
    assert registry.sweep() == []
    assert registry.entry("ttp").health is health


@pytest.mark.parametrize(
    ("said", "after"),
    [(Health.UNKNOWN, Health.UNHEALTHY), (Health.HEALTHY, Health.HEALTHY), (None, Health.HEALTHY)],
)
def test_what_brings_a_lapsed_service_back(registry, clock, said, after):
    registry.register(service())
    clock.advance(31)
    registry.sweep()
    assert registry.beat("ttp", health=said).health is after


def test_a_state_that_changes_is_logged_once(registry, clock, caplog):
    caplog.set_level(logging.INFO)
    registry.register(service())
    registry.beat("ttp", health=Health.HEALTHY)
    registry.beat("ttp", health=Health.DEGRADED)
    registry.beat("ttp", health=Health.DEGRADED)
    assert [record.message for record in caplog.records] == [
        "ttp registered",
        "ttp went from HEALTHY to DEGRADED: by a heartbeat",
    ]


@pytest.fixture
def three(registry):
    registry.register(
        service("src", ServiceType.SOURCE, output_event_types=("ledger",), metadata={"network": "testnet", "n": "1"})
    )
    registry.register(
        service("ttp", input_event_types=("ledger",), output_event_types=("ttp",), metadata={"network": "testnet"})
    )
    registry.register(service("out", ServiceType.SINK, input_event_types=("ttp",), metadata={"network": "pubnet"}))
    return registry


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["src", "ttp", "out"]),
        ({"service_type": ServiceType.SOURCE}, ["src"]),
        ({"service_type": ServiceType.PIPELINE}, []),
        ({"event_types": ["ledger"]}, ["src", "ttp"]),
        ({"event_types": ["ledger", "ttp"]}, ["src", "ttp", "out"]),
        ({"event_types": ["led"]}, []),
        ({"metadata": {"network": "testnet"}}, ["src", "ttp"]),
        ({"metadata": {"network": "testnet", "n": "1"}}, ["src"]),
        ({"metadata": {"n": ""}}, []),
        ({"service_type": ServiceType.PROCESSOR, "event_types": ["ttp"], "metadata": {"network": "testnet"}}, ["ttp"]),
        ({"service_type": ServiceType.SINK, "metadata": {"network": "testnet"}}, []),
    ],
)
def test_discovery_takes_any_event_type_and_all_metadata(three, filters, found):
    assert ids(three.discover(**filters)) == found


def test_discovery_does_not_look_at_health(three):
    three.beat("ttp", health=Health.UNHEALTHY)
    assert ids(three.discover(event_types=["ttp"])) == ["ttp", "out"]


def test_a_listing_without_the_unhealthy_has_healthy_ones_only(three):
    three.beat("src", health=Health.STARTING)
    three.beat("ttp", health=Health.DEGRADED)
    assert ids(three.entries(include_unhealthy=False)) == ["out"]
    assert ids(three.entries()) == ["src", "ttp", "out"]
    assert ids(three.entries(service_type=ServiceType.SOURCE)) == ["src"]
    assert ids(three.entries(service_type=ServiceType.SOURCE, include_unhealthy=False)) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["register", "unregister", "beat"])), max_size=30))
def test_a_service_is_listed_exactly_between_register_and_unregister(steps):
    registry = Registry(now=lambda: datetime(2026, 1, 1, tzinfo=UTC), monotonic=lambda: 0.0)
    there = set()
    for service_id, step in steps:
        if step == "register":
            registry.register(service(service_id))
            there.add(service_id)
        elif step == "unregister":
            assert registry.unregister(service_id) is (service_id in there)
            there.discard(service_id)
        elif service_id in there:
            registry.beat(service_id, health=Health.HEALTHY)
        else:
            with pytest.raises(NotRegisteredError):
                registry.beat(service_id, health=Health.HEALTHY)
        assert set(ids(registry.entries())) == there
