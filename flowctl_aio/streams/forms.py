"""The forms in which batches travel: how one becomes messages, and messages batches. No call, no await, no clock.

Which form it is depends on what the peer offers; above this nobody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from flowctl_aio.batches import Batch
from flowctl_aio.codec.arrow import NO_COMPRESSION
from flowctl_aio.codec.envelope import (
    End,
    Envelope,
    Frame,
    Known,
    Received,
    decode,
    encode_end,
    encode_frame,
    encode_rest,
    encode_rows,
)
from flowctl_aio.codec.split import split
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.observe.tracing import Carrier
from flowctl_aio.streams.handshake import ARROW, COMPRESSION, END_MARKER, SCHEMA_ONCE, Offer

# The envelope and the IPC framing around a batch that is itself within the limit.
FRAMING_BYTES = 64 * 1024
# Up to which size of its buffers a batch is small: above it, its schema is a small part of the message.
SMALL_BYTES = 16 * 1024


class Message(NamedTuple):
    """One message to write, how many rows are in it, and how many bytes of it lie beside it."""

    data: Any
    rows: int
    beside: int = 0


class Encoder(Protocol):
    """Batches → messages, for one stream.

    Attributes:
        is_framed: whether each message is a batch of its own, so that the peer can count them.
    """

    is_framed: bool

    def encode(self, batch: Batch, trace: Carrier) -> Iterator[Message]:
        """The messages of a batch, with the trace context `trace`. They are made one by one, as they are asked for.

        Raises:
            FrameTooLargeError: if one row is above the limit; nothing of it comes out.
            CodecError: if it cannot travel in this form.
        """
        ...

    def encode_end(self, end: End) -> Any | None:
        """The end marker; None where the peer takes the end of the stream for it."""
        ...

    def close(self) -> None:
        """Give back what it holds, with the stream. May be called twice."""
        ...


class Decoder(Protocol):
    """Messages → what is in them, for one stream."""

    def decode(self, data: Any) -> Received:
        """Read one message from outside.

        Raises:
            CodecError: if it cannot be read.
        """
        ...


class PlainEncoder:
    """One row a message, as everybody understands it."""

    is_framed = False

    def __init__(self, envelope: Envelope, *, limit: int, marks_ends: bool) -> None:
        self._envelope, self._limit, self._marks_ends = envelope, limit, marks_ends

    def encode(self, batch: Batch, trace: Carrier) -> Iterator[Message]:
        for data in encode_rows(self._envelope, batch, limit=self._limit, trace=trace):
            yield Message(data, 1)

    def encode_end(self, end: End) -> bytes | None:
        return encode_end(self._envelope, end) if self._marks_ends else None

    def close(self) -> None:
        pass


class FrameEncoder:
    """A batch a message, as Arrow, cut down to the target size.

    Args:
        schema_once: whether small batches do without the schema that the last frame had.

    Attributes:
        number: of the next frame.
    """

    is_framed = True

    def __init__(
        self,
        envelope: Envelope,
        *,
        target: int,
        limit: int,
        marks_ends: bool,
        compression: str = NO_COMPRESSION,
        schema_once: bool = False,
    ) -> None:
        self._envelope, self._limit, self._marks_ends = envelope, limit, marks_ends
        self._compression, self._schema_once = compression, schema_once and compression == NO_COMPRESSION
        self._known: Known | None = None
        self._target = min(target, limit - FRAMING_BYTES)
        self.number = 0

    def encode(self, batch: Batch, trace: Carrier) -> Iterator[Message]:
        for part in split(batch, target=self._target, limit=self._limit):
            data = self._rest(part, trace) or self._whole(part, trace)
            self.number += 1
            yield Message(data, len(part))

    def _rest(self, part: Batch, trace: Carrier) -> bytes | None:
        known, rows = self._known, part.record_batch
        if known is None or rows.get_total_buffer_size() > SMALL_BYTES:
            return None
        if not rows.schema.equals(known.schema, check_metadata=True):
            return None
        return encode_rest(self._envelope, part, number=self.number, known=known, trace=trace)

    def _whole(self, part: Batch, trace: Carrier) -> bytes:
        data = encode_frame(
            self._envelope,
            part,
            number=self.number,
            limit=self._limit,
            trace=trace,
            compression=self._compression,
        )
        if self._schema_once:
            self._known = Known(self.number, part.schema)
        return data

    def encode_end(self, end: End) -> bytes | None:
        return encode_end(self._envelope, end) if self._marks_ends else None

    def close(self) -> None:
        pass


class WireDecoder:
    """Everything that can come over the wire, told apart by what it says it is."""

    def __init__(self, envelope: Envelope, *, limit: int) -> None:
        self._envelope, self._limit = envelope, limit
        self._known: Known | None = None

    def decode(self, data: bytes) -> Received:
        received = decode(self._envelope, data, limit=self._limit, known=self._known)
        if isinstance(received, Frame) and received.has_schema and received.number is not None:
            self._known = Known(received.number, received.batch.schema)
        return received


def encoder_for(envelope: Envelope, peer: Offer, config: FlowctlConfig) -> Encoder:
    """What the peer understands best."""
    marks_ends = END_MARKER in peer.capabilities
    limit = config.max_message_bytes
    if ARROW in peer.capabilities:
        return FrameEncoder(
            envelope,
            target=config.target_message_bytes,
            limit=limit,
            marks_ends=marks_ends,
            compression=config.compression if COMPRESSION in peer.capabilities else NO_COMPRESSION,
            schema_once=SCHEMA_ONCE in peer.capabilities,
        )
    return PlainEncoder(envelope, limit=min(limit, config.stranger_message_bytes), marks_ends=marks_ends)


def decoder_for(envelope: Envelope, peer: Offer, config: FlowctlConfig) -> Decoder:
    """Reads whatever the peer may send."""
    return WireDecoder(envelope, limit=config.max_message_bytes)
