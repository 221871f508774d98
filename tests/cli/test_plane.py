"""`flowctl-aio plane` as a process: secured, killed, asked wrongly."""

from __future__ import annotations

import json
import signal

import anyio
import pytest
import trustme
from anyio import to_thread

from flowctl_aio import FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType, State
from flowctl_aio.cli.app import run
from flowctl_aio.errors import RegistrationError

pytestmark = pytest.mark.anyio
INFO = ServiceInfo("svc", ServiceType.PROCESSOR, input_event_types=("L",), output_event_types=("E",))


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """Files of one authority: its own, a server's and a client's."""
    folder = tmp_path_factory.mktemp("pki")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("localhost", "client"):
        issued = authority.issue_cert(name)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    (folder / "tokens").write_text("an-older-one\nhush-hush\n")
    (folder / "token").write_text("hush-hush\n")
    (folder / "wrong-token").write_text("guessed-one\n")
    return folder


async def until_ready(process) -> str:
    endpoint: str = json.loads(await to_thread.run_sync(process.stdout.readline))["endpoint"]
    return endpoint


async def test_a_secured_plane_takes_who_proves_it_and_nobody_else(shell, pki):
    process = shell.start(
        "plane", "--bind=localhost:8080", "--port=0", "--quirks=flowctl", f"--tls-cert={pki / 'localhost.pem'}",
        f"--tls-key={pki / 'localhost.key'}", f"--tls-client-ca={pki / 'ca.pem'}",
        f"--accept-tokens-file={pki / 'tokens'}",
    )  # fmt: skip
    with anyio.fail_after(40):
        port = (await until_ready(process)).rpartition(":")[2]
        proven = {
            "endpoint": f"localhost:{port}",
            "tls_ca": str(pki / "ca.pem"),
            "tls_cert": str(pki / "client.pem"),
            "tls_key": str(pki / "client.key"),
        }
        config = FlowctlConfig(**proven, token_file=str(pki / "token"))
        async with FlowctlSession(INFO, config) as session:
            assert session.state is State.REGISTERED
            assert [status.service_id for status in await session.list_services()] == ["svc"]
            options = [f"--tls-ca={proven['tls_ca']}", f"--tls-cert={proven['tls_cert']}"]
            options += [f"--tls-key={proven['tls_key']}", f"--plane={proven['endpoint']}"]
            done = await to_thread.run_sync(
                lambda: shell.run("services", *options, f"--token-file={pki / 'token'}", "--json")
            )
            assert [one["id"] for one in json.loads(done.stdout)] == ["svc"]
            done = await to_thread.run_sync(lambda: shell.run("services", *options))
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
            assert "hush" not in done.stderr
        with pytest.raises(RegistrationError):
            async with FlowctlSession(INFO, FlowctlConfig(**proven, token_file=str(pki / "wrong-token"))):
                pass
        process.send_signal(signal.SIGTERM)
        _, err = await to_thread.run_sync(process.communicate)
        assert process.returncode == 0
        assert err
        assert not [line for line in err.splitlines() if "is not let in" not in line or "guessed" in line]


async def test_a_plane_that_is_killed_knows_the_services_again(shell, tmp_path):
    db = tmp_path / "plane.db"
    process = shell.start("plane", "--port=0", f"--db={db}")
    with anyio.fail_after(40):
        endpoint = await until_ready(process)
        config = FlowctlConfig(endpoint=endpoint, heartbeat_interval=60.0)
        async with FlowctlSession(INFO, config):
            process.kill()
            await to_thread.run_sync(process.wait)
            again = shell.start("plane", f"--bind={endpoint}", f"--db={db}")
            assert await until_ready(again) == endpoint
            # It beats once a minute: what the plane says now, it has from the file.
            done = await to_thread.run_sync(lambda: shell.run("services", f"--plane={endpoint}", "--json"))
            assert [one["id"] for one in json.loads(done.stdout)] == ["svc"]


MISTAKES = {
    "--tls-cert={pki}/localhost.pem": "key",
    "--tls-key={pki}/localhost.key": "cert",
    "--tls-client-ca={pki}/ca.pem": "certificate",
    "--tls-cert={pki}/nowhere.pem --tls-key={pki}/localhost.key": "nowhere.pem",
    "--accept-tokens-file={pki}/nothing": "{pki}/nothing",
    "--db={pki}": "{pki}",
    "--port=65536": "65536",
    "--port=x": "--port",
    "--bind=unix:///tmp/x --port=1": "--port",
    "--bind=0.0.0.0:0": "0.0.0.0",
    "--bind=nonsense": "nonsense",
    "--quirks=guessed": "guessed",
    "--heartbeat-ttl=0": "heartbeat_ttl",
    "--janitor-interval=-1": "janitor_interval",
    "--db= --frobnicate": "--frobnicate",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_one_line_that_names_it_and_nothing_is_left(pki, monkeypatch, capsys, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    assert run(["plane", *arguments.format(pki=pki).split()]) == 2
    done = capsys.readouterr()
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("flowctl-aio: ")
    assert MISTAKES[arguments].format(pki=pki) in line
    assert not list(tmp_path.iterdir())
