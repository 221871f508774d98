"""What systemd wants to hear of a service: that it is ready, how it is, that it lives, that it stops.

Source: sd_notify(3), sd_watchdog_enabled(3). Without NOTIFY_SOCKET nothing is sent.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable

import anyio

STATUS_INTERVAL = 5.0
LEAST_PAUSE = 0.05  # seconds; no watchdog is worth more of the processor
logger = logging.getLogger(__name__)


class Notifier:
    """Sends datagrams to systemd's socket, if there is one.

    Attributes:
        watchdog: seconds within which systemd wants a sign of life; None if it wants none.
    """

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")  # noqa: TID251 - the command line owns its process
        # A leading @ is an address in the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._is_heard = True
        microseconds = os.environ.get("WATCHDOG_USEC", "")  # noqa: TID251
        pid = os.environ.get("WATCHDOG_PID", "")  # noqa: TID251
        is_meant = pid in ("", str(os.getpid()))
        is_number = re.fullmatch(r"0*[1-9][0-9]{0,18}", microseconds, re.ASCII)
        self.watchdog = int(microseconds) / 1e6 if is_number and is_meant else None

    def send(self, **words: str) -> None:
        """Send `KEY=value` lines. Nobody has to listen: a lost word is no reason to fail."""
        if not self._address:
            return
        text = "\n".join(f"{key}={' '.join(value.split())}" for key, value in words.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(text.encode(errors="replace"), self._address)
        except OSError as error:
            # It may be full, or away for a moment; the next word may arrive.
            if self._is_heard:
                logger.warning("NOTIFY_SOCKET: systemd does not hear us: %s", error)
            self._is_heard = False
        else:
            self._is_heard = True

    async def run(self, status: Callable[[], str], is_alive: Callable[[], bool] = lambda: True) -> None:
        """Say that the service is ready; then how it is, and that the process lives while `is_alive`.

        Cancellation: ends it.
        """
        self.send(READY="1", STATUS=status())
        if not self._address:
            return
        interval = min(STATUS_INTERVAL, max(self.watchdog / 2, LEAST_PAUSE)) if self.watchdog else STATUS_INTERVAL
        while True:
            alive = {"WATCHDOG": "1"} if self.watchdog and is_alive() else {}
            self.send(STATUS=status(), **alive)
            await anyio.sleep(interval)
