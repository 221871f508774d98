"""Profiles, and sets for a load."""

from __future__ import annotations

import pytest

from flowctl_aio import FlowctlConfig
from flowctl_aio.config.definition.setting import settings_of
from flowctl_aio.config.profiles import ALIASES, PROFILES
from flowctl_aio.config.reading.resolve import resolve
from flowctl_aio.errors import ConfigError


def load(profile, **rest):
    return FlowctlConfig.load(profile=profile, environ={}, **rest)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_names_settings_with_values_in_their_bounds(profile):
    known = settings_of(FlowctlConfig)
    for name, value in PROFILES[profile].items():
        known[name].check(value)
    config = load(profile, endpoint="plane:1")
    for name, value in PROFILES[profile].items():
        expected = "plane:1" if name == "endpoint" else value
        assert getattr(config, name) == expected


def test_the_profiles_are_those_of_the_script_with_its_short_names():
    assert list(PROFILES)[:4] == ["local", "flowctl", "development", "production"]
    assert ALIASES == {"dev": "development", "prod": "production"}
    assert load("dev") == load("development") == load("DEV")
    assert not load("local").enabled
    assert load("high-throughput") == load("high_throughput")


def test_a_profile_alone_says_nothing_about_what_has_no_effect():
    assert resolve(profile="development", environ={}).notes == ()


def test_later_profiles_win():
    resolved = resolve(profile="development+low_latency", environ={})
    assert resolved.config.heartbeat_interval == 3.0
    assert resolved.origins["heartbeat_interval"] == "profile low_latency"
    assert resolved.origins["enabled"] == "profile development"


def test_production_needs_a_real_endpoint():
    for profile in ("production", "prod", "flowctl+production"):
        with pytest.raises(ConfigError, match="profile production: needs the endpoint of a plane"):
            load(profile)
    with pytest.raises(ConfigError, match="placeholder"):
        load("production", endpoint="flowctl-prod.example.com:8080")
    assert load("production", endpoint="plane.internal:8080").heartbeat_interval == 15.0
    assert not load("production", enabled=False).enabled


@pytest.mark.parametrize(("variable", "component"), [("FLOWCTL_PROFILE", ""), ("A_FLOWCTL_PROFILE", "a")])
def test_a_variable_or_a_file_names_the_profile_and_the_argument_wins(tmp_path, variable, component):
    file = tmp_path / "settings.yaml"
    file.write_text("profile: development\n")
    assert FlowctlConfig.load(component, file=file, environ={}).heartbeat_interval == 5.0
    environ = {variable: "low_latency"}
    assert FlowctlConfig.load(component, file=file, environ=environ).heartbeat_interval == 3.0
    assert FlowctlConfig.load(component, file=file, environ=environ, profile="flowctl").heartbeat_interval == 10.0


@pytest.mark.parametrize("profile", ["moon", "dev+", "+", "dev,prod", "x" * 500])
def test_an_unknown_profile_is_refused_with_the_known_ones(profile):
    with pytest.raises(ConfigError, match="there are local, flowctl, development") as caught:
        load(profile)
    assert len(str(caught.value)) < 300
