"""`flowctl-aio config`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from flowctl_aio.cli.config import check, show
from flowctl_aio.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "settings.yaml"
        path.write_text(content)
        return path

    return write


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("FLOWCTL_", "ENABLE_FLOWCTL", "CONNECTION_POOL_", "STELLAR_")):
            monkeypatch.delenv(name)


def test_show_prints_value_and_origin_with_secrets_masked(write, capsys, monkeypatch):
    monkeypatch.setenv("FLOWCTL_AUTH_TOKEN", "hush-1")
    monkeypatch.setenv("FLOWCTL_TLS_KEY", "/hush-2")
    monkeypatch.setenv("FLOWCTL_TLS_CERT", "/cert")
    file = write("flowctl: {api_key: hush-3, heartbeat_interval: 90s}\nconnection_pool: {idle_timeout: 1m}\n")
    assert show(file=file, profile="dev") == 0
    out = capsys.readouterr().out
    assert "hush" not in out
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith("  ")}
    assert lines["token"][1:] == ["***", "environment", "FLOWCTL_AUTH_TOKEN"]
    assert lines["tls_key"][1] == lines["api_key"][1] == "***"
    assert lines["heartbeat_interval"][1:] == ["1m30s", "file", f"{file}:", "flowctl.heartbeat_interval"]
    assert lines["watch_interval"][1:] == ["3s", "profile", "development"]
    assert lines["dialect"][1:] == ["auto", "default"]
    assert lines["connection_pool_idle_timeout"][1:] == ["1m", "file", f"{file}:", "connection_pool.idle_timeout"]


def test_show_gives_json(capsys, monkeypatch):
    monkeypatch.setenv("FLOWCTL_ENDPOINT", "https://me:hush@plane")
    assert show(as_json=True) == 2
    assert "hush" not in capsys.readouterr().err
    monkeypatch.setenv("FLOWCTL_ENDPOINT", "plane:1")
    monkeypatch.setenv("FLOWCTL_API_KEY", "hush")
    monkeypatch.setenv("STELLAR_ARROW_SOURCE_RPC_ENDPOINT", "https://me:hush@rpc/v1?key=hush")
    monkeypatch.setenv("STELLAR_ARROW_SOURCE_ARCHIVE_URL", "https://archive")
    assert show(component="stellar-arrow-source", as_json=True) == 0
    out = capsys.readouterr().out
    assert "hush" not in out
    found = json.loads(out)
    assert list(found) == ["flowctl", "stellar_arrow_source", "notes"]
    assert found["flowctl"]["endpoint"] == {
        "value": "plane:1",
        "origin": "environment FLOWCTL_ENDPOINT",
        "effect": True,
    }
    assert found["flowctl"]["api_key"]["value"] == "***"
    assert found["stellar_arrow_source"]["rpc_endpoint"]["value"] == "https://***@rpc/v1?***"
    assert found["stellar_arrow_source"]["rpc_endpoint"]["effect"]
    assert not found["stellar_arrow_source"]["archive_url"]["effect"]
    assert found["notes"]


def test_show_names_every_problem_on_a_line(capsys, monkeypatch):
    monkeypatch.setenv("FLOWCTL_BIND", "x")
    monkeypatch.setenv("STELLAR_ARROW_SOURCE_BATCH_SIZE", "1")
    assert show(component="stellar_arrow_source") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["FLOWCTL_BIND:", "STELLAR_ARROW_SOURCE_BATCH_SIZE:"]


def test_check_says_one_line_about_a_file_in_order(write, capsys):
    file = write("flowctl: {endpoint: 'plane:1'}\nconnection_pool: {max_connections: 5}\nretry_enabled: true\n")
    assert check(file) == 0
    done = capsys.readouterr()
    assert done.out == f"{file} is in order: 3 settings\n"
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["note"]


def test_check_names_every_problem_of_every_section_once(write, capsys):
    file = write(
        "flowctl:\n  bind: x\n  endpont: a\nconnection_pool: {max_connections: 0}\n"
        "stellar_arrow_source:\n  batch_size: 1\n  flowctl: {dialect: v9}\n"
        "ttp_arrow_processor: {event_types: [payment]}\narrow_analytics_sink: {output_formats: [json]}\n"
    )
    assert check(file) == 2
    done = capsys.readouterr()
    assert done.out == ""
    keys = [line.split(": ")[2] for line in done.err.splitlines()]
    assert sorted(keys) == [
        "arrow_analytics_sink.output_formats", "connection_pool.max_connections", "flowctl.bind", "flowctl.endpont",
        "stellar_arrow_source.batch_size", "stellar_arrow_source.flowctl.dialect", "ttp_arrow_processor.event_types",
    ]  # fmt: skip


def test_check_looks_at_the_file_alone(write, capsys, monkeypatch):
    monkeypatch.setenv("FLOWCTL_BIND", "rubbish")
    assert check(write("profile: production\n")) == 0
    assert "needs the endpoint of a plane" in capsys.readouterr().err


def test_check_takes_a_flat_file_for_its_component_only(write, capsys):
    file = write("batch_size: 500\nflight_port: 8816\n")
    assert check(file, component="stellar_arrow_source") == 0
    assert check(file, component="arrow_analytics_sink") == 2
    assert "batch_size: is unknown without a component: it belongs to" in capsys.readouterr().err


def test_the_command_line_ends_with_its_code(write):
    bad, good = write("zzz: 1\n"), [sys.executable, "-m", "flowctl_aio", "config"]
    done = subprocess.run([*good, "check", bad], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"flowctl-aio: {bad}, line 1: zzz: is unknown\n")
    environ = {**os.environ, "FLOWCTL_RUN_ID": "r"}
    done = subprocess.run([*good, "show", "--component", "a", "--json"], capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["flowctl"]["run_id"]["origin"] == "environment FLOWCTL_RUN_ID"


def test_a_component_without_a_name_is_refused():
    with pytest.raises(ConfigError, match="no name of a component"):
        show(component="1")
