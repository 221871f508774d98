"""What a peer may say beside its batches: of calls and of messages, it is bounded, and the error says so."""

from __future__ import annotations

import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch
from flowctl_aio.codec.envelope import MAX_AROUND_BYTES, MAX_ENTRIES, Envelope, decode, encode_frame, encode_rows
from flowctl_aio.component import Processor
from flowctl_aio.errors import CodecError, FrameCorruptError, FrameTooLargeError, PeerError
from flowctl_aio.streams.handshake import Role, meet
from flowctl_aio.transport.call import call_unary, open_call
from flowctl_aio.transport.channel import open_data_channel
from flowctl_aio.transport.options import MAX_METADATA_BYTES, METADATA_BYTES
from flowctl_aio.types import Event

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
PING = "/flowctl.EventProcessor/Ping"


class Echo(Processor):
    async def process(self, batch):
        return batch


def rows(entries: int, *, payload: bytes = b"x", length: int = 1) -> EventBatch:
    metadata = {f"key-{index}": "v" * length for index in range(entries)}
    return EventBatch.from_events([Event("E", payload, metadata=metadata)])


async def test_the_metadata_of_a_call_is_bounded_and_the_error_says_so(serve):
    session = await serve(Echo())
    async with open_data_channel(session.endpoint, max_message_bytes=MIB) as channel:
        with pytest.raises(PeerError, match="metadata") as caught:
            await call_unary(
                channel,
                PING,
                wire.Empty(),
                wire.Pong,
                timeout=5,
                metadata=(("x-long", "v" * MAX_METADATA_BYTES),),
            )
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        with pytest.raises(PeerError, match="metadata"):
            async with open_call(
                channel,
                Role.PROCESSOR.method((await meet(channel, Role.PROCESSOR)).dialect),
                answers=True,
                metadata=(("x-long", "v" * MAX_METADATA_BYTES),),
            ) as call:
                await call.read()


async def test_a_long_token_is_within_the_bound(serve):
    session = await serve(Echo())
    async with open_data_channel(session.endpoint, max_message_bytes=MIB) as channel:
        token = ("authorization", "v" * (METADATA_BYTES - 1024))
        assert await call_unary(channel, PING, wire.Empty(), wire.Pong, timeout=5, metadata=(token,))


@pytest.mark.parametrize("envelope", [Envelope.EVENT, Envelope.EVENT_V1])
def test_the_entries_of_a_row_are_bounded_where_it_is_sent_and_where_it_comes(envelope):
    (data,) = encode_rows(envelope, rows(MAX_ENTRIES - 1), limit=MIB)
    decode(envelope, data, limit=MIB)
    message = envelope.message.FromString(data)
    message.metadata.update({f"more-{index}": "" for index in range(2)})
    with pytest.raises(FrameCorruptError, match=f"{MAX_ENTRIES + 1} entries of metadata"):
        decode(envelope, message.SerializeToString(), limit=MIB)
    with pytest.raises(CodecError, match=f"event 'E' has {MAX_ENTRIES + 1} entries of metadata"):
        list(encode_rows(envelope, rows(MAX_ENTRIES + 1), limit=MIB))


@pytest.mark.parametrize("envelope", Envelope)
def test_the_entries_of_a_frame_are_bounded(envelope):
    message = envelope.message.FromString(encode_frame(envelope, rows(1), number=0, limit=MIB))
    message.metadata.update({f"more-{index}": "" for index in range(MAX_ENTRIES)})
    with pytest.raises(FrameCorruptError, match="entries of metadata, above the limit"):
        decode(envelope, message.SerializeToString(), limit=MIB)


@pytest.mark.parametrize("envelope", Envelope)
def test_what_is_around_a_payload_is_bounded(envelope):
    message = envelope.message.FromString(encode_frame(envelope, rows(1), number=0, limit=MIB))
    message.metadata["long"] = "v" * MAX_AROUND_BYTES
    with pytest.raises(FrameTooLargeError, match="what is around a payload"):
        decode(envelope, message.SerializeToString(), limit=8 * MIB)


def test_a_row_with_more_around_its_payload_than_a_reader_takes_is_not_sent():
    with pytest.raises(FrameTooLargeError, match="what is around the payload of event 'E'"):
        list(encode_rows(Envelope.EVENT, rows(2, length=MAX_AROUND_BYTES), limit=8 * MIB))
