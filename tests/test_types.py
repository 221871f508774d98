import pickle
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio import _wire as wire
from flowctl_aio.errors import ConfigError
from flowctl_aio.types import (
    NOTHING,
    Ack,
    Cursor,
    Event,
    Health,
    LedgerRange,
    RawLedger,
    ServiceInfo,
    ServiceStatus,
    ServiceType,
    StreamRequest,
)

cursors = st.builds(Cursor, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))


@given(cursors)
def test_a_cursor_reads_what_it_writes(cursor):
    assert Cursor.parse(str(cursor)) == cursor


def test_a_cursor_without_an_index_is_at_index_0():
    assert Cursor.parse("63092982") == Cursor(63092982) == Cursor(63092982, 0)
    assert str(Cursor(63092982)) == "63092982:0"


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "7:", ":7", "-7", "7:-1", "+7", " 7", "7 ", "7\n", "7:1:1", "7.0", "x", "٣", "1_0"),
        *("9" * 5000, f"{2**64}", f"7:{2**32}"),
    ],
)
def test_what_is_no_cursor_is_a_config_error_that_repeats_it(text):
    with pytest.raises(ConfigError) as caught:
        Cursor.parse(text)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=12))
def test_any_text_is_a_cursor_or_a_config_error(text):
    try:
        cursor = Cursor.parse(text)
    except ConfigError:
        return
    assert 0 <= cursor.sequence < 2**64
    assert 0 <= cursor.index < 2**32


@given(cursors, cursors)
def test_cursors_are_ordered_by_ledger_and_then_by_index(one, other):
    assert (one < other) == ((one.sequence, one.index) < (other.sequence, other.index))


def test_a_range_may_be_one_ledger_or_go_on_for_ever():
    assert str(LedgerRange(7, 7)) == "7-7"
    assert str(LedgerRange(7)) == "7-"
    assert LedgerRange(0) == LedgerRange(0, None)


@pytest.mark.parametrize(("first", "last"), [(-1, None), (7, 6), (0, -1)])
def test_a_range_that_ends_before_it_starts_or_starts_below_0_is_a_config_error(first, last):
    with pytest.raises(ConfigError, match=f"{first}"):
        LedgerRange(first, last)


@pytest.mark.parametrize(("first", "last"), [("1", 5), (1.5, None), (1, "latest"), (None, 5)])
def test_a_range_of_what_is_no_ledger_is_a_config_error_that_repeats_it(first, last):
    with pytest.raises(ConfigError, match=f"not {first!r} to {last!r}"):
        LedgerRange(first, last)


def test_the_numbers_of_service_types_and_health_are_those_of_the_wire():
    assert {f"SERVICE_TYPE_{kind.name}": kind.value for kind in ServiceType} == dict(wire.ServiceType.items())
    v1 = {f"COMPONENT_TYPE_{kind.name}".replace("SINK", "CONSUMER"): kind.value for kind in ServiceType}
    del v1["COMPONENT_TYPE_PIPELINE"]
    assert v1 == dict(wire.v1.ComponentType.items())
    assert {f"HEALTH_STATUS_{health.name}": health.value for health in Health} == dict(wire.v1.HealthStatus.items())


VALUES = [
    Cursor(1),
    LedgerRange(1),
    RawLedger(1, b""),
    Event("kind", b""),
    ServiceInfo("id", ServiceType.SINK),
    ServiceStatus("id", ServiceInfo("id", ServiceType.SINK), Health.HEALTHY),
    StreamRequest(),
    Ack(1, 1),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_do_not_change_take_no_other_attributes_and_travel_to_other_processes(value):
    name = type(value).__match_args__[0]
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)
    assert not hasattr(value, "__dict__")
    assert pickle.loads(pickle.dumps(value)) == value


def test_the_default_of_every_mapping_is_its_own():
    assert RawLedger(1, b"").metadata is not RawLedger(1, b"").metadata


def test_the_shared_empty_mapping_cannot_be_filled():
    with pytest.raises(TypeError):
        NOTHING["a"] = "b"
