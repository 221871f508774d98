"""Small batches of a stream without their schema, for peers that can read them; and never under a wrong one."""

from __future__ import annotations

import grpc
import grpc.aio
import pyarrow as pa
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch
from flowctl_aio.codec import arrow
from flowctl_aio.codec.envelope import Envelope, Known, encode_frame, encode_rest
from flowctl_aio.component import Processor
from flowctl_aio.errors import FrameCorruptError
from flowctl_aio.streams.forms import FrameEncoder, WireDecoder
from flowctl_aio.types import NOTHING, Event

pytestmark = pytest.mark.anyio

LIMIT = 10**6
REST, WHOLE = "application/vnd.flowctl-aio.rest", "application/vnd.apache.arrow.stream"
CAPABLE, WITHOUT = "arrow,end-marker,schema-once", "arrow,end-marker"


def batch(count: int = 1, size: int = 10) -> EventBatch:
    return EventBatch.from_events([Event("E", bytes(size), id=str(number)) for number in range(count)])


def typed(**columns) -> EventBatch:
    return EventBatch(pa.record_batch(columns), event_type="T")


def encoder(**options) -> FrameEncoder:
    return FrameEncoder(Envelope.EVENT, target=LIMIT, limit=LIMIT, marks_ends=True, schema_once=True, **options)


def kinds(messages) -> list[str]:
    return [wire.Event.FromString(message).metadata["content-type"] for message in messages]


def encoded(encoder, *batches) -> list[bytes]:
    return [message.data for batch in batches for message in encoder.encode(batch, NOTHING)]


class Echo(Processor):
    async def process(self, batch):
        return batch


def test_a_schema_is_sent_again_only_when_it_is_another():
    one, other = typed(x=[1]), typed(y=["a"])
    messages = encoded(encoder(), one, one, other, other, one, one)
    assert kinds(messages) == [WHOLE, REST, WHOLE, REST, WHOLE, REST]
    decoder = WireDecoder(Envelope.EVENT, limit=LIMIT)
    received = [decoder.decode(message).batch.record_batch for message in messages]
    assert received == [each.record_batch for each in (one, one, other, other, one, one)]


def test_columns_that_differ_only_in_what_is_written_on_them_are_others():
    plain = typed(x=[1])
    marked = EventBatch(plain.record_batch.replace_schema_metadata({"a": "b"}), event_type="T")
    messages = encoded(encoder(), plain, marked, marked)
    assert kinds(messages) == [WHOLE, WHOLE, REST]
    decoder = WireDecoder(Envelope.EVENT, limit=LIMIT)
    assert [decoder.decode(message).batch.schema.metadata for message in messages] == [None, {b"a": b"b"}, {b"a": b"b"}]


def test_it_saves_the_schema_and_no_more():
    whole, rest = encoded(encoder(), batch(), batch())
    schema = len(batch().schema.serialize())
    assert len(whole) - len(rest) == pytest.approx(schema, abs=40)


@pytest.mark.parametrize(
    "large",
    [
        batch(10, 10_000),
        typed(x=pa.array(["a", "b"]).dictionary_encode()),
    ],
)
def test_what_is_large_or_has_dictionaries_always_comes_whole(large):
    assert kinds(encoded(encoder(), large, large)) == [WHOLE, WHOLE]


def test_compressed_batches_always_come_whole():
    assert kinds(encoded(encoder(compression="zstd"), batch(), batch())) == [WHOLE, WHOLE]


@pytest.mark.parametrize("number", ["1", "2", "", "x", None])
def test_a_frame_under_the_schema_of_another_batch_is_corrupt(number):
    """A batch reads under any schema with as many buffers, and nobody would see that it is wrong."""
    decoder = WireDecoder(Envelope.EVENT, limit=LIMIT)
    whole, rest = encoded(encoder(), batch(), batch())
    decoder.decode(whole)
    message = wire.Event.FromString(rest)
    if number is None:
        del message.metadata["schema-of-batch"]
    else:
        message.metadata["schema-of-batch"] = number
    with pytest.raises(FrameCorruptError, match="schema"):
        decoder.decode(message.SerializeToString())


def test_a_frame_without_a_schema_before_any_is_corrupt():
    rest = encode_rest(Envelope.EVENT, batch(), number=0, known=Known(0, batch().schema))
    with pytest.raises(FrameCorruptError, match="the schema of batch 0"):
        WireDecoder(Envelope.EVENT, limit=LIMIT).decode(rest)


def test_other_columns_than_those_of_the_schema_are_corrupt():
    decoder = WireDecoder(Envelope.EVENT, limit=LIMIT)
    decoder.decode(encode_frame(Envelope.EVENT, typed(x=[1], y=["a"]), number=0, limit=LIMIT))
    rest = encode_rest(Envelope.EVENT, typed(x=[1]), number=1, known=Known(0, None))
    with pytest.raises(FrameCorruptError, match="cannot be read"):
        decoder.decode(rest)


@pytest.mark.parametrize("damage", ["schema", "twice", "nothing", "dictionary"])
def test_what_is_not_the_rest_of_a_frame_is_corrupt(damage):
    rows = batch().record_batch
    coded = pa.record_batch({"x": pa.array(["a"]).dictionary_encode()})
    schema = coded.schema if damage == "dictionary" else rows.schema
    payload = {
        "schema": arrow.write_frame(rows).to_pybytes(),
        "twice": 2 * rows.serialize().to_pybytes(),
        "nothing": b"",
        "dictionary": coded.serialize().to_pybytes(),
    }[damage]
    with pytest.raises(FrameCorruptError, match=r"without its schema|cannot be read"):
        arrow.read_frame(payload, expected_checksum="", expected_rows=None, limit=LIMIT, schema=schema)


def test_the_rest_of_a_frame_that_says_it_is_a_row_is_corrupt():
    whole, rest = encoded(encoder(), batch(), batch())
    decoder = WireDecoder(Envelope.EVENT, limit=LIMIT)
    decoder.decode(whole)
    message = wire.Event.FromString(rest)
    del message.metadata["content-type"]
    with pytest.raises(FrameCorruptError, match="a frame says"):
        decoder.decode(message.SerializeToString())


@pytest.mark.parametrize(("offer", "kind"), [(CAPABLE, REST), (WITHOUT, WHOLE)])
async def test_a_server_leaves_it_out_only_for_peers_that_offer_to_read_it(serve, offer, kind):
    session = await serve(Echo())
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        call = channel.stream_stream("/flowctl.EventProcessor/Process")(metadata=(("flowctl-aio", offer),))
        answers = []
        for number in range(2):
            await call.write(encode_frame(Envelope.EVENT, batch(), number=number, limit=LIMIT))
            answers.append(await call.read())
        call.cancel()
    assert kinds(answers) == [WHOLE, kind]


async def test_many_small_batches_come_through_in_both_directions_with_all_their_facts(serve, drive):
    session = await serve(Echo())
    sent = [batch(count % 3) for count in range(50)]

    async def inputs():
        for one in sent:
            yield one

    async with drive() as driver, driver.processor(session.endpoint) as processor:
        assert "schema-once" in processor.peer.capabilities
        async with processor.stream(inputs()) as stream:
            received = [one.record_batch async for one in stream]
    assert received == [one.record_batch for one in sent]
