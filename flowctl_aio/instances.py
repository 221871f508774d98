"""Several instances of one peer: in which order they are tried, who is left alone for a while, and whose turn it is.

Endpoints and numbers in, an order out. It knows neither the plane nor gRPC.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from flowctl_aio.errors import ConfigError, DeadlineExceededError
from flowctl_aio.transport.address import parse_endpoint

# Seconds for which an instance that failed comes last: doubled with each further failure, capped, jittered.
REST, MAX_REST = 1.0, 30.0
MAX_REMEMBERED = 256
NEVER = float("-inf"), float("-inf")
# What a beat may tell of the load of a service, the best number first.
LOAD_KEYS = ("inflight", "current_inflight", "queue_depth")


@dataclass(frozen=True, slots=True)
class Instance:
    """Somebody who would do.

    Attributes:
        rank: how well it is by the plane's account; less is better.
        metrics: of its last beat, where the plane tells them.
    """

    endpoint: str
    rank: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def load(self) -> float:
        """What it has under way by its own account; 0 if it does not say."""
        return next((max(self.metrics[key], 0.0) for key in LOAD_KEYS if key in self.metrics), 0.0)


def instances_at(address: str | Sequence[str]) -> list[Instance]:
    """Those of an address list: `"a:1,b:2"`, or a sequence; each only once.

    Raises:
        ConfigError: if there is none, or one of them is malformed.
    """
    if not isinstance(address, Iterable):
        raise ConfigError(f"{address!r} is not an endpoint: give host:port as text")
    texts = address.split(",") if isinstance(address, str) else list(address)
    if not texts:
        raise ConfigError("the list of addresses is empty: give host:port")
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(f"{text!r} is not an endpoint: give host:port as text")
    return [Instance(endpoint) for endpoint in dict.fromkeys(parse_endpoint(text.strip()) for text in texts)]


class Choice:
    """Who is tried first.

    Args:
        in_use: how much this session has open at an endpoint.
        clock: monotonic, in seconds.
    """

    def __init__(self, in_use: Callable[[str], int], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._in_use, self._clock = in_use, clock
        self._rests: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def ordered(self, instances: Iterable[Instance]) -> list[Instance]:
        """Who failed lately comes last; before that health counts, then what we have there, then what it tells; then
        the lot.
        """

        def key(one: Instance) -> tuple[bool, int, int, float, float]:
            lot = random.random()
            return self.is_resting(one.endpoint), one.rank, self._in_use(one.endpoint), one.load, lot

        return sorted(instances, key=key)

    def is_resting(self, endpoint: str) -> bool:
        """Whether it failed so lately that others come first."""
        return self._rests.get(endpoint, (0, 0.0))[1] > self._clock()

    def note_failure(self, endpoint: str) -> None:
        """It could not be reached, or had no room: leave it alone for a while, longer each time."""
        failures = self._rests.pop(endpoint, (0, 0.0))[0] + 1
        whole = min(REST * 2 ** min(failures - 1, 16), MAX_REST)
        self._rests[endpoint] = failures, self._clock() + whole * (1 - random.random() / 2)
        if len(self._rests) > MAX_REMEMBERED:
            self._rests.popitem(last=False)

    def note_success(self, endpoint: str) -> None:
        """It answers: what was is forgotten."""
        self._rests.pop(endpoint, None)


@dataclass(slots=True)
class _Turn:
    free: anyio.Semaphore
    users: int = 0


class Turns:
    """One stream at a time to each of those that serve no more; the others wait.

    Args:
        timeout: for how long they wait, in seconds.
        clock: monotonic, in seconds.
    """

    def __init__(self, timeout: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout, self._clock = timeout, clock
        self._turns: dict[str, _Turn] = {}
        # When the last stream ended, and the one before it.
        self._ended: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def is_taken(self, endpoint: str) -> bool:
        return endpoint in self._turns

    def since_end(self, endpoint: str) -> float:
        """Seconds since the last stream there ended; infinite if there was none lately."""
        return self._clock() - self._ended.get(endpoint, NEVER)[0]

    def note_refusal(self, endpoint: str) -> None:
        """What ended there last was no stream, for it was refused."""
        self._ended[endpoint] = self._ended.pop(endpoint, NEVER)[1], NEVER[0]

    @asynccontextmanager
    async def turn(self, endpoint: str) -> AsyncIterator[None]:
        """The block has the endpoint for itself.

        Raises:
            DeadlineExceededError: if others have it for all of the timeout.

        Cancellation: gives the place up.
        """
        turn = self._turns.setdefault(endpoint, _Turn(anyio.Semaphore(1)))
        turn.users += 1
        try:
            try:
                with anyio.fail_after(self._timeout):
                    await turn.free.acquire()
            except TimeoutError:
                raise DeadlineExceededError(
                    f"{endpoint}: it serves one stream at a time, and another one of this session was still open"
                    f" after {self._timeout:g} s: end that one first"
                ) from None
            try:
                yield
            finally:
                turn.free.release()
                self._ended[endpoint] = self._clock(), self._ended.pop(endpoint, NEVER)[0]
                if len(self._ended) > MAX_REMEMBERED:
                    self._ended.popitem(last=False)
        finally:
            turn.users -= 1
            if turn.users == 0:
                del self._turns[endpoint]
