"""Move a range of ledgers from a source through processors into a sink, an epoch at a time.

The runner is a client of each of them, as flowctl's own orchestrator is: the data passes through it
as batches, and the sink's acknowledgements tell how far the pipeline has come for certain.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import anyio

from flowctl_aio.batches import Batch, LedgerBatch
from flowctl_aio.session import FlowctlSession
from flowctl_aio.streams.sink import SinkClient
from flowctl_aio.streams.stream import BatchStream
from flowctl_aio.types import Ack, Cursor, LedgerRange


@dataclass(slots=True)
class Progress:
    """How far a pipeline has come.

    Attributes:
        ledgers, batches_in, bytes_in: taken from the source.
        batches_out, rows_out: given to the sink.
        rows_acknowledged, epochs, acks: what the sink has made durable.
        cursor: everything up to here, included, is durable; None before the first acknowledgement.
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
        epoch_batches, epoch_interval: an epoch ends after so many batches or seconds, whichever comes first,
            and never inside a ledger.
        on_progress: called after each batch and each acknowledgement; must be quick.
        on_batch: called with each batch that goes to the sink; must be quick.
    """

    def __init__(
        self,
        session: FlowctlSession,
        *,
        source: str | None = None,
        processors: Sequence[str | None] = (None,),
        sink: str | None = None,
        epoch_batches: int = 64,
        epoch_interval: float = 10.0,
        on_progress: Callable[[Progress], None] | None = None,
        on_batch: Callable[[Batch], None] | None = None,
    ) -> None:
        self.progress = Progress()
        self._session = session
        self._source, self._processors, self._sink = source, processors, sink
        self._epoch_batches, self._epoch_interval = epoch_batches, epoch_interval
        self._on_progress, self._on_batch = on_progress, on_batch

    async def run(self, ledgers: LedgerRange, *, network: str = "") -> Progress:
        """Run to the end of the range.

        Returns:
            What was done; everything in it is acknowledged.

        Raises:
            PeerNotFoundError: if a peer cannot be discovered.
            StreamError: if a peer fails; what `progress.cursor` covers is durable all the same.

        Cancellation: abandons the open epoch, which the sink then forgets.
        """
        async with AsyncExitStack() as stack:
            source = await stack.enter_async_context(self._session.source(self._source))
            sink = await stack.enter_async_context(self._session.sink(self._sink))
            inputs = source.stream(ledgers.first, ledgers.last, network=network)
            flow: AsyncIterable[Batch] = self._counted(inputs)
            for address in self._processors:
                processor = await stack.enter_async_context(self._session.processor(address))
                stream: BatchStream = processor.stream(flow)
                flow = stream
            await self._pour(flow, sink)
        return self.progress

    async def _counted(self, batches: BatchStream) -> AsyncIterator[Batch]:
        async for batch in batches:
            self.progress.batches_in += 1
            self.progress.bytes_in = batches.bytes
            if isinstance(batch, LedgerBatch):
                self.progress.ledgers += len(batch)
            self._tell()
            yield batch

    async def _pour(self, flow: AsyncIterable[Batch], sink: SinkClient) -> None:
        epoch = _OpenEpoch(anyio.current_time())
        async for batch in flow:
            if self._is_due(epoch) and epoch.ends_before(batch):
                await self._flush(sink, epoch)
                epoch = _OpenEpoch(anyio.current_time())
            await sink.send(batch)
            epoch.note(batch)
            self.progress.batches_out += 1
            self.progress.rows_out += len(batch)
            if self._on_batch is not None:
                self._on_batch(batch)
            self._tell()
        await self._flush(sink, epoch)

    def _is_due(self, epoch: _OpenEpoch) -> bool:
        return epoch.batches >= self._epoch_batches or anyio.current_time() - epoch.began >= self._epoch_interval

    async def _flush(self, sink: SinkClient, epoch: _OpenEpoch) -> None:
        ack = await sink.flush()
        if ack is None:
            return
        self.progress.epochs += 1
        self.progress.rows_acknowledged += ack.rows
        self.progress.acks.append(ack)
        self.progress.cursor = epoch.last or self.progress.cursor
        self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.progress)


@dataclass(slots=True)
class _OpenEpoch:
    began: float
    batches: int = 0
    last: Cursor | None = None
    is_whole: bool = True

    def note(self, batch: Batch) -> None:
        """Count a batch that was sent."""
        self.batches += 1
        self.last = batch.last_cursor or self.last
        self.is_whole = batch.last_cursor is not None or batch.first_cursor is None

    def ends_before(self, batch: Batch) -> bool:
        """Whether all that was sent is whole, and `batch` belongs to later ledgers only.

        A batch that is too large for one message comes in parts, of which only the last one says how far
        the whole went. A sink that replaces what it has of a ledger must get them in one epoch.
        """
        return self.is_whole and (batch.first_cursor is None or self.last is None or batch.first_cursor > self.last)
