"""What a component is at: how many batches, since when, and how long it has taken so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# How much the newest batch counts in the latency.
WEIGHT = 0.2


class Work:
    """The batches that are inside a component's own code.

    Attributes:
        done: batches that have come out again, also those it failed at.
        seconds: time spent in it, over all batches.
        latency: of one batch lately, in seconds; None before the first.
        last_at: when the last batch came out, on the clock; None before the first.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: dict[object, float] = {}
        self.done = 0
        self.seconds = 0.0
        self.latency: float | None = None
        self.last_at: float | None = None

    def __len__(self) -> int:
        """How many are in it now."""
        return len(self._begun)

    @contextmanager
    def one(self) -> Iterator[None]:
        """A block in which the component has one batch."""
        key, began = object(), self._clock()
        self._begun[key] = began
        try:
            yield
        finally:
            del self._begun[key]
            took = self._clock() - began
            self.seconds += took
            self.latency = took if self.latency is None else self.latency + WEIGHT * (took - self.latency)
            self.note()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block in which a source is asked for its next batch. That may not be there yet, so it counts as time only:
        whoever waits for a ledger is neither slow nor stuck."""
        began = self._clock()
        try:
            yield
        finally:
            self.seconds += self._clock() - began

    def note(self) -> None:
        """A batch came out."""
        self.done += 1
        self.last_at = self._clock()

    @property
    def longest(self) -> float:
        """For how long the oldest batch has been in it, in seconds. May be asked from any thread."""
        oldest = min(self._begun.values(), default=None)  # at one go: another thread cannot change it meanwhile
        return self._clock() - oldest if oldest is not None else 0.0

    @property
    def since_last(self) -> float | None:
        """Seconds since a batch came out; None before the first."""
        return self._clock() - self.last_at if self.last_at is not None else None
