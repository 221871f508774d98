"""Batches → raw messages, in the form that the peer understands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from flowctl_aio.batches import Batch, EventBatch, LedgerBatch
from flowctl_aio.codec.envelope import End, Envelope, encode_end, encode_frame, encode_rows
from flowctl_aio.codec.split import split
from flowctl_aio.errors import UsageError
from flowctl_aio.observe.tracing import Carrier
from flowctl_aio.streams.handshake import ARROW, END_MARKER
from flowctl_aio.streams.spans import sending
from flowctl_aio.types import NOTHING

# The envelope and the IPC framing around a batch that is itself within the limit.
FRAMING_BYTES = 64 * 1024


class BatchWriter:
    """Batches into a call.

    Args:
        write: takes one raw message, and waits while the call has no room.
        capabilities: what the peer said it can do.
        target: size up to which a batch travels whole, in bytes.
        limit: longest message to send, in bytes; `stranger_limit` is that of a peer who does not know this SDK.
        call: trace context of the call.
    """

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        envelope: Envelope,
        *,
        capabilities: frozenset[str],
        target: int,
        limit: int,
        stranger_limit: int,
        call: Carrier = NOTHING,
    ) -> None:
        self._write, self._envelope, self._call = write, envelope, call
        self._arrow = ARROW in capabilities
        self._marks_ends = END_MARKER in capabilities
        self._limit = limit if self._arrow else min(limit, stranger_limit)
        self._target = min(target, limit - FRAMING_BYTES)
        self._held = b""
        self.batches = self.rows = self.bytes = 0

    async def send(self, batch: Batch, *, parent: Carrier = NOTHING) -> None:
        """Send a batch, cut down to the target size.

        Args:
            parent: trace context that it belongs to; by default that of the batch, or of the current span.

        Raises:
            UsageError: if it is no batch.
            FrameTooLargeError: if one row is above the limit; nothing of it was sent.
            StreamError: if the call is over.
        """
        if not isinstance(batch, LedgerBatch | EventBatch):
            raise UsageError(f"a stream carries LedgerBatch and EventBatch, not {type(batch).__name__}")
        with sending(batch, call=self._call, parent=parent) as span:
            # Where nobody traces, what came with the batch is passed on.
            trace = span.carrier() or parent or batch.trace
            if self._arrow:
                await self._send_frames(batch, trace)
            else:
                await self._send_rows(batch, trace)

    async def _send_rows(self, batch: Batch, trace: Carrier) -> None:
        for message in encode_rows(self._envelope, batch, limit=self._limit, trace=trace):
            await self._write(message)
            self.rows += 1
            self.bytes += len(message)
        self.batches += 1

    async def _send_frames(self, batch: Batch, trace: Carrier) -> None:
        for part in split(batch, target=self._target, limit=self._limit):
            message = encode_frame(self._envelope, part, number=self.batches, limit=self._limit, trace=trace)
            # Kept until the next one is made, not longer: grpc's copy then takes the place of the one before. Freed
            # together, the two would go back to the kernel, and fresh pages cost more than all the rest of sending.
            self._held = message
            await self._write(message)
            self.batches += 1
            self.rows += len(part)
            self.bytes += len(message)

    async def end(self) -> None:
        """Say that this was all. A peer that does not know end markers takes the end of the stream for it."""
        if self._marks_ends:
            await self._write(encode_end(self._envelope, End(self.batches, self.rows)))
