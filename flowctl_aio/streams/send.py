"""Batches → raw messages, in the form that the peer understands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from flowctl_aio.batches import Batch, EventBatch, LedgerBatch
from flowctl_aio.codec.envelope import End
from flowctl_aio.errors import UsageError
from flowctl_aio.observe.tracing import Carrier
from flowctl_aio.streams.forms import Encoder
from flowctl_aio.streams.spans import sending
from flowctl_aio.types import NOTHING


def check_batch(batch: Any) -> None:
    """Raises UsageError: if it is no batch."""
    if not isinstance(batch, LedgerBatch | EventBatch):
        raise UsageError(f"a stream carries LedgerBatch and EventBatch, not {type(batch).__name__}")


class BatchWriter:
    """Batches into a call.

    Args:
        write: takes one raw message, and waits while the call has no room.
        encoder: makes the messages.
        call: trace context of the call.
        write_marker: the same for what is no batch; by default `write`.

    Attributes:
        batches, rows, bytes: what has been written so far.
    """

    def __init__(
        self,
        write: Callable[[Any], Awaitable[None]],
        encoder: Encoder,
        *,
        call: Carrier = NOTHING,
        write_marker: Callable[[Any], Awaitable[None]] | None = None,
    ) -> None:
        self._write, self._encoder, self._call = write, encoder, call
        self._write_marker = write_marker or write
        self._held: Any = b""
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
        check_batch(batch)
        with sending(batch, call=self._call, parent=parent) as span:
            # Where nobody traces, what came with the batch is passed on.
            trace = span.carrier() or parent or batch.trace
            for message in self._encoder.encode(batch, trace):
                # Kept until the next one is made, not longer: grpc's copy then takes the place of the one before. Freed
                # together, the two would go back to the kernel, and fresh pages cost more than all the rest of sending.
                self._held = message.data
                await self._write(message.data)
                self.batches += self._encoder.is_framed
                self.rows += message.rows
                self.bytes += len(message.data) + message.beside
            self.batches += not self._encoder.is_framed

    async def end(self) -> None:
        """Say that this was all. A peer that does not know end markers takes the end of the stream for it."""
        marker = self._encoder.encode_end(End(self.batches, self.rows))
        if marker is not None:
            await self._write_marker(marker)
