"""Claims about frames and end markers: they come back equal, and are ordinary messages to everybody else."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc

from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.codec import arrow
from flowctl_aio.codec.envelope import End, Envelope, Frame, decode, encode_end, encode_frame
from flowctl_aio.codec.protobuf import SPLIT_ABOVE
from flowctl_aio.errors import FrameTooLargeError
from flowctl_aio.types import Cursor, RawLedger
from tests.strategies import cursors, events, ledgers, texts

from .frames import (
    BATCHES,
    ENVELOPES,
    EVENTS,
    LIMIT,
    TRANSFERS,
    TYPED,
    facts,
    framed,
    quick,
    transfers,
    with_payload,
    written,
)

ledger_batches = st.lists(ledgers, max_size=5).map(LedgerBatch.from_ledgers)
generic_batches = st.lists(events, max_size=5).map(EventBatch.from_events)
typed_batches = st.builds(
    transfers,
    st.lists(st.tuples(texts, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=5),
    schema=st.sampled_from([TRANSFERS, TRANSFERS.remove_metadata()]),
    event_type=texts,
    first_cursor=st.none() | cursors,
    last_cursor=st.none() | cursors,
)


@ENVELOPES
@quick
@given(batch=ledger_batches | generic_batches | typed_batches, number=st.integers(0, 2**63 - 1))
def test_a_batch_comes_back_equal_from_a_frame(envelope, batch, number):
    raw = encode_frame(envelope, batch, number=number, limit=LIMIT)
    received = decode(envelope, raw, limit=LIMIT)
    assert isinstance(received, Frame)
    assert received.number == number
    assert facts(received.batch) == facts(batch)


@ENVELOPES
@BATCHES
def test_a_frame_is_an_ordinary_message_to_everybody_else(envelope, batch):
    raw = encode_frame(envelope, batch, number=3, limit=LIMIT)
    message = envelope.message.FromString(raw)
    payload = getattr(message, envelope.field_name)
    assert ipc.open_stream(payload).read_next_batch().equals(batch.record_batch)
    keys = {"data_format", "arrow-schema", "arrow-rows", "batch-number", "checksum", "first-cursor", "last-cursor"}
    assert keys - {"last-cursor"} <= set(message.metadata)
    assert message.metadata["data_format"] == "apache_arrow"
    assert message.metadata["arrow-rows"] == "2"
    assert message.metadata["batch-number"] == "3"
    assert message.metadata["arrow-schema"] == batch.schema_name
    assert message.metadata["first-cursor"] == str(batch.first_cursor)
    assert message.metadata["checksum"] == arrow.checksum(payload)
    if envelope is Envelope.EVENT_V1:
        assert (message.content_type, message.type) == (arrow.CONTENT_TYPE, batch.event_type)
        assert message.stellar_cursor.ledger_sequence == 7
    else:
        assert message.metadata["content-type"] == arrow.CONTENT_TYPE
    if envelope is Envelope.LEDGER:
        assert (message.ledger_sequence, message.metadata["event-type"]) == (7, batch.event_type)
    # Anybody may write the fields in another order.
    assert facts(decode(envelope, message.SerializeToString(), limit=LIMIT).batch) == facts(batch)


@ENVELOPES
def test_a_large_frame_comes_back_equal_and_points_into_the_message(envelope):
    batch = LedgerBatch.from_ledgers([RawLedger(7, b"x" * SPLIT_ABOVE), RawLedger(8, b"y")])
    raw = encode_frame(envelope, batch, number=0, limit=LIMIT)
    received = decode(envelope, raw, limit=LIMIT)
    assert facts(received.batch) == facts(batch)
    start = pa.py_buffer(raw).address
    assert start <= received.batch.record_batch.column("xdr").buffers()[2].address < start + len(raw)


@ENVELOPES
@pytest.mark.parametrize("extra", range(8))
def test_of_a_large_frame_no_buffer_is_copied_wherever_its_payload_would_begin(envelope, extra):
    batch = LedgerBatch.from_ledgers([RawLedger(7, b"x" * SPLIT_ABOVE), RawLedger(8, b"y")])
    raw = encode_frame(envelope, batch, number=0, limit=LIMIT, trace={"tracestate": "t" * extra})
    start = pa.py_buffer(raw).address
    for column in decode(envelope, raw, limit=LIMIT).batch.record_batch.columns:
        for buffer in filter(None, column.buffers()):
            assert buffer.size == 0 or start <= buffer.address < start + len(raw)


@pytest.mark.parametrize("size", [10, 2 * SPLIT_ABOVE])
def test_content_type_may_have_parameters(size):
    batch = LedgerBatch.from_ledgers([RawLedger(7, b"x" * size)])
    message = framed(Envelope.EVENT_V1, batch)
    message.content_type += ";codecs=none"
    assert facts(decode(Envelope.EVENT_V1, message.SerializeToString(), limit=LIMIT).batch) == facts(batch)


@ENVELOPES
def test_cursors_beyond_the_ledger_message_travel_in_the_metadata(envelope):
    batch = transfers([], first_cursor=Cursor(2**64 - 1, 2**32 - 1), last_cursor=None)
    raw = encode_frame(envelope, batch, number=0, limit=LIMIT)
    assert facts(decode(envelope, raw, limit=LIMIT).batch) == facts(batch)


def test_generic_events_without_a_type_in_their_envelope_take_that_of_the_first_row():
    message = framed(Envelope.EVENT_V1, EVENTS)
    message.type = ""
    assert decode(Envelope.EVENT_V1, message.SerializeToString(), limit=LIMIT).batch.event_type == "kind"


@ENVELOPES
@quick
@given(st.builds(End, st.integers(0, 2**62), st.integers(0, 2**62)))
def test_an_end_marker_comes_back_equal(envelope, end):
    assert decode(envelope, encode_end(envelope, end), limit=LIMIT) == end


@ENVELOPES
def test_an_end_marker_is_an_ordinary_message_without_payload(envelope):
    message = envelope.message.FromString(encode_end(envelope, End(2, 5)))
    assert getattr(message, envelope.field_name) == b""
    assert (message.metadata["batches"], message.metadata["rows"]) == ("2", "5")


@ENVELOPES
@BATCHES
def test_a_frame_may_be_as_long_as_the_limit_and_no_longer(envelope, batch):
    raw = encode_frame(envelope, batch, number=0, limit=LIMIT)
    with pytest.raises(FrameTooLargeError):
        encode_frame(envelope, batch, number=0, limit=len(raw) - 1)
    assert isinstance(decode(envelope, raw, limit=len(raw)), Frame)
    with pytest.raises(FrameTooLargeError) as caught:
        decode(envelope, raw, limit=len(raw) - 1)
    assert (caught.value.size, caught.value.limit) == (len(raw), len(raw) - 1)


@ENVELOPES
def test_a_frame_without_our_metadata_is_read_for_what_it_is(envelope):
    gone = dict.fromkeys(
        ("arrow_rows", "batch_number", "checksum", "arrow_schema", "first_cursor", "last_cursor"), None
    )
    received = decode(envelope, framed(envelope, TYPED, **gone).SerializeToString(), limit=LIMIT)
    assert received.number is None
    assert received.batch.record_batch.equals(TYPED.record_batch, check_metadata=True)


@ENVELOPES
def test_a_typed_frame_with_a_dictionary_column_has_the_same_values(envelope):
    coded = pa.record_batch({"asset": TYPED.record_batch[0].dictionary_encode(), "amount": TYPED.record_batch[1]})
    raw = with_payload(envelope, framed(envelope, TYPED, arrow_schema=None), written(coded))
    assert decode(envelope, raw, limit=LIMIT).batch.record_batch.to_pylist() == TYPED.record_batch.to_pylist()
