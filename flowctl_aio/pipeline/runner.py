"""Move a range of ledgers from a source through processors into a sink, an epoch at a time.

The runner is a client of each of them, as flowctl's own orchestrator is: the data passes through it
as batches, and the sink's acknowledgements tell how far the pipeline has come for certain.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from os import PathLike
from typing import TypeAlias

from flowctl_aio.batches import Batch, LedgerBatch
from flowctl_aio.errors import StreamTruncatedError, UsageError
from flowctl_aio.pipeline.checkpoint import FileCheckpoint, SourceCheckpoint
from flowctl_aio.session import FlowctlSession
from flowctl_aio.streams.epoch import EPOCH_BATCHES, EPOCH_BYTES, EPOCH_INTERVAL
from flowctl_aio.streams.resume import Checkpoint
from flowctl_aio.streams.sink import SinkClient
from flowctl_aio.streams.source import SourceClient
from flowctl_aio.streams.stream import BatchStream
from flowctl_aio.types import Ack, Cursor, LedgerRange

# A file, the source, or anything else that keeps a cursor.
CheckpointPlace: TypeAlias = str | PathLike[str] | Checkpoint | SourceCheckpoint


@dataclass(slots=True)
class Progress:
    """How far a pipeline has come.

    Attributes:
        ledgers, batches_in, bytes_in: taken from the source; bytes are those of the rows in memory, however they came.
        batches_out, rows_out: given to the sink.
        rows_acknowledged, epochs, acks: what the sink has made durable.
        cursor: everything up to here, included, is durable; None before the first acknowledgement, unless a
            checkpoint says more.
    """

    ledgers: int = 0
    batches_in: int = 0
    bytes_in: int = 0
    batches_out: int = 0
    rows_out: int = 0
    rows_acknowledged: int = 0
    epochs: int = 0
    cursor: Cursor | None = None
    acks: list[Ack] = field(default_factory=list)


class Pipeline:
    """A source, processors in a row, and a sink.

    Args:
        session: who drives; its event types choose the peers where no address is given.
        source, sink: address of the peer; None to discover it.
        processors: addresses, in order; None to discover one. Empty for a source straight into a sink.
        epoch_batches, epoch_bytes, epoch_interval: an epoch ends after so many batches, bytes or seconds, whichever
            comes first, and never inside a ledger; None for no such limit.
        checkpoint: path of a file, or where else to keep how far the pipeline has come: it starts behind that, and
            moves it after each acknowledgement, before the next epoch goes to the sink.
        on_progress: called after each batch and each acknowledgement; must be quick.
        on_batch: called with each batch that goes to the sink; must be quick.

    Raises:
        UsageError: if `processors` is one address, and not several, or the session or the checkpoint is none.
    """

    def __init__(
        self,
        session: FlowctlSession,
        *,
        source: str | None = None,
        processors: Sequence[str | None] = (None,),
        sink: str | None = None,
        epoch_batches: int | None = EPOCH_BATCHES,
        epoch_bytes: int | None = EPOCH_BYTES,
        epoch_interval: float | None = EPOCH_INTERVAL,
        checkpoint: CheckpointPlace | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_batch: Callable[[Batch], None] | None = None,
    ) -> None:
        if not isinstance(session, FlowctlSession):
            raise UsageError(f"a pipeline is driven by a FlowctlSession, not {session!r}")
        if isinstance(processors, str):
            raise UsageError(f"the processors of a pipeline are a list of addresses, not {processors!r}")
        if not (checkpoint is None or isinstance(checkpoint, str | PathLike | SourceCheckpoint | Checkpoint)):
            raise UsageError(f"a checkpoint is a path, or has `load` and `save`, not {checkpoint!r}")
        self.progress = Progress()
        self._session = session
        self._source, self._processors, self._sink = source, processors, sink
        self._epoch_batches, self._epoch_bytes, self._epoch_interval = epoch_batches, epoch_bytes, epoch_interval
        self._place = FileCheckpoint(checkpoint) if isinstance(checkpoint, str | PathLike) else checkpoint
        self._checkpoint: Checkpoint | None = None
        self._reached: int | None = None  # the last ledger that the source gave
        self._on_progress, self._on_batch = on_progress, on_batch

    async def run(self, ledgers: LedgerRange, *, network: str = "") -> Progress:
        """Run to the end of the range, from its start or from behind the checkpoint.

        Returns:
            What was done; everything in it is acknowledged.

        Raises:
            PeerNotFoundError: if a peer cannot be discovered.
            StreamError: if a peer fails; what `progress.cursor` covers is durable all the same.
            StreamTruncatedError: if a source of ledgers ends before the last of the range; so is what came.
            ConfigError: if the checkpoint is none.
            UsageError: if `ledgers` is no LedgerRange.
            OSError: if it cannot be read or written.

        Cancellation: abandons the open epoch, which the sink then forgets.
        """
        if not isinstance(ledgers, LedgerRange):
            raise UsageError(f"a pipeline runs over a LedgerRange, not {ledgers!r}")
        self._reached = None
        async with AsyncExitStack() as stack:
            source = await stack.enter_async_context(self._session.source(self._source))
            await self._find_checkpoint(source)
            sink = await stack.enter_async_context(self._open_sink())
            inputs = source.stream(ledgers.first, ledgers.last, network=network)
            flow: AsyncIterable[Batch] = self._counted(inputs)
            for address in self._processors:
                processor = await stack.enter_async_context(self._session.processor(address))
                stream: BatchStream = processor.stream(flow)
                flow = stream
            await self._pour(flow, sink)
        self._check_end(ledgers, source.peer.address)
        return self.progress

    def _check_end(self, ledgers: LedgerRange, peer: str) -> None:
        """Only ledgers are without gaps: of events nobody knows which ledger the last one was to be of."""
        reached, last = self._reached, ledgers.last
        if reached is not None and last is not None and reached < last:
            raise StreamTruncatedError(f"the source ended behind ledger {reached}, and {last} was asked for", peer=peer)

    async def _counted(self, batches: BatchStream) -> AsyncIterator[Batch]:
        async for batch in batches:
            self.progress.batches_in += 1
            self.progress.bytes_in += batch.nbytes
            if isinstance(batch, LedgerBatch):
                self.progress.ledgers += len(batch)
                self._reached = batch.last_cursor.sequence if batch.last_cursor is not None else self._reached
            self._tell()
            yield batch

    async def _find_checkpoint(self, source: SourceClient) -> None:
        place = self._place
        self._checkpoint = place.at(source) if isinstance(place, SourceCheckpoint) else place
        if self._checkpoint is not None:
            source.resume = self.progress.cursor = await self._checkpoint.load()

    def _open_sink(self) -> AbstractAsyncContextManager[SinkClient]:
        return self._session.sink(
            self._sink,
            epoch_batches=self._epoch_batches,
            epoch_bytes=self._epoch_bytes,
            epoch_interval=self._epoch_interval,
            # The cursor of an epoch that ended inside a ledger would skip the rest of it.
            whole_ledgers=True,
            on_ack=self._note,
        )

    async def _pour(self, flow: AsyncIterable[Batch], sink: SinkClient) -> None:
        try:
            async for batch in flow:
                await sink.send(batch)
                self.progress.batches_out += 1
                self.progress.rows_out += len(batch)
                if self._on_batch is not None:
                    self._on_batch(batch)
                self._tell()
        except Exception:
            # An epoch that has ended is committed, or not; the progress shall tell which.
            await sink.settle()
            raise
        await sink.flush()

    async def _note(self, ack: Ack) -> None:
        """Move the checkpoint; only then does the next epoch go out, so that never more than one is done again."""
        cursor = ack.last_cursor or self.progress.cursor
        if self._checkpoint is not None and cursor is not None:
            await self._checkpoint.save(cursor)
        self.progress.epochs += 1
        self.progress.rows_acknowledged += ack.rows
        self.progress.acks.append(ack)
        self.progress.cursor = cursor
        self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.progress)
