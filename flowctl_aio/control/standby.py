"""Beats while the loop cannot: a thread that steps in when a beat is late, because user code blocks the loop.

The loop keeps the registration; the thread only repeats the last beat that the loop has prepared, with
the lag of the loop as it is now. It stops doing so as soon as the loop has reason to doubt the registration.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from flowctl_aio import _wire as wire
from flowctl_aio.control.clock import since_boot
from flowctl_aio.errors import FlowctlError

logger = logging.getLogger(__name__)
# How late a beat may be before the thread sends it, as a part of the interval. A beat of the loop is early by up to a
# tenth, so this comes on top of that.
SLACK = 0.03
JOIN_TIMEOUT = 1.0


class Line(Protocol):
    """A connection to the plane for threads; `transport.blocking.BlockingChannel` is one."""

    def call(self, method: str, request: Any, answer: Any, *, timeout: float) -> Any: ...

    def close(self) -> None: ...


class Standby:
    """Steps in for late beats, from its own thread.

    Args:
        line: its own connection to the plane; closed with the thread.
        freshen: brings a prepared beat up to date; runs in the thread.

    Attributes:
        beats: how many it has sent.
        heard_at: when the plane last accepted one, in seconds on `since_boot`; 0 before the first.
    """

    def __init__(self, line: Line, freshen: Callable[[Any], None], *, interval: float, timeout: float) -> None:
        self._line, self._freshen = line, freshen
        self._interval, self._timeout = interval, timeout
        self.beats = 0
        self.heard_at = 0.0
        self._turn = threading.Condition()
        self._due: float | None = None
        self._method, self._beat = "", None
        self._is_over = False

    def load(self, method: str, beat: Any) -> None:
        """The beat to repeat from now on."""
        with self._turn:
            self._method, self._beat = method, beat

    def expect(self, seconds: float) -> None:
        """The loop means to beat in so many seconds; if it does not, the thread does."""
        with self._turn:
            self._due = time.monotonic() + seconds + SLACK * self._interval
            self._turn.notify()

    def rest(self) -> None:
        """Send nothing until `expect` is called again."""
        with self._turn:
            self._due = None

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """The thread, while the block runs. Leaving cuts off a call that is under way."""
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._turn:
                self._is_over = True
                self._turn.notify()
            self._line.close()
            thread.join(JOIN_TIMEOUT)

    def _run(self) -> None:
        while (late := self._wait_due()) is not None:
            method, beat = late
            sent_at = since_boot()
            try:
                self._freshen(beat)
                self._line.call(method, beat, wire.Empty, timeout=self._timeout)
            except FlowctlError as error:
                # The loop hears the same when it comes to its own beat, and acts on it.
                logger.debug("a beat in place of a blocked loop failed: %s", error)
            except Exception:
                # A thread that ends would be missed only when the loop is blocked the next time.
                logger.exception("a beat in place of a blocked loop failed")
            else:
                self.beats += 1
                self.heard_at = sent_at

    def _wait_due(self) -> tuple[str, Any] | None:
        """The beat that is late, with the next one scheduled; None when it is time to go."""
        with self._turn:
            while not self._is_over:
                due, now = self._due, time.monotonic()
                if due is not None and due <= now:
                    self._due = max(due + self._interval, now)
                    return self._method, self._beat
                self._turn.wait(None if due is None else due - now)
        return None
