"""Look at the plane again and again, and tell what has changed.

It has no task and no queue: it looks when it is asked for the next item. So whoever is slow gets the changes of
several looks merged into one, and nothing grows without bound.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

import anyio

from flowctl_aio.control.discovery.changes import Change, diff
from flowctl_aio.errors import ControlError, UsageError
from flowctl_aio.types import ServiceStatus

logger = logging.getLogger(__name__)
JITTER = 0.1  # of an interval, so that those who started together do not ask together


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everybody at the first look, sorted by id."""

    services: tuple[ServiceStatus, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """The plane does not answer; the changes go on when it does again."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Regained:
    """The plane answers again."""


WatchItem: TypeAlias = Snapshot | Change | Lost | Regained


class Watch:
    """`async for item in Watch(...)`: first a Snapshot, then each Added, Removed and Changed, until it is closed.

    A plane that is away does not end it: that is logged once, and it goes on. The difference to what was known
    before is told when the plane is back. An item that was not delivered because the caller was cancelled comes next.

    Args:
        list_services: asks the plane.
        interval: between two looks, in seconds; the first is at once.
        metrics: metrics and heartbeat times count as changes too.
        outages: also tell Lost and Regained, even before the snapshot.
    """

    def __init__(
        self,
        list_services: Callable[[], Awaitable[Sequence[ServiceStatus]]],
        *,
        interval: float = 10.0,
        metrics: bool = False,
        outages: bool = False,
    ) -> None:
        if not interval > 0:
            raise UsageError(f"the interval of a watch must be above 0, not {interval!r}")
        self._list, self._interval = list_services, interval
        self._metrics, self._outages = metrics, outages
        self._known: Sequence[ServiceStatus] | None = None
        self._items: deque[WatchItem] = deque()
        self._due: float | None = None
        self._is_lost = False
        self._is_closed = False
        self._scope: anyio.CancelScope | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchItem:
        """The next item, as soon as there is one.

        Raises:
            StopAsyncIteration: when it is closed.
            UsageError: if another task is waiting for the next item already.

        Cancellation: loses nothing.
        """
        if self._scope is not None:
            raise UsageError("a watch is iterated by one task at a time; make one for each")
        with anyio.CancelScope() as self._scope:
            try:
                while not self._items and not self._is_closed:
                    await self._look()
            finally:
                self._scope = None
        if self._is_closed:
            raise StopAsyncIteration
        return self._items.popleft()

    async def aclose(self) -> None:
        """End the iteration, also for a task that waits for the next item right now.

        Cancellation: does not wait, so it cannot be.
        """
        self.close()

    def close(self) -> None:
        """As `aclose`, for those who cannot await."""
        self._is_closed = True
        self._items.clear()
        self._known = ()
        if self._scope is not None:
            self._scope.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _look(self) -> None:
        if self._due is not None:
            await anyio.sleep_until(self._due - random.uniform(0, JITTER * self._interval))
        began = anyio.current_time()
        try:
            services = tuple(sorted(await self._list(), key=lambda status: status.service_id))
        except ControlError as error:
            self._lose(error)
        else:
            self._see(services)
        # The grid does not drift; all looks that were due when this one began are this one.
        due = (began if self._due is None else self._due) + self._interval
        self._due = due if due > began else began + self._interval

    def _see(self, services: Sequence[ServiceStatus]) -> None:
        if self._is_lost:
            self._is_lost = False
            logger.info("the watch sees the plane again")
            if self._outages:
                self._items.append(Regained())
        if self._known is None:
            self._items.append(Snapshot(tuple(services)))
        else:
            self._items.extend(diff(self._known, services, metrics=self._metrics))
        self._known = services

    def _lose(self, error: ControlError) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        logger.warning("the watch does not see the plane, and goes on: %s", error)
        if self._outages:
            self._items.append(Lost(error))
