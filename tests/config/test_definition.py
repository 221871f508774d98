"""Definitions of settings, and the values of a session's settings."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import PurePath
from typing import Annotated, ClassVar

import pytest

from flowctl_aio import FlowctlConfig
from flowctl_aio.config.components import COMPONENTS
from flowctl_aio.config.definition.kinds import Endpoint, UnfitError
from flowctl_aio.config.definition.setting import Setting, settings_of
from flowctl_aio.config.reading.names import known_names
from flowctl_aio.errors import ConfigError
from flowctl_aio.transport.address import parse_endpoint

KINDS = [FlowctlConfig, *COMPONENTS.values()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_its_definition_with_its_own_default(kind):
    definitions = settings_of(kind)
    assert list(definitions) == [field.name for field in dataclasses.fields(kind)]
    made = kind()
    for name, setting in definitions.items():
        assert (setting.name, setting.default) == (name, getattr(made, name))
        assert setting.text
        assert "\n" not in setting.text


def test_a_field_without_a_definition_is_named():
    @dataclasses.dataclass
    class Careless:
        PREFIX: ClassVar[str | None] = ""
        forgotten: int = 1

    with pytest.raises(TypeError, match=r"Careless\.forgotten has no definition"):
        settings_of(Careless)


def test_what_is_secret_stands_in_no_repr():
    secret = {name for name, setting in settings_of(FlowctlConfig).items() if setting.is_secret}
    assert secret == {"token", "api_key", "tls_key", "serve_tls_key"}
    assert secret == {field.name for field in dataclasses.fields(FlowctlConfig) if not field.repr}
    text = repr(FlowctlConfig(token="hush-1", api_key="hush-2", tls_cert=b"c", tls_key=b"hush-3"))
    assert "hush" not in text


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("heartbeat_interval", 0),
        ("register_timeout", -1),
        ("query_max_age", -0.1),
        ("max_inflight", 0),
        ("attempt", 0),
        ("start_ledger", -1),
        ("end_ledger", 2**32),
        ("max_message_bytes", 2**31),
        ("max_message_bytes", 0),
        ("dialect", "esperanto"),
        ("dialect", ["v1"]),
        ("heartbeat_mode", "process"),
        ("on_component_error", "shrug"),
        ("log_level", "loud"),
        ("heartbeat_interval", "10s"),
        ("heartbeat_interval", float("nan")),
        ("heartbeat_interval", True),
        ("throttle_rate", 0),
        ("throttle_rate", 1.1),
        ("recovery_threshold", 0.9),
        ("max_inflight", None),
        ("max_inflight", 1.5),
        ("bind", 123),
        ("insecure", "yes"),
        ("insecure", 1),
        ("tls_ca", 1),
        ("token", 1),
    ],
)
def test_a_setting_out_of_its_bounds_is_named(setting, value):
    with pytest.raises(ConfigError, match=setting):
        FlowctlConfig(**{setting: value})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tls_cert": "c"}, "tls_cert, tls_key: "),
        ({"serve_tls_key": "k"}, "serve_tls_cert, serve_tls_key: "),
        ({"token": "t", "token_file": "f"}, "token or token_file"),
        ({"start_ledger": 9, "end_ledger": 8}, "end_ledger 8 lies before start_ledger 9"),
    ],
)
def test_settings_that_contradict_each_other_are_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        FlowctlConfig(**settings)


def test_all_settings_that_are_wrong_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        FlowctlConfig(heartbeat_interval=0, dialect="x", max_inflight="many", token=7)
    assert [problem.split()[0] for problem in caught.value.problems] == [
        "dialect",
        "heartbeat_interval",
        "token",
        "max_inflight",
    ]
    assert "7" not in caught.value.problems[2]


def test_pem_is_a_path_or_bytes():
    config = FlowctlConfig(tls_cert=PurePath("c.pem"), tls_key=b"-----BEGIN")
    assert config.client_tls is not None
    assert config.client_tls.cert == PurePath("c.pem")


ENDPOINTS = [
    "localhost:8080", ":8080", "[::1]:8080", "dns:///plane:1", "unix:///run/s", "host_1.x:65535", "127.0.0.1:0", "",
    "plane", "http://plane:8080", "plane:65536", "plane:", "unix:///", "unix:", "a b:1", "plane:8080/x", "::1:1",
]  # fmt: skip


@pytest.mark.parametrize("text", ENDPOINTS)
def test_an_endpoint_is_in_order_exactly_when_it_can_be_dialled(text):
    try:
        parse_endpoint(text)
    except ConfigError:
        with pytest.raises(UnfitError):
            Endpoint().parse(text)
    else:
        assert Endpoint().parse(text) == text


def test_a_definition_of_another_module_stays_what_it_is():
    @dataclasses.dataclass
    class Mine:
        PREFIX: ClassVar[str | None] = None
        port: Annotated[str, settings_of(FlowctlConfig)["bind"]] = "unix:///s"

    (setting,) = settings_of(Mine).values()
    assert isinstance(setting, Setting)
    assert (setting.name, setting.default, setting.own) == ("port", "unix:///s", ("PORT", "FLIGHT_PORT"))
    assert settings_of(FlowctlConfig)["bind"].default == "127.0.0.1:0"


SPY = """
import os, sys
read = set()
class Spy(type(os.environ)):
    def __getitem__(self, key):
        read.add(key)
        return super().__getitem__(key)
os.environ.__class__ = Spy
import flowctl_aio.cli.app, flowctl_aio.cli.config, flowctl_aio.config.reference
from flowctl_aio.config.reading.resolve import resolve
from flowctl_aio import FlowctlConfig
assert FlowctlConfig().endpoint == "localhost:8080"
found = read & set(sys.argv[1:])
assert not found, found
os.environ["FLOWCTL_ENDPOINT"] = "later:1"
assert FlowctlConfig.load(endpoint=None).endpoint == "later:1"
"""


def test_nothing_of_the_environment_is_read_at_import():
    names = sorted({*known_names("TTP_ARROW_PROCESSOR_"), "FLOWCTL_CONFIG_FILE"})
    done = subprocess.run(
        [sys.executable, "-c", SPY, *names], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
