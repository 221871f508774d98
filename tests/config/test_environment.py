"""Settings out of the environment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio import FlowctlConfig
from flowctl_aio.config.environment import parse_duration
from flowctl_aio.errors import ConfigError


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    for name in ("ENABLE_FLOWCTL", "FLOWCTL_ENDPOINT", "PORT", "COMPONENT_ID"):
        monkeypatch.delenv(name, raising=False)


def test_an_empty_environment_gives_the_defaults():
    assert FlowctlConfig.from_env() == FlowctlConfig()


@pytest.mark.parametrize(
    ("name", "text", "setting", "value"),
    [
        ("ENABLE_FLOWCTL", "F", "enabled", False),
        ("FLOWCTL_ENDPOINT", "plane:8080", "endpoint", "plane:8080"),
        ("FLOWCTL_HEARTBEAT_INTERVAL", "1m30s", "heartbeat_interval", 90.0),
        ("FLOWCTL_HEARTBEAT_INTERVAL_MS", "2500", "heartbeat_interval", 2.5),
        ("FLOWCTL_SERVICE_ID", "ledgers", "component_id", "ledgers"),
        ("COMPONENT_ID", "ledgers", "component_id", "ledgers"),
        ("PORT", "50051", "bind", "127.0.0.1:50051"),
        ("PORT", ":50051", "bind", "127.0.0.1:50051"),
        ("PORT", "0.0.0.0:50051", "bind", "0.0.0.0:50051"),
        ("FLOWCTL_ENDPOINT", "", "endpoint", "localhost:8080"),
    ],
)
def test_a_variable_sets_its_setting(monkeypatch, name, text, setting, value):
    monkeypatch.setenv(name, text)
    assert getattr(FlowctlConfig.from_env(), setting) == value


def test_a_prefix_wins_over_the_plain_name_and_an_argument_over_both(monkeypatch):
    monkeypatch.setenv("FLOWCTL_ENDPOINT", "everybody:1")
    monkeypatch.setenv("TTP_ARROW_PROCESSOR_FLOWCTL_ENDPOINT", "one:1")
    assert FlowctlConfig.from_env("TTP_ARROW_PROCESSOR").endpoint == "one:1"
    assert FlowctlConfig.from_env("STELLAR_ARROW_SOURCE").endpoint == "everybody:1"
    assert FlowctlConfig.from_env("TTP_ARROW_PROCESSOR", endpoint="mine:1").endpoint == "mine:1"


def test_every_wrong_variable_is_named_at_once(monkeypatch):
    monkeypatch.setenv("ENABLE_FLOWCTL", "maybe")
    monkeypatch.setenv("A_FLOWCTL_HEARTBEAT_INTERVAL", "10")
    monkeypatch.setenv("PORT", "70000")
    with pytest.raises(ConfigError) as caught:
        FlowctlConfig.from_env("A")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "A_FLOWCTL_HEARTBEAT_INTERVAL",
        "ENABLE_FLOWCTL",
        "PORT",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1m30s", 90), ("250ms", 0.25), ("1.5h", 5400), (".5s", 0.5), ("1h2m3s4ms", 3723.004), ("7us", 7e-6)],
)
def test_a_go_duration_is_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "ten seconds", "10 s", "-3s", "1m30", "10s\n", "١٠s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


@given(st.integers(0, 10_000), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(hours, minutes, seconds):
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("heartbeat_interval", 0),
        ("register_timeout", -1),
        ("max_inflight", 0),
        ("max_message_bytes", 2**31),
        ("dialect", "esperanto"),
        ("on_component_error", "shrug"),
        ("heartbeat_interval", "10s"),
        ("heartbeat_interval", float("nan")),
        ("max_inflight", None),
        ("bind", 123),
        ("insecure", "yes"),
    ],
)
def test_a_setting_out_of_its_bounds_is_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        FlowctlConfig(**{setting: value})
