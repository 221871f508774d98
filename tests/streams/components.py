"""Components that wait for their test, and tell what became of their streams and epochs."""

from __future__ import annotations

import anyio

from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.component import Processor, Sink, Source
from flowctl_aio.types import Cursor, Event, RawLedger

MIB = 1024 * 1024


def ledger(sequence: int) -> LedgerBatch:
    return LedgerBatch.from_ledgers([RawLedger(sequence, b"xdr")])


def event(sequence: int) -> EventBatch:
    return EventBatch.from_events([Event("E", b"payload", cursor=Cursor(sequence))])


class GatedSource(Source):
    """Gives ledgers when its gate is open, and tells when a generator of it was closed."""

    def __init__(self) -> None:
        self.gate, self.asked, self.closed = anyio.Event(), anyio.Event(), anyio.Event()

    async def stream(self, request):
        try:
            self.asked.set()
            await self.gate.wait()
            for sequence in range(request.start, (request.end or 2**31) + 1):
                yield ledger(sequence)
        finally:
            self.closed.set()


class Echo(Processor):
    flushes = 0

    async def process(self, batch):
        return batch

    async def flush(self):
        self.flushes += 1


class Ledger(Sink):
    """Keeps what it consumes per epoch, and tells what became of each."""

    def __init__(self) -> None:
        self.consumed, self.aborted = anyio.Event(), anyio.Event()
        self.open: dict[int, list[int]] = {}
        self.committed: list[list[int]] = []
        self.aborts = 0

    async def consume(self, batch, epoch):
        self.open.setdefault(id(epoch), []).extend(row.cursor.sequence for row in batch)
        self.consumed.set()

    async def commit(self, epoch):
        self.committed.append(self.open.pop(id(epoch), []))

    async def abort(self, epoch):
        self.open.pop(id(epoch), None)
        self.aborts += 1
        self.aborted.set()
