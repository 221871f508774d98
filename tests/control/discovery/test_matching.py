"""Who fits whom."""

from __future__ import annotations

import pytest

from flowctl_aio.control.discovery.matching import (
    ANY,
    connection_of,
    downstream_of,
    is_like,
    is_stale,
    link,
    ranked,
    upstream_of,
)
from flowctl_aio.types import Health, ServiceInfo, ServiceType
from tests.control.statuses import EVENT, LEDGER, NOW, THREE, processor, service, sink, source

PROCESSOR, SINK, SOURCE = ServiceType.PROCESSOR, ServiceType.SINK, ServiceType.SOURCE


def ids(found):
    return [one.service_id for one in found]


def test_event_types_are_compared_as_whole_strings():
    giver = source("s", "stellar_ledger_service.StellarLedger").info
    assert link(giver, sink("k", "stellar_ledger_service.StellarLedger").info) == (LEDGER,)
    for other in ("StellarLedger", "stellar_ledger_service.StellarLedge", "STELLAR_LEDGER_SERVICE.STELLARLEDGER", ""):
        assert link(giver, sink("k", other).info) == ()


def test_a_service_that_names_no_types_takes_everything_and_may_give_anything():
    bare_source, bare_sink = service("s", SOURCE).info, service("k", SINK).info
    bare_processor = service("p", PROCESSOR).info
    assert link(source().info, bare_sink) == (LEDGER,)
    assert link(bare_source, sink().info) == (EVENT,)
    assert (
        link(bare_source, bare_sink) == link(bare_source, bare_processor) == link(bare_processor, bare_sink) == (ANY,)
    )


def test_nothing_is_assumed_between_two_processors_that_name_nothing():
    assert link(service("p", PROCESSOR).info, service("q", PROCESSOR).info) == ()
    assert link(processor("p").info, service("q", PROCESSOR).info) == (EVENT,)


def test_nothing_goes_into_a_source_or_comes_out_of_a_sink_or_a_bystander():
    bystander = service("driver", ServiceType.PIPELINE).info
    for info in (sink().info, bystander):
        assert link(info, processor().info) == ()
    for info in (source().info, bystander):
        assert link(processor().info, info) == ()


def test_upstream_and_downstream_leave_oneself_out():
    loop = service("loop", PROCESSOR, (EVENT,), (EVENT,))
    everybody = [*THREE, loop]
    assert ids(upstream_of(loop.info, everybody)) == ["processor"]
    assert ids(downstream_of(loop.info, everybody)) == ["sink"]
    assert ids(upstream_of(processor().info, everybody)) == ["source"]
    assert ids(downstream_of(source().info, everybody)) == ["processor"]
    assert upstream_of(source().info, everybody) == downstream_of(sink().info, everybody) == []


def test_a_driver_that_names_nothing_sees_all_who_give_and_all_who_take():
    driver = ServiceInfo("driver", ServiceType.PIPELINE)
    assert ids(upstream_of(driver, THREE)) == ["processor", "source"]
    assert ids(downstream_of(driver, THREE)) == ["sink", "processor"]


def test_only_an_endpoint_that_was_advertised_and_can_be_dialled_is_a_connection():
    one = source(endpoint="10.0.0.7:50051", metadata={"network": "testnet"})
    connection = connection_of(one)
    assert connection is not None
    assert (connection.service_id, connection.endpoint) == ("source", "10.0.0.7:50051")
    assert (connection.metadata, connection.last_seen) == ({"network": "testnet"}, one.last_heartbeat)
    for nothing in ("", "http://localhost:8088/health", "somewhere", "host:99999"):
        assert connection_of(source(endpoint=nothing)) is None


@pytest.mark.parametrize(
    ("silent", "stale"), [(29.9, False), (30.0, False), (30.1, True), (-60.0, False), (None, False)]
)
def test_stale_is_who_was_silent_for_longer_than_the_lease(silent, stale):
    assert is_stale(source(silent=silent), now=NOW, lease=30) is stale


def test_the_best_come_first_the_stale_after_the_fresh():
    everybody = [service(health.name, health=health) for health in reversed(Health)]
    everybody += [service("A", health=Health.HEALTHY, silent=99), service("another", health=Health.HEALTHY)]
    found = ranked(everybody, now=NOW, lease=30)
    assert ids(found) == [
        *("HEALTHY", "another", "DEGRADED", "UNKNOWN", "STARTING", "STOPPING", "UNHEALTHY"),
        "A",
    ]
    assert [one.is_stale for one in found] == [False] * 7 + [True]


def test_a_filter_asks_for_type_any_event_type_and_all_metadata():
    one = processor(metadata={"network": "testnet", "a": "b"})
    assert is_like(one, ServiceType.UNSPECIFIED, (), {})
    assert is_like(one, PROCESSOR, ("x", EVENT), {"network": "testnet"})
    assert not is_like(one, SINK, (), {})
    assert not is_like(one, PROCESSOR, ("x",), {})
    assert not is_like(one, PROCESSOR, (), {"network": "testnet", "a": "c"})
