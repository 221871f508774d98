"""Which batches of a stream may begin, and which may send: the bookkeeping of concurrency. Knows no gRPC."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from anyio import CancelScope

from flowctl_aio.batches import Batch
from flowctl_aio.component import Order


@dataclass(eq=False, slots=True)
class Entry:
    """A batch from when it was read until its last output was sent.

    Attributes:
        may_begin: set when the component may have it.
        may_send: set when all that came before it are through; in the order of completion it is never asked.
        scope: around all that is done for it.
    """

    batch: Batch
    key: Hashable | None
    may_begin: asyncio.Event = field(default_factory=asyncio.Event)
    may_send: asyncio.Event = field(default_factory=asyncio.Event)
    scope: CancelScope = field(default_factory=CancelScope)
    is_at_work: bool = False
    holds_key: bool = False


class Line:
    """The batches of one stream that are inside, in the order in which they came.

    At most `width` are at work, and as many again wait: for their turn to send, for room, or for the one before them
    with the same key. A free lane always goes to the first that may have it: were it given to a later one, that
    could wait for its turn to send with the lane in its hands, while an earlier one waits for a lane.

    Args:
        counted: told how many batches more, or less, wait to begin.
    """

    def __init__(self, width: int, order: Order, *, counted: Callable[[int], None] = lambda more: None) -> None:
        self._width, self._order, self._counted = width, order, counted
        self._inside: deque[Entry] = deque()
        self._waiting: list[Entry] = []
        self._busy: set[Hashable] = set()
        self._at_work = 0
        self._left = asyncio.Event()

    def __len__(self) -> int:
        return len(self._inside)

    async def wait_for_room(self) -> None:
        """Return when one more may come in.

        Cancellation: safe at any point.
        """
        while len(self._inside) >= 2 * self._width:
            self._left.clear()
            await self._left.wait()

    def enter(self, entry: Entry) -> None:
        self._inside.append(entry)
        self._waiting.append(entry)
        self._counted(1)
        self._go_on()

    def finish(self, entry: Entry) -> None:
        """The component is done with it; what it made may still have to wait. May be called twice."""
        if not entry.is_at_work:
            return
        entry.is_at_work = False
        self._at_work -= 1
        if self._order == "input":  # it is sent before those behind it in any case
            self._let_go(entry)
        self._go_on()

    def leave(self, entry: Entry) -> None:
        """It is through, or given up."""
        self._inside.remove(entry)
        self._let_go(entry)
        if not entry.may_begin.is_set():
            self._waiting.remove(entry)
            self._counted(-1)
        self.finish(entry)
        self._go_on()
        self._left.set()

    def overtaken(self, entry: Entry) -> list[Entry]:
        """Those that a fault of `entry` ends: what came after it; in the order of completion, all others."""
        inside = list(self._inside)
        if self._order == "input":
            return inside[inside.index(entry) + 1 :]
        return [other for other in inside if other is not entry]

    def _go_on(self) -> None:
        if self._inside:
            self._inside[0].may_send.set()
        while self._at_work < self._width and (entry := self._first()) is not None:
            self._waiting.remove(entry)
            self._counted(-1)
            self._at_work += 1
            entry.is_at_work = True
            if entry.key is not None:
                self._busy.add(entry.key)
                entry.holds_key = True
            entry.may_begin.set()

    def _let_go(self, entry: Entry) -> None:
        if entry.holds_key:
            self._busy.remove(entry.key)
            entry.holds_key = False

    def _first(self) -> Entry | None:
        return next((entry for entry in self._waiting if entry.key not in self._busy), None)
