"""YAML files: what they give, and what they cannot do to us."""

from __future__ import annotations

import builtins
import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowctl_aio import FlowctlConfig
from flowctl_aio.config.reading.document import MAX_BYTES, read_document
from flowctl_aio.config.reading.resolve import resolve, resolve_component
from flowctl_aio.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "settings.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def problems(file, component=""):
    with pytest.raises(ConfigError) as caught:
        FlowctlConfig.load(component, file=file, environ={})
    return [problem.removeprefix(str(file)) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "content",
    [
        "flowctl:\n  endpoint: plane:1\n  enabled: false\n  heartbeat_interval: 2s\n",
        "flowctl_endpoint: plane:1\nflowctl_enabled: false\nflowctl_heartbeat_interval: 2s\n",
        "flowctl_endpoint: 'plane:1'\nenable_flowctl: F\nflowctl: {heartbeat: {interval_ms: 2000}}\n",
        '{"flowctl": {"endpoint": "plane:1", "enabled": false, "heartbeat-interval": "2s"}}',
        "x-mine: &block\n  endpoint: plane:1\n  enabled: false\n  heartbeat_interval: 2s\nflowctl: *block\n",
        "---\nflowctl_endpoint: plane:1\n\nflowctl: {enabled: false, heartbeat_interval: 2s, bind: }\n...\n",
    ],
)
def test_blocks_and_flat_names_are_the_same(write, content):
    config = FlowctlConfig.load(file=write(content), environ={})
    assert config == FlowctlConfig(endpoint="plane:1", enabled=False, heartbeat_interval=2.0)


@pytest.mark.parametrize(
    "content", ["", "# nothing\n", "---\n", "~\n", "flowctl:\n", "flowctl: {}\n", "flowctl: {endpoint: ~}"]
)
def test_nothing_leaves_everything_alone(write, content):
    assert FlowctlConfig.load(file=write(content), environ={}) == FlowctlConfig()


def test_a_value_is_the_text_that_is_written(write):
    file = write("flowctl: {bind: 8:30, token: 0123, component_id: no, run_id: 1_000, advertise_host: ''}\n")
    config = FlowctlConfig.load(file=file, environ={})
    assert (config.bind, config.token, config.component_id, config.run_id) == ("8:30", "0123", "no", "1_000")
    assert problems(write("flowctl: {enabled: yes}"))[0].endswith("must be true or false, not 'yes'")


def test_an_origin_names_file_and_key(write):
    file = write("flowctl:\n  endpoint: plane:1\n")
    assert resolve(file=file, environ={}).origins["endpoint"] == f"file {file}: flowctl.endpoint"


def test_a_variable_names_the_file_and_the_argument_wins(write, tmp_path):
    file = write("flowctl: {endpoint: 'plane:1'}")
    environ = {"A_FLOWCTL_CONFIG_FILE": str(file)}
    assert FlowctlConfig.load("a", environ=environ).endpoint == "plane:1"
    assert FlowctlConfig.load(environ=environ).endpoint == "localhost:8080"
    assert FlowctlConfig.load("a", environ=environ, file="").endpoint == "localhost:8080"


CHAIN = "x-0: &a0 {k: v}\n" + "".join(f"x-{n}: &a{n} {{k: *a{n - 1}}}\n" for n in range(1, 40))
BOMB = "x-0: &a0 {k: v}\n" + "".join(
    f"x-{n}: &a{n} {{{', '.join(f'k{k}: *a{n - 1}' for k in range(9))}}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("flowctl: {endpoint: a:1}\nflowctl: {}\n", ", line 2: 'flowctl' is given twice, first in line 1"),
        ("flowctl:\n  bind: 1\n  bind: 2\n", ", line 3: 'bind' is given twice, first in line 2"),
        (
            "flowctl:\n  bind: 1\nflowctl_bind: 2\n",
            ", line 3: flowctl_bind is given twice, first in line 2 as flowctl.bind",
        ),
        ("flowctl: [1]\n", ", line 1: flowctl: is unknown"),
        ("- a\n", ", line 1: must be a mapping of settings"),
        ("words\n", ", line 1: must be a mapping of settings"),
        ("flowctl:\n  endpoint: {a: 1}\n", ", line 2: flowctl.endpoint.a: is unknown: did you mean flowctl_endpoint?"),
        ("flowctl:\n  endpoint: [a:1]\n", ", line 2: flowctl.endpoint: must be one value, "),
        ("flowctl:\n  endpont: a:1\n", ", line 2: flowctl.endpont: is unknown: did you mean flowctl.endpoint?"),
        ("flowctl_endpont: a:1\n", ", line 1: flowctl_endpont: is unknown: did you mean flowctl_endpoint?"),
        ("zzz: 1\n", ", line 1: zzz: is unknown"),
        ("batch_size: 500\n", " without a component: it belongs to stellar_arrow_source and ttp_arrow_processor"),
        ("flowctl:\n  bind: 70000\n", ", line 2: flowctl.bind: must be a port like 50051, :50051 or host:50051, "),
        ("flowctl: !!python/object:os.system {}\n", ", line 1: tags are not read"),
        ("flowctl: {enabled: !!bool true}\n", ", line 1: tags are not read"),
        ("flowctl:\n  <<: {bind: 1}\n", ", line 2: merge keys (<<) are not read"),
        ("a: 1\n---\nb: 2\n", ", line 2: a second document begins"),
        ("flowctl: *nowhere\n", ", line 1: *nowhere refers to nothing before it"),
        ("a: &a {b: *a}\n", ", line 1: *a refers to nothing before it"),
        ("? {a: b}\n: 1\n", ", line 1: a key must be printable text"),
        ('flowctl: {"\\e[31m": 1}\n', ", line 1: a key must be printable text"),
        (f"? {'k' * 2000}\n: 1\n", ", line 1: a key must be printable text"),
        (
            "flowctl: {run_id: 'a\\tb'}\n".replace("'", '"'),
            ", line 1: flowctl.run_id: must be one line of printable text",
        ),
        ("a: [" + "1, " * 300_000 + "]\n", " holds more than 10000 values"),
        ("a: 1\n b: 2\n", ", line 2: is no YAML: "),
        ("a: [1\n", ", line 2: is no YAML: "),
        ("a: '\n", "is no YAML: "),
        ("a: \x00\n", "is no YAML: "),
        (b"a: \xff\n", ", byte 3: is not UTF-8"),
        (b"#" * (MAX_BYTES + 1), f" is longer than {MAX_BYTES} bytes"),
        ("a: " + "[" * 20 + "]" * 20, " is nested more than 16 deep"),
        ("a: " + "[" * 5000, "is no YAML: exceeded maximum nesting depth"),
        (f"{BOMB}flowctl: *a11\n", " holds more than 10000 values"),
        (f"{CHAIN}flowctl: *a39\n", ": aliases nest more than 16 deep"),
        ("flowctl: {mode: [{a: {b: 1}}]}\n", "flowctl.mode: is nested too deep"),
        ("a: [" + "1, " * 20_000 + "]\n", " holds more than 10000 values"),
        ("apiVersion: flowctl/v1\nkind: Pipeline\n", " is a Pipeline of flowctl, not a file of settings"),
        ("tls_enabled: true\n", ", line 1: tls_enabled: is known, and not offered: use flowctl.tls_ca"),
        ("flowctl: {mode: [[1]]}\n", "flowctl.mode: must be a list of values"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(write, content, problem):
    found = problems(write(content))
    assert len(found) == 1
    assert problem in found[0]
    assert len(found[0]) < 400


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        assert " cannot be read: " in problems(path)[0]


def test_no_secret_of_a_broken_file_is_quoted(write):
    for content in (
        "flowctl:\n  token: hush\n bad: [\n",
        "flowctl: {token: 'hush\n",
        "flowctl: {token: 'hush hush'}\n",
    ):
        assert "hush" not in " ".join(problems(write(content)))


def test_without_pyyaml_the_extra_is_named(write, monkeypatch):
    file = write("flowctl: {}")
    real = builtins.__import__

    def without_yaml(name, *rest):
        if name == "yaml":
            raise ModuleNotFoundError(name="yaml")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_yaml)
    assert problems(file)[0].endswith("is YAML, which needs PyYAML: install flowctl-aio[yaml]")


def test_a_variable_in_a_value_is_left_and_said(write):
    resolved = resolve(file=write("flowctl: {component_id: '${NAME}'}"), environ={"NAME": "x"})
    assert resolved.config.component_id == "${NAME}"
    assert "are not filled in" in resolved.notes[0]


def test_wishes_have_no_effect_and_are_said(write):
    content = (
        "circuit_breaker_enabled: true\ncompute: {use_simd: true}\nttp_arrow_processor: {security: {jwt_secret: s}}\n"
    )
    notes = resolve(file=write(content), environ={}).notes
    assert [note.partition(": ")[2].partition(": ")[0] for note in notes] == [
        "circuit_breaker_enabled",
        "compute.use_simd",
        "ttp_arrow_processor.security.jwt_secret",
    ]
    assert all("is known, and not offered: it has no effect" in note for note in notes)
    assert resolve(file=write("tls_enabled: false\n"), environ={}).notes


def test_a_section_of_ones_own_may_hold_anything_and_still_has_its_session(write):
    file = write("my_sink:\n  colour: red\n  flowctl: {bind: 1}\nflowctl: {bind: 2}\n")
    assert FlowctlConfig.load("my_sink", file=file, environ={}).bind == "127.0.0.1:1"
    assert "my_sink.colour: is unknown" in problems(file)[0]


def test_a_flat_component_file_serves_session_and_component(write):
    file = write("flight_port: 8816\nbatch_size: 500\nflowctl: {endpoint: 'plane:1'}\n")
    session = FlowctlConfig.load("stellar_arrow_source", file=file, environ={})
    own = resolve_component("stellar_arrow_source", file=file, environ={}).config
    assert (session.bind, session.endpoint) == ("127.0.0.1:8816", "plane:1")
    assert (own.flight_port, own.batch_size) == ("127.0.0.1:8816", 500)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("abf:{}[],-&*!?|>'\"%@` \n\t#~<01", max_size=60))
def test_no_text_does_anything_but_be_read_or_refused(write, text):
    file = write(text)
    with contextlib.suppress(ConfigError):
        assert read_document(file).name == str(file)
