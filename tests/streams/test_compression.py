"""Compressed batches: only for peers that can read them, and never more than the limit when unpacked."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch
from flowctl_aio.codec.envelope import Envelope, Frame, decode, encode_frame
from flowctl_aio.component import Processor
from flowctl_aio.errors import FrameTooLargeError
from flowctl_aio.types import Event

pytestmark = pytest.mark.anyio

PAYLOAD = b"a ledger is much like the one before it" * 1000
KINDS = ["lz4", "zstd"]


def batch() -> EventBatch:
    return EventBatch.from_events([Event("E", PAYLOAD, id=str(number)) for number in range(10)])


class Echo(Processor):
    async def process(self, batch):
        return batch


async def inputs():
    yield batch()


@pytest.mark.parametrize("compression", KINDS)
async def test_batches_are_compressed_in_both_directions_between_peers_that_can(serve, drive, compression):
    session = await serve(Echo(), compression=compression, shared_memory=False)
    async with (
        drive(compression=compression, shared_memory=False) as driver,
        driver.processor(session.endpoint) as processor,
        processor.stream(inputs()) as stream,
    ):
        (made,) = [made async for made in stream]
        assert [row.payload for row in made] == [PAYLOAD] * 10
        assert stream.bytes < len(PAYLOAD)
    assert session.metrics()["bytes_in_total"] < len(PAYLOAD)


async def test_what_is_not_asked_for_is_not_compressed(serve, drive):
    session = await serve(Echo(), shared_memory=False)
    async with (
        drive(shared_memory=False) as driver,
        driver.processor(session.endpoint) as processor,
        processor.stream(inputs()) as stream,
    ):
        await anext(stream)
        assert stream.bytes > 10 * len(PAYLOAD)


@pytest.mark.parametrize("compression", KINDS)
async def test_a_peer_that_does_not_offer_it_gets_plain_buffers(serve, compression):
    session = await serve(Echo(), compression=compression, shared_memory=False)
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        call = channel.stream_stream("/flowctl.EventProcessor/Process")(metadata=(("flowctl-aio", "arrow,end-marker"),))
        await call.write(encode_frame(Envelope.EVENT, batch(), number=0, limit=10**7))
        answer = await call.read()
        call.cancel()
    assert len(answer) > 10 * len(PAYLOAD)


@pytest.mark.parametrize("compression", KINDS)
async def test_a_bomb_is_refused_by_what_it_claims(serve, compression):
    """A frame that is short on the wire, and would unpack to more than a message may have."""
    session = await serve(Echo(), max_message_bytes=256 * 1024, shared_memory=False)
    bomb = encode_frame(Envelope.EVENT, batch(), number=0, limit=10**7, compression=compression)
    assert len(bomb) < 64 * 1024
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        call = channel.stream_stream("/flowctl.EventProcessor/Process")(
            metadata=(("flowctl-aio", "arrow,compression"),)
        )
        await call.write(bomb)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert "an unpacked frame takes" in caught.value.details()
    assert "above the limit of 262144" in caught.value.details()


@pytest.mark.parametrize("compression", KINDS)
@pytest.mark.parametrize("envelope", Envelope)
def test_a_bomb_behind_a_known_schema_is_refused_too(envelope, compression):
    for _ in range(2):  # the second one is read with the schema of the first
        small = encode_frame(envelope, batch().slice(0, 1), number=0, limit=10**7, compression=compression)
        found = decode(envelope, small, limit=256 * 1024)
        assert isinstance(found, Frame)
        bomb = encode_frame(envelope, batch(), number=0, limit=10**7, compression=compression)
        with pytest.raises(FrameTooLargeError, match="an unpacked frame"):
            decode(envelope, bomb, limit=256 * 1024)


def test_a_compressed_frame_is_an_ordinary_message():
    message = wire.Event.FromString(encode_frame(Envelope.EVENT, batch(), number=0, limit=10**7, compression="zstd"))
    assert message.metadata["content-type"] == "application/vnd.apache.arrow.stream"
    assert message.metadata["arrow-rows"] == "10"
