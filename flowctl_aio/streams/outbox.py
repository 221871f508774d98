"""Batches on their way to a call: a bounded queue between those who send and the one task that writes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

import anyio

from flowctl_aio.batches import Batch, EventBatch, LedgerBatch
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.observe import tracing
from flowctl_aio.observe.tracing import Carrier
from flowctl_aio.streams.send import BatchWriter, check_batch
from flowctl_aio.streams.spans import joined

# Only batches up to the first are joined, and to no more rows and bytes than the others. Above it, the fixed cost of a
# message is a small part of what it costs anyway.
SMALL_BYTES, JOINED_ROWS, JOINED_BYTES = 16 * 1024, 4096, 256 * 1024


class Entry(NamedTuple):
    """A batch with the trace context of whoever sent it: the task that writes knows none of that."""

    batch: Batch
    trace: Carrier
    size: int

    @classmethod
    def of(cls, batch: Batch, trace: Carrier) -> Entry:
        # That of all buffers is no less than that of the batch's own rows, which takes thirty times as long to find.
        size = batch.record_batch.get_total_buffer_size()
        return cls(batch, trace, size if size <= SMALL_BYTES else batch.nbytes)


class Outbox:
    """The twin of `Inbox`. With a linger time, it joins small batches of one kind that lie one behind the other.

    Args:
        joins: whether the peer takes a batch as one message, so that joining makes fewer of them.
    """

    def __init__(self, config: FlowctlConfig, *, joins: bool) -> None:
        self._max, self._max_bytes = config.max_inflight, config.max_inflight_bytes
        self._linger = config.linger if joins else 0.0
        self._waiting: deque[Entry] = deque()
        self._bytes = 0
        self._came, self._room = asyncio.Event(), asyncio.Event()
        self._is_sealed = False

    @property
    def has_room(self) -> bool:
        """Whether a batch may be put in now. Full means that the peer is behind, and whoever sends waits."""
        # One batch may be there in any case, or a long one would never pass.
        return len(self._waiting) < self._max and (self._bytes < self._max_bytes or not self._waiting)

    def put(self, batch: Batch, trace: Carrier) -> int:
        """Put a batch in, to be called only while there is room; returns its size in bytes, which may be rounded up."""
        entry = Entry.of(batch, trace)
        self._waiting.append(entry)
        self._bytes += entry.size
        self._came.set()
        return entry.size

    async def wait_room(self) -> None:
        """Return when there may be room again, or there will never be.

        Cancellation: safe at any point.
        """
        self._room.clear()
        if not self._is_sealed:
            await self._room.wait()

    def seal(self) -> None:
        """Nothing more comes. May be called twice."""
        self._is_sealed = True
        self._came.set()
        self._room.set()

    def clear(self) -> None:
        """Drop what is in it."""
        self._waiting.clear()
        self._bytes = 0

    async def next(self) -> Entry | None:
        """What to write next; None when it is sealed, and empty.

        Cancellation: may lose what it was about to return; only a task that ends with its call may await this.
        """
        while not self._waiting:
            if self._is_sealed:
                return None
            self._came.clear()
            await self._came.wait()
        heap = Heap(self._take())
        if self._linger and heap.is_small:
            with anyio.move_on_after(self._linger):
                await self._fill(heap)
        return heap.entry()

    async def _fill(self, heap: Heap) -> None:
        while True:
            if self._waiting:
                if not heap.takes(self._waiting[0]):
                    return
                heap.add(self._take())
            elif self._is_sealed:
                return
            else:
                self._came.clear()
                await self._came.wait()

    def _take(self) -> Entry:
        entry = self._waiting.popleft()
        self._bytes -= entry.size
        self._room.set()
        return entry


async def send_joined(batches: AsyncIterator[Batch], outbox: Outbox, writer: BatchWriter) -> None:
    """Send all of `batches`, joined as the outbox does it. They are asked for here, and written by a task beside.

    Raises:
        ExceptionGroup: of what they raised, or the writer.

    Cancellation: passes through to both.
    """

    async def write() -> None:
        while (entry := await outbox.next()) is not None:
            await writer.send(entry.batch, parent=entry.trace)

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        async for batch in batches:
            check_batch(batch)
            while not outbox.has_room:
                await outbox.wait_room()
            outbox.put(batch, batch.trace or tracing.current())
        outbox.seal()


class Heap:
    """Batches that will be one: the same columns, the same event type, and cursors that go on."""

    def __init__(self, first: Entry) -> None:
        self._entries = [first]
        self._rows, self._bytes = len(first.batch), first.size

    @property
    def is_small(self) -> bool:
        """Whether more may be joined to it."""
        return self._rows < JOINED_ROWS and self._entries[0].size <= SMALL_BYTES

    def takes(self, entry: Entry) -> bool:
        """Whether it may be joined to what is here."""
        batch, last = entry.batch, self._entries[-1].batch
        return (
            type(batch) is type(last)
            and batch.event_type == last.event_type
            and entry.size <= SMALL_BYTES
            and self._rows + len(batch) <= JOINED_ROWS
            and self._bytes + entry.size <= JOINED_BYTES
            # A part of a larger batch says by a missing cursor that it is one.
            and (batch.first_cursor is None) == (last.first_cursor is None)
            and (batch.last_cursor is None) == (last.last_cursor is None)
            and batch.schema.equals(last.schema, check_metadata=True)
        )

    def add(self, entry: Entry) -> None:
        """Join one that it takes."""
        self._entries.append(entry)
        self._rows += len(entry.batch)
        self._bytes += entry.size

    def entry(self) -> Entry:
        """All of it as one, with a trace context that is linked to each of theirs."""
        if len(self._entries) == 1:
            return self._entries[0]
        import pyarrow as pa

        first, last = self._entries[0].batch, self._entries[-1].batch
        rows = pa.concat_batches([one.batch.record_batch for one in self._entries])
        # Each once; several batches of one trace are common.
        traces = list({tuple(sorted(trace.items())): trace for _, trace, _ in self._entries if trace}.values())
        whole: Batch
        if isinstance(first, LedgerBatch):
            whole = LedgerBatch(rows)
        else:
            whole = EventBatch(
                rows, event_type=first.event_type, first_cursor=first.first_cursor, last_cursor=last.last_cursor
            )
        return Entry(whole, joined(traces), self._bytes)
