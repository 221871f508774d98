"""Which value wins, and what is said when one cannot."""

from __future__ import annotations

from itertools import combinations

import pytest

from flowctl_aio import FlowctlConfig
from flowctl_aio.config.definition.kinds import (
    Bind,
    Boolean,
    Choice,
    Duration,
    Endpoint,
    Integer,
    LetterPlace,
    Milliseconds,
    Share,
)
from flowctl_aio.config.definition.setting import settings_of
from flowctl_aio.config.reading.resolve import resolve
from flowctl_aio.errors import ConfigError

# For each kind a text that is no setting's default, and its value.
TEXTS = {
    Boolean: ("T", True),
    Duration: ("1m30.5s", 90.5),
    Milliseconds: ("2500", 2.5),
    Integer: ("77", 77),
    Share: ("0.7", 0.7),
    Bind: ("0.0.0.0:50051", "0.0.0.0:50051"),
    Endpoint: ("plane:8080", "plane:8080"),
    LetterPlace: ("letters.jsonl", "letters.jsonl"),
}
# What has to be there for the setting not to be alone.
BESIDE = {
    "CHUNK_START": {"CHUNK_END": "99"},
    "CHUNK_END": {"CHUNK_START": "1"},
    "FLOWCTL_ON_EVENT_ERROR": {"FLOWCTL_DEAD_LETTERS": "letters.jsonl"},
    "FLOWCTL_TLS_CERT": {"FLOWCTL_TLS_KEY": "k"},
    "FLOWCTL_TLS_KEY": {"FLOWCTL_TLS_CERT": "c"},
    "FLOWCTL_SERVE_TLS_CERT": {"FLOWCTL_SERVE_TLS_KEY": "k"},
    "FLOWCTL_SERVE_TLS_KEY": {"FLOWCTL_SERVE_TLS_CERT": "c"},
    "FLOWCTL_SERVE_TLS_CLIENT_CA": {"FLOWCTL_SERVE_TLS_CERT": "c", "FLOWCTL_SERVE_TLS_KEY": "k"},
}
VARIABLES = [(setting, name) for setting in settings_of(FlowctlConfig).values() for name in setting.variables]


def load(environ=None, component="", **rest):
    return FlowctlConfig.load(component, environ=environ or {}, **rest)


def problems(environ=None, component="", **rest):
    with pytest.raises(ConfigError) as caught:
        load(environ, component, **rest)
    return list(caught.value.problems)


def text_for(setting, name):
    kind = dict(setting.readings).get(name, setting.kind)
    if isinstance(kind, Choice):
        return kind.options[-1], kind.options[-1]
    if setting.name in ("enabled", "connection_pool_load_balancing", "shared_memory"):
        return "F", False
    if setting.name.endswith(("_min_connections", "_max_connections")):
        return "7", 7
    return TEXTS.get(type(kind), ("words", "words"))


@pytest.mark.parametrize(("setting", "name"), VARIABLES, ids=[name for _, name in VARIABLES])
def test_every_variable_sets_its_setting(tmp_path, setting, name):
    text, value = text_for(setting, name)
    beside = BESIDE.get(name, {})
    assert value != setting.default
    assert getattr(load({name: text, **beside}), setting.name) == value
    with_prefix = {f"MY_SINK_{key}": one for key, one in {name: text, **beside}.items()}
    assert getattr(load(with_prefix, "my-sink"), setting.name) == value
    assert load(with_prefix) == FlowctlConfig()
    file = tmp_path / "settings.yaml"
    file.write_text("".join(f"{key.lower()}: '{one}'\n" for key, one in {name: text, **beside}.items()))
    assert getattr(load(file=file), setting.name) == value


def test_the_variables_are_those_that_go_components_and_runners_use():
    assert {name for _, name in VARIABLES} >= {
        "ENABLE_FLOWCTL", "FLOWCTL_ENABLED", "FLOWCTL_ENDPOINT", "FLOWCTL_HEARTBEAT_INTERVAL",
        "FLOWCTL_HEARTBEAT_INTERVAL_MS", "FLOWCTL_COMPONENT_ID", "FLOWCTL_SERVICE_ID", "COMPONENT_ID", "PORT",
        "HEALTH_PORT", "FLOWCTL_TLS_ENABLED", "FLOWCTL_TLS_CA", "FLOWCTL_TLS_CERT", "FLOWCTL_TLS_KEY",
        "FLOWCTL_TLS_SERVER_NAME", "FLOWCTL_AUTH_TOKEN_FILE", "FLOWCTL_AUTH_TOKEN", "FLOWCTL_API_KEY",
        "FLOWCTL_API_KEY_FILE", "MONITORING_INTERVAL", "FLOW_CONTROL_BACKPRESSURE_THRESHOLD",
        "FLOW_CONTROL_RECOVERY_THRESHOLD", "FLOWCTL_RUN_ID", "FLOWCTL_ATTEMPT", "CHUNK_START", "CHUNK_END",
        "START_LEDGER", "END_LEDGER", "LOG_LEVEL", "NETWORK_PASSPHRASE",
    }  # fmt: skip


def test_an_empty_environment_gives_the_defaults():
    assert load() == FlowctlConfig()
    assert load(dict.fromkeys((name for _, name in VARIABLES), "")) == FlowctlConfig()
    assert set(resolve(environ={}).origins.values()) == {"default"}


def test_the_environment_of_the_process_is_read_when_asked(monkeypatch):
    monkeypatch.setenv("TTP_ARROW_PROCESSOR_FLOWCTL_QUERY_TIMEOUT", "7s")
    assert FlowctlConfig.from_env("TTP_ARROW_PROCESSOR").query_timeout == 7.0
    assert FlowctlConfig.from_env("TTP_ARROW_PROCESSOR", query_timeout=8.0).query_timeout == 8.0
    assert FlowctlConfig.from_env().query_timeout == 5.0


PLACES = ["argument", "own variable", "variable", "own key", "key", "profile", "default"]
ORIGINS = {
    "argument": "argument",
    "own variable": "environment MY_SINK_FLOWCTL_HEARTBEAT_INTERVAL",
    "variable": "environment FLOWCTL_HEARTBEAT_INTERVAL",
    "own key": "file {}: my_sink.flowctl.heartbeat_interval",
    "key": "file {}: flowctl.heartbeat_interval",
    "profile": "profile development",
    "default": "default",
}


@pytest.mark.parametrize(("winner", "loser"), list(combinations(PLACES, 2)))
def test_each_place_wins_over_those_behind_it(tmp_path, winner, loser):
    given = {winner, loser}
    file = tmp_path / "settings.yaml"
    file.write_text(
        ("my_sink: {flowctl: {heartbeat_interval: 4s}}\n" if "own key" in given else "")
        + ("flowctl: {heartbeat_interval: 6s}\n" if "key" in given else "")
    )
    environ = {}
    if "own variable" in given:
        environ["MY_SINK_FLOWCTL_HEARTBEAT_INTERVAL"] = "2s"
    if "variable" in given:
        environ["FLOWCTL_HEARTBEAT_INTERVAL"] = "3s"
    arguments = {"heartbeat_interval": 1.0} if "argument" in given else {"heartbeat_interval": None}
    profile = "dev" if "profile" in given else ""
    resolved = resolve("my_sink", file=file, environ=environ, profile=profile, **arguments)
    values = dict(zip(PLACES, (1.0, 2.0, 3.0, 4.0, 6.0, 5.0, 10.0), strict=True))
    assert resolved.config.heartbeat_interval == values[winner]
    assert resolved.origins["heartbeat_interval"] == ORIGINS[winner].format(file)


@pytest.mark.parametrize("name", ["FLOWCTL_COMPONENT_ID", "FLOWCTL_SERVICE_ID", "COMPONENT_ID"])
def test_the_runners_component_id_wins_over_the_argument_unless_told_otherwise(tmp_path, name):
    environ = {name: "from-runner"}
    resolved = resolve(environ=environ, component_id="mine")
    assert (resolved.config.component_id, resolved.origins["component_id"]) == ("from-runner", f"environment {name}")
    assert load(environ, id_from_runner=False, component_id="mine").component_id == "mine"
    file = tmp_path / "settings.yaml"
    file.write_text("flowctl: {component_id: from-file}\n")
    assert load(file=file, component_id="mine").component_id == "mine"


def test_the_first_of_the_runners_ids_wins():
    environ = {"COMPONENT_ID": "c", "FLOWCTL_SERVICE_ID": "b"}
    assert load(environ).component_id == "b"
    assert load({**environ, "FLOWCTL_COMPONENT_ID": "a"}).component_id == "a"
    assert load({**environ, "MY_SINK_COMPONENT_ID": "own"}, "my_sink").component_id == "own"


def test_an_endpoint_alone_enables_and_a_word_about_it_wins():
    resolved = resolve(environ={"FLOWCTL_ENDPOINT": "plane:1"}, profile="local")
    assert resolved.config.enabled
    assert resolved.origins["enabled"] == "environment FLOWCTL_ENDPOINT, since ENABLE_FLOWCTL is not set"
    for name in ("ENABLE_FLOWCTL", "FLOWCTL_ENABLED"):
        assert not load({"FLOWCTL_ENDPOINT": "plane:1", name: "false"}).enabled
    assert not load({"MY_SINK_FLOWCTL_ENDPOINT": "plane:1", "ENABLE_FLOWCTL": "0"}, "my_sink").enabled
    assert not load({"FLOWCTL_ENDPOINT": "plane:1"}, enabled=False).enabled
    assert not load(profile="local", endpoint="plane:1").enabled


def test_a_heartbeat_in_two_forms_must_agree():
    both = {"FLOWCTL_HEARTBEAT_INTERVAL": "10s", "FLOWCTL_HEARTBEAT_INTERVAL_MS": "10000"}
    assert load(both).heartbeat_interval == 10.0
    (problem,) = problems({**both, "FLOWCTL_HEARTBEAT_INTERVAL_MS": "500"})
    assert problem.startswith("FLOWCTL_HEARTBEAT_INTERVAL: contradicts FLOWCTL_HEARTBEAT_INTERVAL_MS: ")
    # In different places they are no contradiction: one wins.
    assert load({**both, "A_FLOWCTL_HEARTBEAT_INTERVAL_MS": "500"}, "a").heartbeat_interval == 0.5


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("50051", "127.0.0.1:50051"),
        (":50051", "127.0.0.1:50051"),
        ("0", "127.0.0.1:0"),
        ("0.0.0.0:50051", "0.0.0.0:50051"),
        ("[::1]:50051", "[::1]:50051"),
        ("localhost:1", "localhost:1"),
        ("unix:///run/flowctl.sock", "unix:///run/flowctl.sock"),
    ],
)
def test_a_port_has_its_forms(text, bind):
    config = load({"PORT": text, "HEALTH_PORT": text})
    assert (config.bind, config.health_bind) == (bind, bind)


@pytest.mark.parametrize(
    "text", ["70000", "x", "host", "http://h:1", "1:2:3", "-1", "unix:///", "h:", "50051 ", "\u0661"]
)
def test_what_is_no_port_is_refused(text):
    assert problems({"PORT": text})[0].startswith("PORT: must ")


def test_what_kubernetes_says_of_a_service_is_left_out():
    resolved = resolve("my_sink", environ={"MY_SINK_PORT": "tcp://10.0.0.1:8817", "PORT": "1"})
    assert resolved.config.bind == "127.0.0.1:1"
    assert "MY_SINK_PORT is what Kubernetes says" in resolved.notes[0]


def test_all_problems_are_named_at_once(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("flowctl:\n  max_inflight: none\n  dialekt: v1\n")
    environ = {
        "ENABLE_FLOWCTL": "maybe",
        "A_FLOWCTL_HEARTBEAT_INTERVAL": "10",
        "PORT": "70000",
        "FLOWCTL_LEASE_TIMEOUT": "0s",
        "FLOWCTL_THROTTLE_RATE": "2",
        "CONNECTION_POOL_MAX_CONNECTIONS": "51",
        "FLOWCTL_QUERY_TIMEOUT": "-1s",
        "FLOWCTL_PROFILE": "moon",
    }
    found = problems(environ, "a", file=file, register_timeout=-1.0, query_timeout=3.0)
    assert sorted(problem.partition(": ")[0] for problem in found) == sorted([
        "A_FLOWCTL_HEARTBEAT_INTERVAL", "CONNECTION_POOL_MAX_CONNECTIONS", "ENABLE_FLOWCTL", "FLOWCTL_LEASE_TIMEOUT",
        "FLOWCTL_PROFILE", "FLOWCTL_QUERY_TIMEOUT", "FLOWCTL_THROTTLE_RATE", "PORT",
        f"{file}, line 2", f"{file}, line 3", "register_timeout must be above 0, not -1.0",
    ])  # fmt: skip
    assert "with its unit" in next(problem for problem in found if "HEARTBEAT" in problem)


def test_a_contradiction_names_where_its_parts_came_from():
    (problem,) = problems({"FLOW_CONTROL_RECOVERY_THRESHOLD": "0.9"})
    assert problem.endswith("not 0.9 above 0.8 (recovery_threshold: environment FLOW_CONTROL_RECOVERY_THRESHOLD)")
    assert problems({"FLOWCTL_TLS_CERT": "c"})[0].endswith("(tls_cert: environment FLOWCTL_TLS_CERT)")
    # What follows from a problem is no second one.
    assert len(problems({"FLOW_CONTROL_RECOVERY_THRESHOLD": "x", "FLOW_CONTROL_BACKPRESSURE_THRESHOLD": "0.1"})) == 1


def test_no_secret_stands_in_a_problem():
    bad = "hush hush"
    environ = {
        "FLOWCTL_AUTH_TOKEN": bad,
        "FLOWCTL_API_KEY": "hush\n",
        "FLOWCTL_TLS_KEY": "-----BEGIN hush",
        "FLOWCTL_ENDPOINT": "http://me:hush@plane:1",
    }
    found = problems(environ, token=7)
    assert len(found) == 5
    assert "hush" not in " ".join(found)
    two = problems({"FLOWCTL_AUTH_TOKEN": "hush1", "FLOWCTL_TOKEN": "hush2"})
    assert "FLOWCTL_AUTH_TOKEN: contradicts FLOWCTL_TOKEN" in two[0]
    assert "hush" not in two[0]


def test_a_secret_and_its_file_exclude_each_other_by_place():
    resolved = resolve(environ={"FLOWCTL_AUTH_TOKEN": "t"}, token_file="/f")
    assert (resolved.config.token, resolved.config.token_file) == ("", "/f")
    assert resolved.origins["token"] == "unset by token_file (argument)"
    assert "token or token_file" in problems({"FLOWCTL_AUTH_TOKEN": "t", "FLOWCTL_AUTH_TOKEN_FILE": "/f"})[0]


def test_tls_that_is_switched_off_beside_its_parts_is_a_problem():
    assert load({"FLOWCTL_TLS_CA": "/ca"}).client_tls is not None
    assert "asks for TLS" in problems({"FLOWCTL_TLS_CA": "/ca", "FLOWCTL_TLS_ENABLED": "false"})[0]


def test_a_chunk_wins_over_the_range_and_comes_whole():
    environ = {"START_LEDGER": "1", "END_LEDGER": "1000", "CHUNK_START": "100", "CHUNK_END": "200"}
    config = load(environ)
    assert (config.start_ledger, config.end_ledger) == (100, 200)
    del environ["CHUNK_END"]
    assert problems(environ) == [
        "start_ledger (environment CHUNK_START) is that of a chunk, and end_ledger is not: give both"
    ]
    assert load(environ, end_ledger=300).end_ledger == 300


def test_the_pool_has_upstreams_variables_and_a_section(tmp_path):
    config = load({"CONNECTION_POOL_MAX_CONNECTIONS": "20", "CONNECTION_POOL_IDLE_TIMEOUT": "1m30s"})
    assert (config.connection_pool_max_connections, config.connection_pool_idle_timeout) == (20, 90.0)
    file = tmp_path / "flowctl.yaml"
    file.write_text("connection_pool: {load_balancing: false, health_check_interval: 5s}\n")
    config = load({}, file=file)
    assert (config.connection_pool_load_balancing, config.connection_pool_health_check_interval) == (False, 5.0)


def test_a_pool_that_keeps_more_than_it_may_have_is_a_problem():
    assert "connection_pool_min_connections 20 lies above" in problems({"CONNECTION_POOL_MIN_CONNECTIONS": "20"})[0]


@pytest.mark.parametrize("text", ["10s", "1.5", "", "0", "-5"])
def test_milliseconds_are_a_whole_number_above_0(text):
    environ = {"FLOWCTL_HEARTBEAT_INTERVAL_MS": text}
    if text:
        assert problems(environ)[0].startswith("FLOWCTL_HEARTBEAT_INTERVAL_MS: must be ")
    else:
        assert load(environ).heartbeat_interval == 10.0


def test_a_number_is_written_as_one():
    for text in ("1e-1", "0x1", "nan", "inf", "80%", "0,8"):
        assert problems({"FLOWCTL_THROTTLE_RATE": text})[0].startswith("FLOWCTL_THROTTLE_RATE: must be a number")


def test_a_heartbeat_slower_than_the_lease_is_said():
    (note,) = resolve(environ={"FLOWCTL_HEARTBEAT_INTERVAL": "60s"}).notes
    assert "not below lease_timeout" in note


def test_a_misspelt_variable_is_said_and_those_of_others_are_not():
    environ = {
        "FLOWCTL_ENDPONT": "x",
        "FLOWCTL_PIPELINE_NAME": "p",
        "FLOWCTL_LOG_DIR": "l",
        "FLOWCTL_SINK_BUFFER_SIZE": "1",
    }
    assert resolve(environ=environ).notes == ("FLOWCTL_ENDPONT is no variable of ours: did you mean FLOWCTL_ENDPOINT?",)


def test_what_flowctl_run_sets_is_understood():
    environ = {
        "ENABLE_FLOWCTL": "true", "FLOWCTL_ENDPOINT": "localhost:8080", "FLOWCTL_HEARTBEAT_INTERVAL": "10s",
        "FLOWCTL_SERVICE_ID": "ledgers", "FLOWCTL_COMPONENT_ID": "ledgers", "HEALTH_PORT": "18081",
        "FLOWCTL_HEARTBEAT_INTERVAL_MS": "10000", "FLOWCTL_RUN_ID": "a-b-c", "FLOWCTL_ATTEMPT": "2",
    }  # fmt: skip
    resolved = resolve(environ=environ)
    assert resolved.notes == ()
    config = resolved.config
    assert (config.component_id, config.health_bind, config.run_id, config.attempt) == (
        "ledgers",
        "127.0.0.1:18081",
        "a-b-c",
        2,
    )


def test_an_unknown_argument_is_a_type_error():
    with pytest.raises(TypeError, match="heartbeat_intervall"):
        load(heartbeat_intervall=1.0)


@pytest.mark.parametrize("name", ["1st", "a b", "\u00e9", "_x"])
def test_a_component_has_a_name_that_can_begin_a_variable(name):
    with pytest.raises(ConfigError, match="no name of a component"):
        load({}, name)
