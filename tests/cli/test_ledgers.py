"""`flowctl-aio ledgers` and `transfers`, for every place that ledgers come from."""

from __future__ import annotations

import json
import os
import pty
import signal
import ssl
import subprocess
import sys
from functools import partial

import pytest
import trustme
from anyio import to_thread

from flowctl_aio.cli.progress import RangeProgress
from tests.components.stellar.files.forms import MADE, ledgers, marked, zstd
from tests.components.stellar.rpc.shaky_server import ShakyServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server():
    async with ShakyServer().serve() as served:
        yield served


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "stream"
    path.write_bytes(zstd(marked(ledgers(5, 6, 7))))
    return path


def sequences(text: str) -> list[int]:
    return [json.loads(line)["sequence"] for line in text.splitlines()]


def test_a_ledger_is_a_line_of_facts(shell, file):
    done = shell.run("ledgers", "--files", file, "--network=testnet", "--to=5")
    assert (done.returncode, done.stderr) == (0, "")
    ledger = MADE.ledger(5)
    assert json.loads(done.stdout) == {
        "sequence": 5,
        "hash": ledger.hash.hex(),
        "previous_hash": ledger.previous_hash.hex(),
        "closed_at": "2023-11-14T22:13:35+00:00",
        "protocol": 23,
        "transactions": 1,
        "failed": 1,
        "bytes": len(ledger.xdr),
    }


def test_files_are_read_from_their_first_ledger_to_their_last(shell, file):
    done = shell.run("ledgers", "--files", file, "--network=testnet")
    assert sequences(done.stdout) == [5, 6, 7]
    done = shell.run("ledgers", "--files", file, "--network=testnet", "--to=9")
    assert (done.returncode, sequences(done.stdout)) == (1, [5, 6, 7])
    assert done.stderr == f"flowctl-aio: ledger 8 is not in {file}\n"


def test_transfers_of_files_are_those_of_the_same_ledgers_made(shell, file):
    made = shell.run("transfers", "--from=5", "--to=7", "--transactions=1")
    read = shell.run("transfers", "--files", file, "--network=testnet")
    assert read.stdout == made.stdout
    assert {json.loads(line)["ledger"] for line in read.stdout.splitlines()} == {5, 6, 7}


async def test_a_server_is_read_over_a_range(shell, server):
    run = partial(shell.run, "ledgers", f"--rpc={server.url}/hush?key=hush", "--from=101", "--to=115")
    done = await to_thread.run_sync(run)
    assert (done.returncode, done.stderr) == (0, "")
    assert sequences(done.stdout) == list(range(101, 116))
    assert {request.query["key"] for request in server.requests} == {"hush"}


async def test_without_a_start_a_server_is_read_from_its_latest_ledger(shell, server):
    done = await to_thread.run_sync(partial(shell.run, "transfers", f"--rpc={server.url}", "--to=130"))
    assert {json.loads(line)["ledger"] for line in done.stdout.splitlines()} == {130}


async def test_a_tip_is_followed_until_ctrl_c(shell, server):
    process = shell.start("ledgers", f"--rpc={server.url}")
    assert sequences(await to_thread.run_sync(process.stdout.readline)) == [130]
    server.latest = 131
    assert sequences(await to_thread.run_sync(process.stdout.readline)) == [131]
    process.send_signal(signal.SIGINT)
    assert await to_thread.run_sync(process.wait) == 130
    assert process.communicate() == ("", "")


async def test_a_server_is_read_over_tls_if_its_certificate_is_trusted(shell, tmp_path):
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with ShakyServer().serve(tls) as server:
        run = partial(shell.run, "ledgers", f"--rpc={server.url}", "--from=101", "--to=115")
        done = await to_thread.run_sync(partial(run, SSL_CERT_FILE=str(tmp_path / "ca.pem")))
    assert (done.returncode, done.stderr) == (0, "")
    assert sequences(done.stdout) == list(range(101, 116))


async def test_a_reader_that_has_seen_enough_is_no_error(shell, server):
    process = shell.start("ledgers", f"--rpc={server.url}", "--from=100")
    await to_thread.run_sync(process.stdout.readline)
    process.stdout.close()
    server.latest = 5000
    assert await to_thread.run_sync(process.wait) == 0
    assert process.stderr.read() == ""


async def test_what_a_server_has_not_any_more_is_one_line_without_its_secrets(shell, server):
    run = partial(shell.run, "ledgers", f"--rpc={server.url}/hush?key=hush", "--from=7", "--to=8")
    done = await to_thread.run_sync(run)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"flowctl-aio: ledger 7 was asked for, and the oldest that {server.url}/... still has is 100\n"
    )


async def test_the_settings_of_a_source_name_its_server(shell, server):
    environ = {"STELLAR_ARROW_SOURCE_RPC_ENDPOINT": server.url, "NETWORK_PASSPHRASE": "pubnet"}
    for more in ({}, {"STELLAR_ARROW_SOURCE_SOURCE_TYPE": "rpc"}, {"STELLAR_ARROW_SOURCE_BACKEND_TYPE": "rpc"}):
        done = await to_thread.run_sync(partial(shell.run, "source", "--bind=127.0.0.1:0", **environ, **more))
        assert done.returncode == 2
        assert f"{server.url} has the network 'Test SDF" in done.stderr


async def test_a_demo_reads_a_server_and_has_an_end(shell, server, tmp_path):
    run = partial(shell.run, "demo", f"--rpc={server.url}", f"--out={tmp_path / 'out'}")
    done = await to_thread.run_sync(run)
    assert (done.returncode, done.stderr) == (2, "flowctl-aio: a demo has an end: give --to\n")
    done = await to_thread.run_sync(partial(run, "--from=101", "--to=112", "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ledgers"] == 12


def test_a_demo_reads_files(shell, file, tmp_path):
    done = shell.run("demo", "--files", file, "--network=testnet", "--json", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ledgers"] == 3


def test_progress_goes_to_a_terminal_and_only_there():
    said = RangeProgress(5, 14, None)
    for sequence in range(5, 10):
        said.done(sequence)
    assert said.line(9, float("inf")) == "ledger 9, 5 of 10 (50%), 0/s"
    assert RangeProgress(5, None, None).line(7, float("inf")) == "ledger 7, 0 so far, 0/s"


def test_with_a_terminal_for_errors_the_lines_go_where_they_should(shell, tmp_path):
    code = (
        "import flowctl_aio.cli.progress as p; p.INTERVAL = 0\n"
        "from flowctl_aio.cli.app import run\n"
        "assert run(['ledgers', '--from=5', '--to=30', '--transactions=1']) == 0"
    )
    terminal, slave = pty.openpty()
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=out, stderr=slave, env={**shell.environ, "TERM": "xterm"}
        )
    shell.started.append(process)
    os.close(slave)
    drawn = b"".join(iter(partial(read_terminal, terminal), b""))
    os.close(terminal)
    assert process.wait() == 0, drawn
    assert sequences((tmp_path / "out").read_text()) == list(range(5, 31))
    assert b"ledger 20, 16 of 26" in drawn


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # nobody is at the other end any more
        return b""
