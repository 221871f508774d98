"""A growing count → how fast it grows, over the last few seconds. Pure: the time comes in."""

from __future__ import annotations

from collections import deque

SAMPLES = 64


class Rate:
    """Growth per second over a sliding window.

    Args:
        window: how far to look back, in seconds.
    """

    def __init__(self, window: float = 10.0) -> None:
        self._window = window
        self._samples: deque[tuple[float, float]] = deque()

    def note(self, total: float, now: float) -> None:
        """The count stands at `total`. One that has fallen was begun anew, and so is the rate."""
        if self._samples and total < self._samples[-1][1]:
            self._samples.clear()
        # Notes that come close together are one: the memory stays bounded, however often somebody looks.
        if len(self._samples) > 1 and now - self._samples[-2][0] < self._window / SAMPLES:
            self._samples.pop()
        self._samples.append((now, total))
        # The newest sample from before the window stays: it tells what the count was when the window began.
        while len(self._samples) > 1 and self._samples[1][0] <= now - self._window:
            self._samples.popleft()

    def per_second(self, now: float) -> float:
        """The growth per second up to `now`; 0 until there are two notes, and when nothing comes any more."""
        if len(self._samples) < 2:
            return 0.0
        total = self._samples[-1][1]
        start, first = self._samples[0]
        for moment, count in self._samples:
            if moment > now - self._window:
                break
            start, first = moment, count
        elapsed = now - start
        return max((total - first) / elapsed, 0.0) if elapsed > 0 else 0.0
