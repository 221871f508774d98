"""Tell one thing to everybody who wants to hear it, in order, without ever waiting for a slow listener."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import anyio

from flowctl_aio.errors import UsageError

MAX_WAITING = 16


@dataclass(frozen=True, slots=True)
class Signal:
    """Back-pressure has begun or ended.

    Attributes:
        service_id: who says so.
        load: what is in flight, as a part of what may be.
        rate: how fast to go on, as a part of the full rate; 1 when it has ended.
        at: timezone-aware.
        is_active: it has begun, rather than ended.
    """

    service_id: str
    load: float
    rate: float
    reason: str
    at: datetime
    is_active: bool


class Signals:
    """`async with flow.subscribe() as signals: async for signal in signals`: each change of state, from now on.

    It ends when the block is left or the flow control is closed. A listener that is more than a few signals behind
    misses the oldest ones: the newest state is what counts, and `missed` tells how many.

    Attributes:
        missed: signals that were dropped because this listener was slow.
    """

    def __init__(self, listeners: set[Signals], *, is_closed: bool = False) -> None:
        self.missed = 0
        self._listeners = listeners
        self._waiting: deque[Signal] = deque()
        self._news = anyio.Event()
        self._is_closed = is_closed

    def put_nowait(self, signal: Signal) -> None:
        """For whoever tells."""
        self._waiting.append(signal)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.missed += 1
        self._news.set()

    def close(self) -> None:
        """End the iteration, once what waits has been read."""
        self._is_closed = True
        self._listeners.discard(self)
        self._news.set()

    async def __aenter__(self) -> Self:
        if self._is_closed:
            raise UsageError("the flow control is closed")
        self._listeners.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Signal:
        """The next signal.

        Raises:
            StopAsyncIteration: when it is closed.

        Cancellation: loses nothing.
        """
        while not self._waiting:
            if self._is_closed:
                raise StopAsyncIteration
            if self._news.is_set():
                self._news = anyio.Event()
            await self._news.wait()
        return self._waiting.popleft()
