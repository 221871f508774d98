"""What systemd hears of a service: over a real socket, as a file and as an abstract name."""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket

import anyio
import pytest
from anyio import to_thread

from flowctl_aio.cli.systemd import Notifier

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["file", "abstract"])
def systemd(request, tmp_path):
    """The socket of systemd, and its name as NOTIFY_SOCKET has it."""
    name = f"@flowctl-aio-{secrets.token_hex(8)}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        listener.settimeout(20)
        yield listener, name


def heard(listener: socket.socket) -> dict[str, str]:
    lines = listener.recv(65536).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


async def test_a_service_tells_its_life(shell, plane, systemd):
    listener, name = systemd
    process = shell.start(
        "processor", "--network=testnet", f"--plane={plane.endpoint}",
        NOTIFY_SOCKET=name, WATCHDOG_USEC="200000", WATCHDOG_PID="",
    )  # fmt: skip
    first = await to_thread.run_sync(heard, listener)
    assert first["READY"] == "1"
    assert "ttp-arrow-processor registered" in first["STATUS"]
    for _ in range(3):
        sign = await to_thread.run_sync(heard, listener)
        assert (sign["WATCHDOG"], "READY" in sign) == ("1", False)
    process.send_signal(signal.SIGTERM)
    words = sign
    while "STOPPING" not in words:
        words = await to_thread.run_sync(heard, listener)
    assert words["STATUS"] == "draining: SIGTERM"
    assert await to_thread.run_sync(process.wait) == 0


async def test_a_plane_tells_its_life(shell, systemd):
    listener, name = systemd
    process = shell.start("plane", "--port=0", NOTIFY_SOCKET=name, WATCHDOG_USEC="200000")
    assert (await to_thread.run_sync(heard, listener))["READY"] == "1"
    assert (await to_thread.run_sync(heard, listener))["WATCHDOG"] == "1"
    process.send_signal(signal.SIGTERM)
    words: dict[str, str] = {}
    while "STOPPING" not in words:
        words = await to_thread.run_sync(heard, listener)
    assert await to_thread.run_sync(process.wait) == 0


async def test_an_unhealthy_service_gives_no_sign_of_life(systemd, monkeypatch):
    listener, name = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    is_well = True
    async with anyio.create_task_group() as group:
        group.start_soon(Notifier().run, lambda: "so\nso", lambda: is_well)
        while (words := await to_thread.run_sync(heard, listener)).get("WATCHDOG") != "1":
            assert words == {"READY": "1", "STATUS": "so so"}
        is_well = False
        while "WATCHDOG" in words:  # one may be under way
            words = await to_thread.run_sync(heard, listener)
        for _ in range(3):
            assert await to_thread.run_sync(heard, listener) == {"STATUS": "so so"}
        group.cancel_scope.cancel()


def test_without_a_socket_nothing_is_sent(monkeypatch, caplog):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().send(READY="1")
    assert caplog.records == []


@pytest.mark.parametrize(
    "name", ["/nowhere/at/all", "@nobody-listens-here", "x" * 300, "vsock:2:1", "@", "/", "\udcff"]
)
def test_a_socket_that_is_not_there_is_one_warning(monkeypatch, caplog, name):
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notifier = Notifier()
    for _ in range(3):
        notifier.send(READY="1", STATUS="\udcff")
    (record,) = caplog.records
    assert record.getMessage().startswith("NOTIFY_SOCKET: ")


def test_a_socket_that_was_full_is_told_again(systemd, monkeypatch):
    listener, name = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notifier = Notifier()
    for number in range(5000):  # far more than its queue holds
        notifier.send(STATUS=str(number))
    while select.select([listener], [], [], 0)[0]:
        listener.recv(65536)
    notifier.send(STATUS="last")
    assert heard(listener) == {"STATUS": "last"}


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("3000000", "", 3.0),
        ("3000000", str(os.getpid()), 3.0),
        ("3000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("-5", "", None),
        ("1e6", "", None),
        ("٣", "", None),
        ("9" * 6000, "", None),
    ],
)
def test_the_watchdog_is_read_as_systemd_writes_it(monkeypatch, microseconds, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert Notifier().watchdog == seconds
