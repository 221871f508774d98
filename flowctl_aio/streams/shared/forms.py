"""Batches → handles, and back, around the forms that travel otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowctl_aio.batches import Batch
from flowctl_aio.codec.arrow import frame_size, write_frame_into
from flowctl_aio.codec.envelope import End, Envelope, Received, decode_handle, encode_handle
from flowctl_aio.codec.split import split
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import CodecError
from flowctl_aio.observe.tracing import Carrier
from flowctl_aio.streams.forms import Decoder, Encoder, FrameEncoder, Message
from flowctl_aio.streams.handshake import SHARED_MEMORY, Offer, shares_memory
from flowctl_aio.streams.shared.loan import Loan, borrow, slot_to_text
from flowctl_aio.streams.shared.ring import BorrowedRing
from flowctl_aio.streams.shared.slots import Slot
from flowctl_aio.transport.call import OpenCall

# Below this a frame costs no more inside its message than beside it.
LEAST_BYTES = 32 * 1024


class SharedEncoder:
    """A frame into the ring and its handle into the stream; what finds no room goes as without a ring.

    Args:
        inline: makes the messages of those, and counts all frames.
        target, limit: in bytes, of a frame.
    """

    is_framed = True

    def __init__(
        self, envelope: Envelope, ring: BorrowedRing, inline: FrameEncoder, *, target: int, limit: int
    ) -> None:
        self._envelope, self._ring, self._inline = envelope, ring, inline
        self._target, self._limit = target, limit

    def encode(self, batch: Batch, trace: Carrier) -> Iterator[Message]:
        if batch.record_batch.get_total_buffer_size() < LEAST_BYTES:
            yield from self._inline.encode(batch, trace)
            return
        for part in split(batch, target=self._target, limit=self._limit):
            slot = self._put(part)
            if slot is None:
                yield from self._inline.encode(part, trace)
                continue
            handle = slot_to_text(slot)
            data = encode_handle(self._envelope, part, handle=handle, number=self._inline.number, trace=trace)
            self._inline.number += 1
            yield Message(data, len(part), beside=slot.length)

    def encode_end(self, end: End) -> bytes | None:
        return self._inline.encode_end(end)

    def close(self) -> None:
        self._ring.close()

    def _put(self, part: Batch) -> Slot | None:
        rows = part.record_batch
        size = frame_size(rows)
        if not LEAST_BYTES <= size <= self._limit:
            return None
        try:
            return self._ring.write(size, lambda room: write_frame_into(rows, room))
        except CodecError:  # the size of some cannot be told beforehand
            return None


class SharedDecoder:
    """Handles into the frames that they stand for; all else as without a ring."""

    def __init__(self, envelope: Envelope, loan: Loan, inline: Decoder, *, limit: int) -> None:
        self._envelope, self._loan, self._inline, self._limit = envelope, loan, inline, limit

    def decode(self, data: Any) -> Received:
        if not self._loan.is_made:
            return self._inline.decode(data)
        frame = decode_handle(self._envelope, data, look=self._loan.look, limit=self._limit)
        return self._inline.decode(data) if frame is None else frame


def sharing(encoder: Encoder, envelope: Envelope, peer: Offer, config: FlowctlConfig) -> Encoder:
    """`encoder` for a peer that lends a ring within our reach; as it is for others.

    Args:
        peer: what it offers for this one stream.
    """
    ring = borrow(config, peer) if isinstance(encoder, FrameEncoder) else None
    if ring is None or not isinstance(encoder, FrameEncoder):
        return encoder
    target, limit = config.target_message_bytes, config.max_message_bytes
    return SharedEncoder(envelope, ring, encoder, target=target, limit=limit)


async def sharing_over(
    call: OpenCall, encoder: Encoder, envelope: Envelope, peer: Offer, config: FlowctlConfig
) -> Encoder:
    """As `sharing`, for a client: what the peer offers for this one stream comes with its greeting, for which it waits.

    Raises:
        StreamError: if the call is over.

    Cancellation: safe at any point.
    """
    if not (isinstance(encoder, FrameEncoder) and shares_memory(config) and SHARED_MEMORY in peer.capabilities):
        return encoder
    return sharing(encoder, envelope, Offer.of(await call.peer_metadata()), config)


__all__ = ["LEAST_BYTES", "SharedDecoder", "SharedEncoder", "sharing", "sharing_over"]
