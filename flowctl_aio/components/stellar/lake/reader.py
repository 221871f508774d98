"""Reading a range of a lake: several objects at once, handed out strictly in ledger order.

An object that is asked for has a slot, and slots stand in ledger order. A slot is filled by a task of the caller's
task group, whenever its bytes come; it is emptied from the front. Nothing but this order is shared between the two
ends, so whoever waits at the front loses nothing when cancelled.

Source: SEP-54; sequence and hash rules from the ledger header itself.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread

from flowctl_aio.components.stellar.lake.keys import LakeLayout
from flowctl_aio.components.stellar.lake.objects import StoredLedger, decode_object
from flowctl_aio.components.stellar.lake.store import LakeStore, PassingError, with_retries
from flowctl_aio.errors import CodecError, FrameTooLargeError, LakeError, MissingLedgerError, UsageError

logger = logging.getLogger(__name__)

# Below this many stored bytes, decoding takes less than changing threads would.
_INLINE_BYTES = 16 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a range is read; the defaults are those of `Lake.open_ledgers`, which explains each."""

    prefetch_objects: int
    prefetch_bytes: int
    retries: int
    retry_interval: float
    poll_interval: float
    verify_chain: bool
    max_object_bytes: int


@dataclass(slots=True, eq=False)
class _Slot:
    """One object, asked for and not yet handed out whole."""

    first: int
    last: int
    arrived: anyio.Event = field(default_factory=anyio.Event)
    ledgers: list[StoredLedger] = field(default_factory=list)
    failure: Exception | None = None
    size: int = 0


class LedgerStream:
    """The ledgers of one range, in order, as an async iterator.

    Made by `Lake.open_ledgers`; works as long as that context is open. Iterate in one task at a time.
    Once it has failed it fails again in the same way, so that a second loop does not look like a clean end.
    """

    def __init__(
        self,
        store: LakeStore,
        layout: LakeLayout,
        first: int,
        last: int | None,
        *,
        tasks: anyio.abc.TaskGroup,
        threads: anyio.CapacityLimiter,
        count: Callable[[int], None],
        options: ReadOptions,
    ) -> None:
        self._store, self._layout = store, layout
        self._first, self._last = first, last
        self._tasks, self._threads, self._count, self._options = tasks, threads, count, options
        self._batches: Iterator[tuple[int, int]] = layout.batches(first, last)
        self._slots: deque[_Slot] = deque()
        self._held_bytes = 0
        self._ready: deque[StoredLedger] = deque()
        self._failure: Exception | None = None
        self._previous: StoredLedger | None = None
        self._fill_nowait()

    def __repr__(self) -> str:
        end = "" if self._last is None else str(self._last)
        arrived = sum(slot.arrived.is_set() for slot in self._slots)
        return f"<LedgerStream {self._store.url} {self._first}..{end} held={len(self._slots)} arrived={arrived}>"

    def __aiter__(self) -> LedgerStream:
        return self

    def close_nowait(self) -> None:
        """Ends the stream: whoever asks for a ledger now is told so, instead of waiting for what nobody fetches."""
        self._failure = UsageError(f"{self!r} is closed: ledgers are read inside of `async with lake.open_ledgers()`")
        self._ready.clear()
        for slot in self._slots:
            slot.ledgers, slot.failure = [], self._failure
            slot.arrived.set()

    async def __anext__(self) -> StoredLedger:
        """Gives the next ledger.

        Raises:
            MissingLedgerError: if the lake does not have it.
            LakeError: if its object cannot be read, or it does not follow the ledger before it.
            FrameTooLargeError: if its object decompresses to more than the limit.
            UsageError: if the context that made this stream was left.

        Cancellation: loses nothing; the same ledger comes at the next call.
        """
        await anyio.lowlevel.checkpoint()
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if not self._slots:
                raise StopAsyncIteration
            slot = self._slots[0]
            await slot.arrived.wait()
            if self._ready or not self._slots or self._slots[0] is not slot:
                continue  # somebody else took it meanwhile
            if not slot.ledgers:
                self._failure = slot.failure
            self._ready.extend(slot.ledgers)
        ledger = self._ready[0]
        self._check_chain(ledger)
        self._previous = ledger
        self._ready.popleft()
        if not self._ready:
            self._leave_nowait()
        return ledger

    def _fill_nowait(self) -> None:
        """Asks for as many further objects as the bounds allow.

        Nobody waits here: when the bounds are reached, taking an object off the front makes room.
        """
        options = self._options
        while self._failure is None and len(self._slots) < options.prefetch_objects:
            if self._slots and self._held_bytes >= options.prefetch_bytes:
                return
            batch = next(self._batches, None)
            if batch is None:
                return
            slot = _Slot(*batch)
            self._slots.append(slot)
            self._tasks.start_soon(self._fill, slot, name=f"lake object {slot.first}..{slot.last}")

    def _leave_nowait(self) -> None:
        """Gives up the front slot, whose last ledger was just handed out."""
        slot = self._slots.popleft()
        self._held_bytes -= slot.size
        # A slot may hold ledgers and then a failure: the ones before a hole are good.
        self._failure = slot.failure
        self._fill_nowait()

    async def _fill(self, slot: _Slot) -> None:
        try:
            ledgers = await self._read(slot)
        except Exception as error:  # noqa: BLE001 - whoever reaches this slot gets it, after all that lies before
            slot.failure = error
        else:
            slot.ledgers, slot.failure = self._select(slot, ledgers)
            slot.size = sum(len(ledger.xdr) for ledger in slot.ledgers)
            self._held_bytes += slot.size
        slot.arrived.set()

    async def _read(self, slot: _Slot) -> list[StoredLedger]:
        """Reads and decodes a slot's object, waiting for it to be written where the range has no end."""
        options = self._options
        key = self._layout.key_of(slot.first)
        where = f"{self._store.url}/{key}"
        told = False

        async def attempt() -> list[StoredLedger] | None:
            data = await self._store.get(key)
            if data is None:
                return None
            self._count(len(data))
            return await self._decode(slot, key, data)

        while True:
            ledgers = await with_retries(attempt, what=where, retries=options.retries, interval=options.retry_interval)
            if ledgers is not None:
                return ledgers
            if self._last is not None:
                raise MissingLedgerError(max(self._first, slot.first), self._store.url)
            if (front := self._first_absent(slot)) is not slot:
                # Objects are written in order: no use asking for this one before those in front are there.
                while front is not slot:
                    await front.arrived.wait()
                    front = self._first_absent(slot)
                continue
            if not told and any(later.ledgers for later in self._slots if later.first > slot.first):
                told = True
                logger.warning("%s is not there, but later ledgers are: waiting for it", where)
            await anyio.sleep(options.poll_interval * random.uniform(0.9, 1.1))

    def _first_absent(self, slot: _Slot) -> _Slot:
        """The first slot that waits for its object; `slot` itself waits, so there is one."""
        return next(other for other in self._slots if other is slot or not other.arrived.is_set())

    async def _decode(self, slot: _Slot, key: str, data: bytes) -> list[StoredLedger]:
        def decode() -> list[StoredLedger]:
            return decode_object(
                data, key=key, first=slot.first, last=slot.last, max_bytes=self._options.max_object_bytes
            )

        try:
            if len(data) <= _INLINE_BYTES:
                return decode()
            return await anyio.to_thread.run_sync(decode, limiter=self._threads)
        except FrameTooLargeError:
            raise
        except CodecError as error:
            # A download that was cut, or a file that is just being written, looks the same; the next try shows.
            raise PassingError(str(error)) from error

    def _select(self, slot: _Slot, ledgers: list[StoredLedger]) -> tuple[list[StoredLedger], Exception | None]:
        """Takes the ledgers of the range out of an object; the failure names the first that should be there too."""
        first = max(self._first, slot.first)
        last = slot.last if self._last is None else min(self._last, slot.last)
        inside = [ledger for ledger in ledgers if first <= ledger.sequence <= last]
        if not inside or inside[0].sequence != first:
            return [], MissingLedgerError(first, self._store.url)
        if inside[-1].sequence != last:
            return inside, MissingLedgerError(inside[-1].sequence + 1, self._store.url)
        return inside, None

    def _check_chain(self, ledger: StoredLedger) -> None:
        previous = self._previous
        if previous is None or not self._options.verify_chain:
            return
        if (reason := ledger.break_after(previous)) is not None:
            # The ledger stays where it is: asking again fails again.
            raise LakeError(f"{self._store.url}: {reason}")
