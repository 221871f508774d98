"""What differs between two looks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.control.discovery.changes import Added, Changed, Removed, diff
from flowctl_aio.types import Health, ServiceType
from tests.control.statuses import EVENT, HOSTILE, LEDGER, NOW, processor, quick, sink, source

PLAIN = processor(endpoint="a:1", metadata={"network": "testnet"}, metrics={"n": 1.0})


def of(**info):
    return replace(PLAIN, info=replace(PLAIN.info, **info))


@pytest.mark.parametrize(
    ("after", "field"),
    [
        (replace(PLAIN, health=Health.DEGRADED), "health"),
        (of(endpoint="a:2"), "endpoint"),
        (of(service_type=ServiceType.SINK), "service_type"),
        (of(input_event_types=(LEDGER, "more")), "input_event_types"),
        (of(output_event_types=()), "output_event_types"),
        (of(metadata={"network": "pubnet"}), "metadata"),
        (replace(PLAIN, registered_at=NOW), "registered_at"),
    ],
)
def test_what_matters_is_a_change(after, field):
    assert diff([PLAIN], [after]) == [Changed(PLAIN, after, (field,))]


def test_numbers_and_heartbeats_are_changes_only_when_asked_for():
    after = replace(PLAIN, metrics={"n": 2.0}, last_heartbeat=NOW + timedelta(seconds=5))
    assert diff([PLAIN], [after]) == []
    assert diff([PLAIN], [after], metrics=True) == [Changed(PLAIN, after, ("metrics", "last_heartbeat"))]


def test_a_number_that_stays_none_has_not_changed():
    before, after = (replace(PLAIN, metrics={"n": float("nan")}) for _ in range(2))
    assert diff([before], [after], metrics=True) == []


def test_the_order_of_event_types_is_nothing():
    before, after = of(output_event_types=(LEDGER, EVENT)), of(output_event_types=[EVENT, LEDGER])
    assert diff([before], [after]) == []


def test_who_went_comes_first_then_who_came_then_who_changed_each_by_id():
    ill = replace(PLAIN, health=Health.UNHEALTHY)
    assert diff([sink("y"), PLAIN, sink("x")], [ill, source("b"), source("a")]) == [
        Removed(sink("x")),
        Removed(sink("y")),
        Added(source("a")),
        Added(source("b")),
        Changed(PLAIN, ill, ("health",)),
    ]


@quick
@given(st.lists(HOSTILE, max_size=3), st.lists(HOSTILE, max_size=3), st.booleans())
def test_the_changes_turn_the_first_look_into_the_second(before, after, metrics):
    known = {status.service_id: status for status in before}
    for change in diff(before, after, metrics=metrics):
        match change:
            case Removed(status):
                del known[status.service_id]
            case Added(status):
                assert status.service_id not in known
                known[status.service_id] = status
            case Changed(old, new, fields):
                assert fields
                assert known[old.service_id] == old
                known[new.service_id] = new
    assert diff(known.values(), after, metrics=metrics) == []
    assert known.keys() == {status.service_id for status in after}
