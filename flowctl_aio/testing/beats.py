"""The beats of one service as a plane under test hears them, from the moment somebody begins to listen."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import anyio

from flowctl_aio._wire.v1 import HeartbeatRequest
from flowctl_aio.types import Health, health_of, metrics_from_v1

MAX_BEATS = 10_000


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat as it arrived, whether or not the plane then took it.

    Attributes:
        moment: seconds of the loop's clock, `anyio.current_time()`.
        health: what it says; None in the classic dialect, which has no word for it.
    """

    moment: float
    service_id: str
    health: Health | None
    metrics: Mapping[str, float]


def beat_of(message: Any, moment: float) -> Beat:
    """A `Heartbeat` request of either dialect as a value."""
    if isinstance(message, HeartbeatRequest):
        return Beat(moment, message.service_id, health_of(message.status), metrics_from_v1(message.metrics))
    return Beat(moment, message.service_id, None, dict(message.metrics))


class Beats:
    """The beats of one service, oldest first; the last 10,000 are kept. Made by `beats_of`."""

    def __init__(self, service_id: str) -> None:
        self.service_id = service_id
        self._beats: deque[Beat] = deque(maxlen=MAX_BEATS)
        self._news = anyio.Event()

    def __repr__(self) -> str:
        return f"<Beats of {self.service_id}: {len(self)}>"

    def __len__(self) -> int:
        return len(self._beats)

    def __iter__(self) -> Iterator[Beat]:
        return iter(tuple(self._beats))

    def __getitem__(self, index: int) -> Beat:
        return self._beats[index]

    @property
    def gaps(self) -> list[float]:
        """Seconds between each beat and the next."""
        return [later.moment - earlier.moment for earlier, later in pairwise(self)]

    async def wait(self, count: int = 1, timeout: float = 5.0) -> list[Beat]:
        """The next `count` beats from now on.

        Raises:
            AssertionError: if they do not come within `timeout` seconds.

        Cancellation: loses nothing.
        """
        before = len(self)
        with anyio.move_on_after(timeout):
            while len(self) - before < count:
                await self._news.wait()
        got = [*self][before : before + count]
        if len(got) < count:
            raise AssertionError(f"{self.service_id} sent {len(got)} of {count} beats within {timeout:g} s")
        return got

    def note(self, beat: Beat) -> None:
        """Called by the plane with every beat that it hears."""
        if beat.service_id == self.service_id:
            self._beats.append(beat)
            news, self._news = self._news, anyio.Event()
            news.set()


class HearsBeats(Protocol):
    """A plane that tells what it hears."""

    def listen(self, listener: Beats) -> None: ...


def beats_of(plane: HearsBeats, service_id: str) -> Beats:
    """What `plane` hears of a service from now on, for as long as somebody holds the answer.

    Example:
        beats = beats_of(flowctl_plane, "svc")
        assert (await beats.wait())[0].health is Health.HEALTHY
    """
    beats = Beats(service_id)
    plane.listen(beats)
    return beats
