"""What a signal does to a service, from its first moment to its last."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import grpc.aio
import psutil
import pytest
from anyio import to_thread

from flowctl_aio import Health
from flowctl_aio import _wire as wire

pytestmark = pytest.mark.anyio

INT, TERM = signal.SIGINT, signal.SIGTERM
PROCESSOR = ("processor", "--network=testnet")


async def until_ready(process: subprocess.Popen[str]) -> str:
    """Where it listens, once it says so."""
    endpoint: str = json.loads(await to_thread.run_sync(process.stdout.readline))["endpoint"]
    return endpoint


async def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it had to complain of."""
    _, err = await to_thread.run_sync(process.communicate)
    return process.returncode, err


async def test_the_first_signal_lets_a_stream_end_and_says_stopping_meanwhile(shell, plane):
    process = shell.start(*PROCESSOR, f"--plane={plane.endpoint}", "--heartbeat-interval=0.1", "--drain-timeout=40")
    with anyio.fail_after(30):
        async with grpc.aio.insecure_channel(await until_ready(process)) as channel:
            stream = wire.v1.ProcessorServiceStub(channel).Process()
            await stream.initial_metadata()
            process.send_signal(TERM)
            await plane.wait_for_service("ttp-arrow-processor", Health.STOPPING)
            assert process.poll() is None
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
        assert await ended(process) == (0, "")
    assert plane.services() == []


@pytest.mark.parametrize(("first", "rest"), [(TERM, TERM), (INT, TERM)])
async def test_a_second_wish_stops_at_once_and_no_later_signal_breaks_the_end(shell, plane, first, rest):
    process = shell.start(*PROCESSOR, f"--plane={plane.endpoint}", "--drain-timeout=40")
    with anyio.fail_after(30):
        async with grpc.aio.insecure_channel(await until_ready(process)) as channel:
            stream = wire.v1.ProcessorServiceStub(channel).Process()
            await stream.initial_metadata()
            process.send_signal(first)
            # An idle stream holds the first wish up; of the others, two within a second are one wish.
            while process.poll() is None:
                process.send_signal(rest)
                await anyio.sleep(0.001)
            stream.cancel()
        assert await ended(process) == (0, "")
    assert plane.services() == []


@pytest.mark.parametrize("how", [INT, TERM])
async def test_a_signal_while_it_starts_leaves_no_traceback(shell, plane, how):
    """At four moments, evenly over the time that a start takes on this machine at this time."""
    timed = shell.start(*PROCESSOR, f"--plane={plane.endpoint}")
    hears(timed)
    began = time.monotonic()
    await until_ready(timed)
    lasted = time.monotonic() - began
    timed.send_signal(how)
    processes = []
    for part in range(4):
        process = shell.start(*PROCESSOR, f"--plane={plane.endpoint}", f"--id=p{part}")
        hears(process)
        await anyio.sleep(lasted * part / 4)
        process.send_signal(how)
        processes.append(process)
    for process in (timed, *processes):
        code, err = await ended(process)
        assert (code, err) in [(0, ""), (128 + how, "")]
    assert plane.services() == []


async def test_a_signal_ends_a_service_that_still_waits_for_its_plane(shell, plane):
    asked = anyio.Event()

    async def hold(method, request):
        if method.endswith("/RegisterComponent"):
            asked.set()
            await anyio.sleep_forever()

    plane.gate = hold
    process = shell.start(*PROCESSOR, f"--plane={plane.endpoint}", FLOWCTL_REGISTER_TIMEOUT="1h")
    with anyio.fail_after(30):
        await asked.wait()
        process.send_signal(TERM)
        assert await ended(process) == (0, "")
    assert plane.services() == []


def hears(process: subprocess.Popen[str]) -> None:
    """Return once its own code runs, which is when it catches SIGTERM; before that, it is the interpreter's start."""
    while not int(caught(process.pid), 16) & (1 << (TERM - 1)):
        assert process.poll() is None


def caught(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("SigCgt"))


@pytest.mark.parametrize("option", ["--watch-parent", "--with-parent"])
async def test_a_service_ends_with_a_parent_that_is_killed(shell, plane, option):
    """The parent is a small process that starts the service and waits; `--with-parent` hears of it by its input."""
    command = [sys.executable, "-m", "flowctl_aio", *PROCESSOR, f"--plane={plane.endpoint}", option]
    code = f"import subprocess, time; p = subprocess.Popen({command!r}, stdin=subprocess.PIPE); time.sleep(600)"
    parent = shell.start_code(code)
    with anyio.fail_after(30):
        await plane.wait_for_service("ttp-arrow-processor")
        (service,) = psutil.Process(parent.pid).children()
        parent.kill()
        await to_thread.run_sync(psutil.wait_procs, [service])
    assert plane.services() == []


@pytest.mark.parametrize("how", [INT, TERM])
async def test_a_signal_ends_a_verb_that_writes_a_file_and_leaves_nothing_of_it(shell, tmp_path, until, how):
    process = shell.start("transfers", "--to=1000000", "--format=parquet", f"--out={tmp_path / 'rows.parquet'}")
    await until(lambda: list(tmp_path.iterdir()))
    process.send_signal(how)
    assert await ended(process) == (128 + how, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [INT, TERM])
def test_an_interrupted_verb_leaves_without_taking_its_interpreter_down(shell, how):
    """There a further signal would kill it, and threads of others would run into what is gone."""
    code = (
        "import atexit, sys; from flowctl_aio.cli import main; atexit.register(print, 'taken down', flush=True); "
        "sys.argv = ['flowctl-aio', 'ledgers', '--to=1000000']; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shell.environ, text=True
    )
    shell.started.append(process)
    process.stdout.readline()
    process.send_signal(how)
    out, err = process.communicate()
    assert (process.returncode, "taken down" in out, err) == (128 + how, False, "")
