"""How late the event loop is: a task that wants to wake on a grid, and how far behind it does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import anyio

from flowctl_aio.observe.repeats import Repeats

logger = logging.getLogger(__name__)


class LoopLag:
    """The lag of the loop that runs `run`. Everything but `run` may be asked from any thread.

    Args:
        who: whose loop it is, for the log.
        interval: between two looks, in seconds.
        window: how long a lag is remembered, in seconds.
        warn_above: lag from which on a line is logged, in seconds.

    Attributes:
        last_tick: when the loop last came by, on the clock (monotonic).
    """

    def __init__(
        self,
        who: str,
        *,
        interval: float = 0.25,
        window: float = 10.0,
        warn_above: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._who, self._interval, self._window, self._warn_above = who, interval, window, warn_above
        self._clock = clock
        self._repeats = Repeats(logger, fields={"component_id": who}, clock=clock)
        # Replaced as a whole, never changed: other threads read it.
        self._recent: tuple[tuple[float, float], ...] = ()
        self._is_running = False
        self.last_tick = clock()

    @property
    def seconds(self) -> float:
        """The longest lag within the window, a block that is still going on included."""
        now = self._clock()
        past = max((lag for moment, lag in self._recent if moment > now - self._window), default=0.0)
        return max(past, self._overdue(now))

    async def run(self) -> None:
        """Measure until cancelled.

        Cancellation: ends it.
        """
        self.last_tick = due = self._clock()
        self._is_running = True
        try:
            while True:
                now = self._clock()
                due = max(due + self._interval, now)
                await anyio.sleep(due - now)
                self.tick(due)
        finally:
            self._is_running = False

    def tick(self, due: float) -> None:
        """The loop came by, and `due` is when it should have."""
        now = self.last_tick = self._clock()
        lag = max(now - due, 0.0)
        self._recent = (*(tick for tick in self._recent if tick[0] > now - self._window), (now, lag))
        if lag > self._warn_above:
            self._repeats.failed(
                "lag",
                "%s: the event loop was unresponsive for %.1f s; something in it blocks",
                self._who,
                lag,
                fields={"loop_lag_seconds": round(lag, 3)},
            )

    def _overdue(self, now: float) -> float:
        return max(now - self.last_tick - self._interval, 0.0) if self._is_running else 0.0
