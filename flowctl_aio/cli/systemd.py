"""What systemd wants to hear of a service: that it is ready, how it is, that it lives, that it stops.

Source: sd_notify(3), sd_watchdog_enabled(3). Without NOTIFY_SOCKET nothing is sent.
"""

from __future__ import annotations

import os
import socket

import anyio

from flowctl_aio import FlowctlSession, Health

STATUS_INTERVAL = 5.0


class Notifier:
    """Sends datagrams to systemd's socket, if there is one."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")  # noqa: TID251 - the command line owns its process
        # A leading @ is an address in the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds = os.environ.get("WATCHDOG_USEC", "")  # noqa: TID251
        pid = os.environ.get("WATCHDOG_PID", "")  # noqa: TID251
        meant = pid in ("", str(os.getpid()))
        self.watchdog = int(microseconds) / 1e6 if microseconds.isascii() and microseconds.isdigit() and meant else None

    def send(self, **words: str) -> None:
        """Send `KEY=value` lines. Nobody has to listen: a lost word is no reason to fail."""
        if not self._address:
            return
        text = "\n".join(f"{key}={' '.join(value.split())}" for key, value in words.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            try:
                sender.sendto(text.encode(), self._address)
            except OSError:
                self._address = ""  # nobody is there

    async def run(self, session: FlowctlSession) -> None:
        """Say that the session is ready; then how it is, and that the process lives while it is not UNHEALTHY.

        Cancellation: ends it.
        """
        self.send(READY="1", STATUS=repr(session))
        if not self._address:
            return
        interval = min(STATUS_INTERVAL, self.watchdog / 2) if self.watchdog else STATUS_INTERVAL
        while True:
            await anyio.sleep(interval)
            alive = {"WATCHDOG": "1"} if self.watchdog and session.read_health() is not Health.UNHEALTHY else {}
            self.send(STATUS=repr(session), **alive)
