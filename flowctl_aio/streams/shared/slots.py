"""Which parts of a ring are in use: pure bookkeeping of the side that writes. Knows no memory and no messages."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from typing import NamedTuple

# Arrow's buffers want 8; a cache line keeps two slots from sharing one.
ALIGNMENT = 64


class Slot(NamedTuple):
    """A part of a ring that holds one frame.

    Attributes:
        offset, length: of the frame, in bytes from the beginning of the ring.
        mark: number of the word in which the reader notes that it is done with it.
        turn: what it writes there; each turn is used once.
    """

    offset: int
    length: int
    mark: int
    turn: int

    @property
    def end(self) -> int:
        return self.offset + self.length


class Slots:
    """The slots of one ring.

    The lowest gap that is large enough is given out. A strict ring order would go round all of the memory, which
    then never stays in the processor's caches, and one batch that is kept would block all that lies behind it.

    Args:
        start, end: of the part that slots may take.
        marks: how many slots there may be at a time.
    """

    def __init__(self, start: int, end: int, marks: int) -> None:
        self._start, self._end = start, end
        self._used: list[Slot] = []
        self._marks = list(range(marks))
        self._turn = 0

    def __len__(self) -> int:
        return len(self._used)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._used)

    def limit(self, end: int) -> None:
        """Give out nothing behind `end` from now on."""
        self._end = end

    def take(self, length: int) -> Slot | None:
        """A slot of `length` bytes; None if there is no room, or no mark, for one more."""
        if not self._marks:
            return None
        offset = self._start
        for slot in self._used:
            if slot.offset - offset >= length:
                break
            offset = -(-slot.end // ALIGNMENT) * ALIGNMENT
        if offset + length > self._end:
            return None
        self._turn += 1
        slot = Slot(offset, length, self._marks.pop(), self._turn)
        insort(self._used, slot)
        return slot

    def free(self, slot: Slot) -> None:
        """Take back a slot."""
        self._used.remove(slot)
        self._marks.append(slot.mark)

    def sweep(self, is_done: Callable[[Slot], bool]) -> None:
        """Take back those slots that the reader is done with."""
        for slot in [slot for slot in self._used if is_done(slot)]:
            self.free(slot)
