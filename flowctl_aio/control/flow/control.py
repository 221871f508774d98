"""What is in flight, what may be, and what follows: back-pressure as a number, a signal, and a delay.

It belongs to one event loop: nothing here is safe to call from another thread. It starts no task. Of other
services it knows what their heartbeats tell.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from flowctl_aio.control.clock import utc_now
from flowctl_aio.control.discovery.matching import UNUSABLE, is_stale
from flowctl_aio.control.flow.pacing import Pacer
from flowctl_aio.control.flow.signals import Signal, Signals
from flowctl_aio.control.numbers import inflight_of
from flowctl_aio.errors import ConfigError, UsageError
from flowctl_aio.types import ServiceStatus

INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class FlowState:
    """Flow control at one moment.

    Attributes:
        load: what is in flight, as a part of what may be, over all services with a limit.
        rate: the part of the full rate to keep; 1 without back-pressure.
        loads: the load of each service with a limit.
    """

    is_active: bool
    load: float
    rate: float
    loads: Mapping[str, float]
    at: datetime


@dataclass(slots=True, eq=False)
class _Waiter:
    count: int
    granted: anyio.Event = field(default_factory=anyio.Event)


class FlowControl:
    """Counts what services have in flight, and says when it is too much.

    Load is the sum of what is in flight over the sum of the limits, both over the services that have a limit.
    Above `backpressure_threshold` back-pressure begins, below `recovery_threshold` it ends, in between nothing changes.

    Args:
        service_id: whose signals these are.
        throttle_rate: the part of the full rate to keep under back-pressure.
        lease: seconds after which a silent service is no longer counted by `observe`; None counts it for ever.
        clock: monotonic, in seconds.
        now: the wall clock, timezone-aware.
    """

    def __init__(
        self,
        service_id: str,
        *,
        backpressure_threshold: float = 0.8,
        recovery_threshold: float = 0.6,
        throttle_rate: float = 0.5,
        lease: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if not 0 < recovery_threshold <= backpressure_threshold <= 1:
            raise ConfigError(
                "recovery_threshold and backpressure_threshold must lie above 0 and up to 1, in this order,"
                f" not {recovery_threshold!r} and {backpressure_threshold!r}"
            )
        if not 0 < throttle_rate <= 1:
            raise ConfigError(f"throttle_rate must be above 0 and up to 1, not {throttle_rate!r}")
        self.service_id = service_id
        self._on, self._off, self._low_rate = backpressure_threshold, recovery_threshold, throttle_rate
        self._lease, self._clock, self._now = lease, clock, now
        self._inflight: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._observed: dict[str, tuple[float, float]] = {}
        # The two numbers that the load is made of. They are kept, not added up: each batch asks four times.
        self._load_inflight = self._load_limit = 0.0
        self._waiters: dict[str, deque[_Waiter]] = {}
        self._listeners: set[Signals] = set()
        self._is_closed = False
        self._is_active = False
        self._recovered = anyio.Event()
        self._turn = anyio.Lock()
        self._pacer = Pacer()

    # What is known

    @property
    def is_backpressure_active(self) -> bool:
        return self._is_active

    @property
    def throttle_rate(self) -> float:
        """The part of the full rate to keep: 1 without back-pressure."""
        return self._low_rate if self._is_active else 1.0

    @property
    def load(self) -> float:
        """What is in flight as a part of what may be, over all services with a limit; 0 if none has one."""
        return self._load_inflight / self._load_limit if self._load_limit else 0.0

    def service_loads(self) -> dict[str, float]:
        """The load of each service that has a limit."""
        own = {service_id: self.inflight(service_id) / limit for service_id, limit in self._limits.items()}
        return {**{service_id: count / limit for service_id, (count, limit) in self._observed.items()}, **own}

    def inflight(self, service_id: str) -> int:
        """What this process has counted of one service."""
        return self._inflight.get(service_id, 0)

    def limit(self, service_id: str) -> int:
        """The limit that was set for one service; 0 for none."""
        return self._limits.get(service_id, 0)

    def state(self) -> FlowState:
        return FlowState(self._is_active, self.load, self.throttle_rate, self.service_loads(), self._now())

    # What changes it

    def set_limit(self, service_id: str, limit: int) -> None:
        """Allow `limit` in flight; 0 takes the limit away. What is in flight already stays.

        Raises:
            UsageError: if it is not a whole number from 0 to 2147483647.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= INT32_MAX:
            raise UsageError(f"the limit of {service_id} must be from 0 to {INT32_MAX}, not {limit!r}")
        if limit:
            self._limits[service_id] = limit
        else:
            self._limits.pop(service_id, None)
        self._add_up()
        self._grant(service_id)
        self._evaluate()

    def set_inflight(self, service_id: str, count: int) -> None:
        """What one service has in flight, from somebody who counts it; in place of what was counted before.

        Raises:
            UsageError: if it is negative.
        """
        if count < 0:
            raise UsageError(f"{service_id} cannot have {count} in flight")
        if count == self.inflight(service_id):
            return
        self._count(service_id, count)
        self._grant(service_id)
        self._evaluate()

    def acquire_nowait(self, service_id: str, count: int = 1) -> None:
        """Count `count` more in flight, also above the limit."""
        _check_count(service_id, count)
        self._count(service_id, self.inflight(service_id) + count)
        self._evaluate()

    async def acquire(self, service_id: str, count: int = 1) -> None:
        """Count `count` more in flight, as soon as the limit has room. Who comes first, passes first.

        More at once than the limit allows at all passes when nothing else is in flight.

        Cancellation: nothing is counted.
        """
        _check_count(service_id, count)
        await checkpoint_if_cancelled()
        waiters = self._waiters.get(service_id)
        if not waiters and self._has_room(service_id, count):
            self.acquire_nowait(service_id, count)
            return
        waiter = _Waiter(count)
        waiters = self._waiters.setdefault(service_id, deque())
        waiters.append(waiter)
        try:
            await waiter.granted.wait()
        except BaseException:
            if waiter.granted.is_set():
                self.release(service_id, count)
            else:
                waiters.remove(waiter)
                self._grant(service_id)  # those behind it may need less
                self._evaluate()
            raise

    def release(self, service_id: str, count: int = 1) -> None:
        """Count `count` less in flight.

        Raises:
            UsageError: if so much is not in flight; nothing changes then.
        """
        _check_count(service_id, count)
        left = self.inflight(service_id) - count
        if left < 0:
            raise UsageError(f"{service_id} has {left + count} in flight, so {count} cannot be released")
        self._count(service_id, left)
        self._grant(service_id)
        self._evaluate()

    @asynccontextmanager
    async def hold(self, service_id: str, count: int = 1) -> AsyncIterator[None]:
        """Have `count` in flight while the block runs; however it ends, they are released.

        Cancellation: while it waits for room, nothing is counted.
        """
        await self.acquire(service_id, count)
        try:
            yield
        finally:
            self.release(service_id, count)

    def observe(self, statuses: Iterable[ServiceStatus]) -> None:
        """Take what other services have in flight from their heartbeats, in place of what was observed before.

        Left out are those that are gone or going: UNHEALTHY, STOPPING, or silent for longer than the lease. Of a
        service whose limit is set here, what is counted here is what counts.
        """
        now = self._now()
        self._observed = {}
        for status in statuses:
            is_gone = status.health in UNUSABLE or (
                self._lease is not None and is_stale(status, now=now, lease=self._lease)
            )
            told = None if is_gone else inflight_of(status)
            if told is not None:
                self._observed[status.service_id] = told
        self._add_up()
        self._evaluate()

    # What follows

    def subscribe(self) -> Signals:
        """Hear of every change: `async with flow.subscribe() as signals: async for signal in signals`."""
        return Signals(self._listeners, is_closed=self._is_closed)

    async def throttle(self, cost: float = 1.0) -> None:
        """Wait as long as back-pressure asks for: not at all without it; under it so that the rate is `throttle_rate`
        of what it was. Nobody overtakes anybody, and all go on at once when it ends.

        Args:
            cost: how much passes, in any unit, such as rows.

        Cancellation: gives up the place in the row; the others move up.
        """
        if not cost > 0:
            raise UsageError(f"the cost of what passes must be above 0, not {cost!r}")
        await checkpoint_if_cancelled()
        if not self._is_active and not self._turn.locked():
            self._pacer.learn(self._clock(), cost)
            return
        async with self._turn:
            while self._is_active:
                now = self._clock()
                due = self._pacer.due(now)
                if due <= now:
                    self._pacer.slow(now, cost, self._low_rate)
                    return
                with anyio.move_on_after(due - now):
                    await self._recovered.wait()

    def close(self) -> None:
        """End what listeners iterate over, and throttle no more."""
        self._is_closed = True
        self._end_backpressure()
        for listener in list(self._listeners):
            listener.close()

    def _count(self, service_id: str, count: int) -> None:
        if service_id in self._limits:
            self._load_inflight += count - self.inflight(service_id)
        if count:
            self._inflight[service_id] = count
        else:
            self._inflight.pop(service_id, None)

    def _add_up(self) -> None:
        """What the load is made of; what was observed does not count where a limit is set here."""
        others = [told for service_id, told in self._observed.items() if service_id not in self._limits]
        own = [(self.inflight(service_id), limit) for service_id, limit in self._limits.items()]
        self._load_inflight = sum(count for count, _ in (*others, *own))
        self._load_limit = sum(limit for _, limit in (*others, *own))

    def _has_room(self, service_id: str, count: int) -> bool:
        limit, inflight = self.limit(service_id), self.inflight(service_id)
        return not limit or not inflight or inflight + count <= limit

    def _grant(self, service_id: str) -> None:
        """Let those pass who wait and for whom there is room now."""
        waiters = self._waiters.get(service_id)
        if waiters is None:
            return
        while waiters and self._has_room(service_id, waiters[0].count):
            waiter = waiters.popleft()
            self._count(service_id, self.inflight(service_id) + waiter.count)
            waiter.granted.set()
        if not waiters:
            del self._waiters[service_id]

    def _evaluate(self) -> None:
        load = self.load
        if self._is_closed:
            return
        if not self._is_active and load > self._on:
            self._is_active = True
            self._recovered = anyio.Event()
            self._pacer.begin(self._clock())
            self._tell(load, f"the load is above {self._on:.0%}")
        elif self._is_active and load < self._off:
            self._end_backpressure()
            self._tell(load, f"the load is below {self._off:.0%}")

    def _end_backpressure(self) -> None:
        self._is_active = False
        self._pacer.end()
        self._recovered.set()

    def _tell(self, load: float, reason: str) -> None:
        signal = Signal(self.service_id, load, self.throttle_rate, reason, self._now(), self._is_active)
        for listener in list(self._listeners):
            listener.put_nowait(signal)


def _check_count(service_id: str, count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= INT32_MAX:
        raise UsageError(f"what {service_id} has in flight is counted in whole numbers above 0, not {count!r}")
