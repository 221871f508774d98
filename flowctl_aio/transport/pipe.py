"""A bounded way for messages from one task to another, of which either end may tell that it is over. Copies nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

END: Final[Any] = object()


class Pipe:
    """Messages in order, in one event loop.

    A reader only takes: between its waking and its taking there is no await, so that one who is cancelled loses
    nothing.

    Args:
        bound: how many messages may wait; a writer waits for room, and is then behind its reader by so many.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._waiting: deque[Any] = deque()
        self._arrived, self._taken = asyncio.Event(), asyncio.Event()
        self._is_ended = self._is_closed = False

    async def put(self, message: Any) -> bool:
        """Hand a message over when there is room; false if nobody will ever read it.

        Cancellation: the message is not handed over.
        """
        while len(self._waiting) >= self._bound and not self._is_over():
            self._taken.clear()
            await self._taken.wait()
        if self._is_over():
            return False
        self._waiting.append(message)
        self._arrived.set()
        return True

    async def get(self) -> Any:
        """The next message; END behind the last one.

        Cancellation: loses nothing.
        """
        while not self._waiting:
            if self._is_over():
                return END
            self._arrived.clear()
            await self._arrived.wait()
        self._taken.set()
        return self._waiting.popleft()

    def end(self) -> None:
        """Nothing more comes; what waits can still be read."""
        self._is_ended = True
        self._wake()

    def close(self) -> None:
        """Nothing more comes, and what waits is dropped."""
        self._is_closed = True
        self._waiting.clear()
        self._wake()

    def _is_over(self) -> bool:
        return self._is_ended or self._is_closed

    def _wake(self) -> None:
        self._arrived.set()
        self._taken.set()
