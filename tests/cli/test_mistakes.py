"""What a verb is asked wrongly is said in one line that names the culprit, and nothing is left of it."""

from __future__ import annotations

import pytest

from flowctl_aio.cli.app import VERBS, app, run

MISTAKES = {
    "services --plane=http://x": "http://x",
    "services --plane=plane.example.org:1": "plane.example.org:1",
    "services --interval=0": "--interval",
    "services --interval=x": "--interval",
    "services --tls-cert=/nowhere": "tls_key",
    "services --tls-ca=/nowhere/ca.pem": "/nowhere/ca.pem",
    "services --token-file=/nowhere/token": "/nowhere/token",
    "services --config=/nowhere/c.yaml": "/nowhere/c.yaml",
    "services --profile=prod": "prod",
    "topology --dot --json": "--dot",
    "topology --frobnicate": "--frobnicate",
    "health --plane=": "endpoint",
    "health me": "me",
    "passthrough --event-type": "--event-type",
    "passthrough --bind=x": "'x'",
    "passthrough --health=x:y": "health_bind",
    "passthrough --heartbeat-mode=fast": "fast",
    "passthrough --heartbeat-interval=0": "heartbeat_interval",
    "passthrough --drain-timeout=-1": "drain_timeout",
    "passthrough --serve-tls-cert=/nowhere": "serve_tls_key",
    "passthrough --accept-tokens-file=/nowhere/tokens": "/nowhere/tokens",
    "passthrough --watch-parent=perhaps": "perhaps",
    "processor --network=atlantis": "atlantis",
    "processor --network=testnet --processes=1000000": "1000000",
    "processor --kind=payment": "payment",
    "processor --on-bad-ledger=skip": "skip",
    "processor --on-bad-ledger=quarantine": "quarantine folder",
    "processor --asset=USDC:GABC": "GABC",
    "transfers --min-amount=1.5": "whole number of stroops",
    "transfers --min-amount=2 --max-amount=1": "lies above",
    "transfers --account=me": "'me'",
    "transfers --contract=you": "'you'",
    "sink --compression=rar": "rar",
    "source --batch-ledgers=0": "0 ledgers",
    "source --seed=x": "--seed",
    "ledgers --rpc=ftp://x/hush": "ftp://x/...",
    "ledgers --rpc=http://x --lake=y": "--rpc",
    "ledgers --files y --lake=y": "--files",
    "transfers --files=/nowhere": "--network",
    "transfers --files=/nowhere --network=atlantis": "atlantis",
    "transfers --from=9 --to=8": "9 to 8",
    "transfers --from=newest": '--from: unable to convert "newest" into int or latest.',
    "transfers --from=latest": "no latest ledger",
    "transfers --lake=x --from=9": "--from=latest",
    "transfers --format=csv": "csv",
    "transfers --out=/nowhere/transfers.parquet": "/nowhere/transfers.parquet",
    "transfers --out=/dev/null": "/dev/null",
    "ledgers --xdr": "--format=parquet",
    "plain": "plain",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, monkeypatch, capsys, tmp_path):
    for name in ("FLOWCTL_ENDPOINT", "NETWORK_PASSPHRASE", "ENABLE_FLOWCTL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert run(arguments.split()) == 2
    done = capsys.readouterr()
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("flowctl-aio: ")
    assert MISTAKES[arguments] in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_a_help_that_names_it(verb, capsys):
    assert app([verb, "--help"], exit_on_error=False, print_error=False) in (None, 0)
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: flowctl-aio {verb}")
    assert "--with-parent" not in text


@pytest.mark.parametrize(
    ("verb", "variable"),
    [
        ("source", "STELLAR_ARROW_SOURCE_CONCURRENT_READERS=8"),
        ("processor", "TTP_ARROW_PROCESSOR_BATCH_SIZE=500"),
        ("sink", "ARROW_ANALYTICS_SINK_WRITER_THREADS=2"),
    ],
)
def test_a_setting_without_effect_is_told(shell, verb, variable):
    name, _, value = variable.partition("=")
    more = {"processor": ["--network=testnet"]}.get(verb, [])
    # What is wrong with the port ends it behind its settings, before anything else.
    done = shell.run(verb, *more, "--bind=192.0.2.1:1", "--insecure", **{name: value})
    assert done.returncode == 2
    first, last = done.stderr.splitlines()
    assert first.startswith("WARNING")
    assert name in first
    assert "cannot listen on 192.0.2.1:1" in last


def test_mistakes_in_the_settings_of_component_and_session_are_named_in_one_breath(monkeypatch, capsys):
    monkeypatch.setenv("HEALTH_PORT", "99999")
    monkeypatch.setenv("TTP_ARROW_PROCESSOR_BATCH_SIZE", "many")
    monkeypatch.setenv("FLOWCTL_TLS_CERT", "/nowhere/cert.pem")
    assert run(["processor", "--network=testnet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(name in said for name in ("HEALTH_PORT", "TTP_ARROW_PROCESSOR_BATCH_SIZE", "tls_key"))
    assert said.count("HEALTH_PORT") == 1
