"""How long to hold back, so that a stream runs at a part of the rate that it had. Pure: time comes in."""

from __future__ import annotations

IDLE = 1.0  # seconds; a longer pause says nothing of how fast the work is
WEIGHT = 0.2  # of the newest pace in the average


class Pacer:
    """Learns the pace while nothing is held back, and keeps a slower one while something is.

    Attributes:
        pace: seconds for each unit of cost at the full rate; None until it has been seen.
    """

    def __init__(self) -> None:
        self.pace: float | None = None
        self._passed: float | None = None
        self._due = 0.0

    def learn(self, now: float, cost: float) -> None:
        """One has passed, unhindered."""
        if self._passed is not None and now - self._passed <= IDLE:
            seen = (now - self._passed) / cost
            self.pace = seen if self.pace is None else (1 - WEIGHT) * self.pace + WEIGHT * seen
        self._passed = now

    def begin(self, now: float) -> None:
        """From now on the rate is a lower one."""
        self._due = now

    def end(self) -> None:
        """From now on the rate is the full one again; what passed meanwhile teaches nothing."""
        self._passed = None

    def due(self, now: float) -> float:
        """When the next may pass: not before `now`, and at once while the pace is unknown."""
        return now if self.pace is None else max(now, self._due)

    def slow(self, now: float, cost: float, rate: float) -> None:
        """One has passed that had waited until it was due; `rate` is the part of the full one to keep."""
        if self.pace is None:
            self.learn(now, cost)
        self._passed = now
        self._due = now + cost * (self.pace or 0.0) / rate
