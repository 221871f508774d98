import struct
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from flowctl_aio.batches import EVENT_SCHEMA, LEDGER_SCHEMA, SCHEMA_KEY, EventBatch, LedgerBatch, ledger_schema
from flowctl_aio.codec import arrow
from flowctl_aio.codec.envelope import (
    END_CONTENT_TYPE,
    End,
    Envelope,
    Frame,
    decode,
    encode_end,
    encode_frame,
    encode_rows,
)
from flowctl_aio.codec.protobuf import SPLIT_ABOVE
from flowctl_aio.errors import CodecError, FrameCorruptError, FrameTooLargeError, SchemaMismatchError
from flowctl_aio.types import Cursor, Event, RawLedger

LIMIT = 1024 * 1024
quick = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
ENVELOPES = pytest.mark.parametrize("envelope", Envelope, ids=lambda envelope: envelope.name)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
moments = st.datetimes(timezones=st.just(UTC))
cursors = st.builds(Cursor, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
metadata = st.dictionaries(texts, texts, max_size=3)
ledgers = st.builds(RawLedger, st.integers(0, 2**32 - 1), st.binary(max_size=60), st.none() | moments, texts, metadata)
events = st.builds(
    Event,
    event_type=texts,
    payload=st.binary(max_size=60),
    id=texts,
    schema_version=st.integers(0, 2**32 - 1),
    timestamp=st.none() | moments,
    metadata=metadata,
    content_type=texts,
    source=texts,
    cursor=st.none() | cursors,
)
TRANSFERS = pa.schema(
    [pa.field("asset", pa.string(), nullable=False), pa.field("amount", pa.int64())],
    metadata={SCHEMA_KEY: b"transfers@2"},
)


def transfers(rows, schema=TRANSFERS, **facts):
    columns = [[asset for asset, _ in rows], [amount for _, amount in rows]]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return EventBatch(pa.RecordBatch.from_arrays(arrays, schema=schema), **facts)


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

LEDGERS = LedgerBatch.from_ledgers(
    [RawLedger(7, b"seven", datetime(2025, 1, 1, tzinfo=UTC), "test", {"a": "b"}), RawLedger(8, b"eight")]
)
EVENTS = EventBatch.from_events([Event("kind", b"payload", id="1", cursor=Cursor(7, 1)), Event("kind", b"", id="2")])
TYPED = transfers([("XLM", 5), ("USDC", None)], event_type="t", first_cursor=Cursor(7), last_cursor=Cursor(8))
BATCHES = pytest.mark.parametrize("batch", [LEDGERS, EVENTS, TYPED], ids=["ledgers", "events", "typed"])


def facts(batch):
    """What must survive the wire, as something to compare."""
    return (
        type(batch),
        batch.schema_name,
        batch.event_type,
        batch.first_cursor,
        batch.last_cursor,
        batch.record_batch.schema.metadata,
        batch.record_batch.to_pylist(),
    )


def framed(envelope, batch, **changes):
    """A frame's message, with its metadata changed afterwards; None removes a key."""
    message = envelope.message.FromString(encode_frame(envelope, batch, number=0, limit=LIMIT))
    for key, value in changes.items():
        key = key.replace("_", "-")
        if value is None:
            del message.metadata[key]
        else:
            message.metadata[key] = value
    return message


def with_payload(envelope, message, payload):
    """`message` with another payload that its checksum fits."""
    setattr(message, envelope.field_name, payload)
    message.metadata["checksum"] = arrow.checksum(payload)
    return message.SerializeToString()


def written(*batches, **options):
    out = pa.BufferOutputStream()
    with ipc.new_stream(out, batches[0].schema, options=ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return out.getvalue().to_pybytes()


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
@BATCHES
def test_every_cut_of_the_payload_is_corrupt(envelope, batch):
    message = framed(envelope, batch)
    payload = getattr(message, envelope.field_name)
    for size in range(len(payload)):
        setattr(message, envelope.field_name, payload[:size])
        with pytest.raises(FrameCorruptError):
            decode(envelope, message.SerializeToString(), limit=LIMIT)


@ENVELOPES
def test_no_cut_of_a_message_is_a_frame(envelope):
    # Protobuf cannot tell a message cut between two fields from a whole one; gRPC never delivers such.
    raw = encode_frame(envelope, TYPED, number=0, limit=LIMIT)
    for size in range(len(raw)):
        try:
            assert not isinstance(decode(envelope, raw[:size], limit=LIMIT), Frame)
        except CodecError:
            continue


@ENVELOPES
def test_no_cut_of_a_large_message_is_a_frame(envelope):
    batch = LedgerBatch.from_ledgers([RawLedger(7, b"x" * 60_000)])
    raw = encode_frame(envelope, batch, number=0, limit=LIMIT)
    for size in [*range(1, len(raw), 1009), *range(len(raw) - 100, len(raw))]:
        try:
            assert not isinstance(decode(envelope, raw[:size], limit=LIMIT), Frame)
        except CodecError:
            continue


@ENVELOPES
@BATCHES
def test_every_flipped_bit_of_a_message_is_a_codec_error_or_the_same_rows(envelope, batch):
    # The checksum covers the rows. Numbers, cursors and types beside them have TCP's and TLS's checks only.
    raw = bytearray(encode_frame(envelope, batch, number=0, limit=LIMIT))
    for bit in range(8 * len(raw)):
        raw[bit // 8] ^= 1 << bit % 8
        try:
            received = decode(envelope, bytes(raw), limit=LIMIT)
        except CodecError:
            pass
        else:
            assert isinstance(received, Frame)
            assert received.batch.record_batch.equals(batch.record_batch, check_metadata=True)
        raw[bit // 8] ^= 1 << bit % 8


@ENVELOPES
def test_flipped_bits_all_over_a_large_message_are_a_codec_error_or_the_same_rows(envelope):
    batch = LedgerBatch.from_ledgers([RawLedger(7, b"x" * 30_000)])
    raw = bytearray(encode_frame(envelope, batch, number=0, limit=LIMIT))
    for bit in [*range(8 * 800), *range(8 * 800, 8 * len(raw), 211)]:
        raw[bit // 8] ^= 1 << bit % 8
        try:
            received = decode(envelope, bytes(raw), limit=LIMIT)
        except CodecError:
            pass
        else:
            assert isinstance(received, Frame)
            assert received.batch.record_batch.equals(batch.record_batch, check_metadata=True)
        raw[bit // 8] ^= 1 << bit % 8


@ENVELOPES
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"arrow_rows": "3"}, FrameCorruptError),
        ({"arrow_rows": "-2"}, FrameCorruptError),
        ({"arrow_rows": "two"}, FrameCorruptError),
        ({"arrow_rows": ""}, FrameCorruptError),
        ({"arrow_rows": "²"}, FrameCorruptError),
        ({"arrow_rows": "9" * 5000}, FrameCorruptError),
        ({"batch_number": "x"}, FrameCorruptError),
        ({"batch_number": "1.0"}, FrameCorruptError),
        ({"batch_number": ""}, FrameCorruptError),
        ({"checksum": "crc32:00000000"}, FrameCorruptError),
        ({"checksum": "crc32:"}, FrameCorruptError),
        ({"arrow_schema": "transfers@3"}, SchemaMismatchError),
        ({"arrow_schema": LEDGER_SCHEMA}, SchemaMismatchError),
        ({"first_cursor": "here"}, FrameCorruptError),
        ({"last_cursor": "7:-1"}, FrameCorruptError),
        ({"last_cursor": f"{2**64}"}, FrameCorruptError),
    ],
)
def test_metadata_that_lies_is_a_named_error(envelope, changes, error):
    with pytest.raises(error):
        decode(envelope, framed(envelope, TYPED, **changes).SerializeToString(), limit=LIMIT)


@ENVELOPES
def test_a_frame_without_our_metadata_is_read_for_what_it_is(envelope):
    gone = dict.fromkeys(
        ("arrow_rows", "batch_number", "checksum", "arrow_schema", "first_cursor", "last_cursor"), None
    )
    received = decode(envelope, framed(envelope, TYPED, **gone).SerializeToString(), limit=LIMIT)
    assert received.number is None
    assert received.batch.record_batch.equals(TYPED.record_batch, check_metadata=True)


@ENVELOPES
def test_a_frame_with_another_content_type_is_corrupt_and_not_a_row(envelope):
    message = framed(envelope, LEDGERS)
    if envelope is Envelope.EVENT_V1:
        message.content_type = "application/vnd.apache.brrow.stream"
    else:
        message.metadata["content-type"] = "application/vnd.apache.brrow.stream"
    with pytest.raises(FrameCorruptError, match="brrow"):
        decode(envelope, message.SerializeToString(), limit=LIMIT)


@ENVELOPES
@pytest.mark.parametrize("name", [LEDGER_SCHEMA, EVENT_SCHEMA])
def test_columns_that_are_not_those_of_their_name_are_a_mismatch(envelope, name):
    other = TYPED.record_batch.replace_schema_metadata({SCHEMA_KEY: name})
    raw = with_payload(envelope, framed(envelope, TYPED, arrow_schema=name), written(other))
    with pytest.raises(SchemaMismatchError) as caught:
        decode(envelope, raw, limit=LIMIT)
    assert caught.value.expected == name


@ENVELOPES
def test_nulls_where_the_schema_has_none_are_a_mismatch(envelope):
    nulls = pa.RecordBatch.from_arrays([pa.nulls(2, field.type) for field in ledger_schema()], schema=ledger_schema())
    with pytest.raises(SchemaMismatchError, match="nulls"):
        decode(envelope, with_payload(envelope, framed(envelope, LEDGERS), written(nulls)), limit=LIMIT)


@ENVELOPES
def test_a_ledger_frame_with_a_dictionary_column_is_a_mismatch(envelope):
    rows = LEDGERS.record_batch
    coded = rows.set_column(
        2, pa.field("network", pa.dictionary(pa.int32(), pa.string()), nullable=False), rows[2].dictionary_encode()
    )
    with pytest.raises(SchemaMismatchError):
        decode(envelope, with_payload(envelope, framed(envelope, LEDGERS), written(coded)), limit=LIMIT)


@ENVELOPES
def test_a_typed_frame_with_a_dictionary_column_has_the_same_values(envelope):
    coded = pa.record_batch({"asset": TYPED.record_batch[0].dictionary_encode(), "amount": TYPED.record_batch[1]})
    raw = with_payload(envelope, framed(envelope, TYPED, arrow_schema=None), written(coded))
    assert decode(envelope, raw, limit=LIMIT).batch.record_batch.to_pylist() == TYPED.record_batch.to_pylist()


@ENVELOPES
@pytest.mark.parametrize("copies", [0, 2])
def test_none_or_two_record_batches_are_corrupt(envelope, copies):
    payload = written(*[TYPED.record_batch] * 2) if copies else written(TYPED.record_batch)[:-8]
    if not copies:
        payload = TYPED.record_batch.schema.serialize().to_pybytes()
    with pytest.raises(FrameCorruptError, match=f"{copies} record batches"):
        decode(envelope, with_payload(envelope, framed(envelope, TYPED), payload), limit=LIMIT)


@ENVELOPES
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_compressed_frame_is_read_and_a_bomb_refused(envelope, compression):
    small = with_payload(envelope, framed(envelope, TYPED), written(TYPED.record_batch, compression=compression))
    assert facts(decode(envelope, small, limit=LIMIT).batch) == facts(TYPED)
    bomb = LedgerBatch.from_ledgers([RawLedger(7, bytes(2 * LIMIT)), RawLedger(8, b"")])
    raw = with_payload(envelope, framed(envelope, LEDGERS), written(bomb.record_batch, compression=compression))
    with pytest.raises(FrameTooLargeError):
        decode(envelope, raw, limit=LIMIT)


@ENVELOPES
def test_a_body_that_claims_absurd_lengths_is_a_codec_error_or_a_valid_batch(envelope):
    message = framed(envelope, TYPED, arrow_rows=None)
    payload = getattr(message, envelope.field_name)
    for at in range(0, len(payload) - 8, 8):
        for value in (2**31 - 1, 2**62, -1):
            raw = with_payload(envelope, message, payload[:at] + struct.pack("<q", value) + payload[at + 8 :])
            try:
                received = decode(envelope, raw, limit=LIMIT)
            except CodecError:
                continue
            received.batch.record_batch.validate(full=True)


@ENVELOPES
@pytest.mark.parametrize("changes", [{"rows": "x"}, {"batches": "-1"}, {"rows": None}, {"batches": ""}])
def test_an_end_marker_without_its_counts_is_corrupt(envelope, changes):
    message = envelope.message.FromString(encode_end(envelope, End(1, 1)))
    for key, value in changes.items():
        if value is None:
            del message.metadata[key]
        else:
            message.metadata[key] = value
    with pytest.raises(FrameCorruptError):
        decode(envelope, message.SerializeToString(), limit=LIMIT)


@ENVELOPES
@pytest.mark.parametrize(
    "raw", [b"\xff", b"<html>", b"\x0a\x05abc", b"\x0a\x02\xff\xfe\x22\x02\xff\xfe", b"\x07" * 20_000]
)
def test_what_is_no_protobuf_is_corrupt(envelope, raw):
    with pytest.raises(FrameCorruptError):
        decode(envelope, raw, limit=LIMIT)


def is_received(value):
    return isinstance(value, Frame | End | RawLedger | Event)


@ENVELOPES
@settings(quick, max_examples=200)
@given(raw=st.binary(max_size=100))
def test_random_bytes_are_a_codec_error_or_a_value(envelope, raw):
    filler = envelope.message(metadata={"filler": "x" * SPLIT_ABOVE}).SerializeToString()
    for message in (raw, filler + raw):
        try:
            assert is_received(decode(envelope, message, limit=LIMIT))
        except CodecError:
            continue


@ENVELOPES
@settings(quick, max_examples=100)
@given(payload=st.binary(max_size=200), changes=st.dictionaries(st.sampled_from(["rows", "arrow-rows"]), texts))
def test_random_payloads_and_metadata_in_a_frame_are_a_codec_error(envelope, payload, changes):
    message = framed(envelope, TYPED)
    message.metadata.update(changes)
    with pytest.raises(CodecError):
        decode(envelope, with_payload(envelope, message, payload), limit=LIMIT)


@ENVELOPES
@pytest.mark.parametrize("size", [10, 2 * SPLIT_ABOVE])
def test_ledgers_come_back_equal_from_plain_rows(envelope, size):
    batch = LedgerBatch.from_ledgers(
        [RawLedger(7, b"x" * size, datetime(2025, 1, 1, 0, 0, 0, 5, UTC), "test", {"a": "b"}), RawLedger(8, b"")]
    )
    rows = [decode(envelope, raw, limit=LIMIT) for raw in encode_rows(envelope, batch, limit=LIMIT)]
    assert rows == list(batch)


@pytest.mark.parametrize("envelope", [Envelope.EVENT, Envelope.EVENT_V1])
@pytest.mark.parametrize("size", [10, 2 * SPLIT_ABOVE])
def test_events_come_back_equal_from_plain_rows(envelope, size):
    batch = EventBatch.from_events([Event("kind", b"x" * size, id="1", cursor=Cursor(7, 1)), Event("kind", b"")])
    rows = [decode(envelope, raw, limit=LIMIT) for raw in encode_rows(envelope, batch, limit=LIMIT)]
    assert rows == list(batch)


@ENVELOPES
@pytest.mark.parametrize("batch", [LedgerBatch.from_ledgers([]), EventBatch.from_events([]), transfers([])])
def test_no_rows_are_no_plain_messages(envelope, batch):
    assert list(encode_rows(envelope, batch, limit=LIMIT)) == []


@pytest.mark.parametrize("batch", [EVENTS, TYPED], ids=["events", "typed"])
def test_events_do_not_go_into_plain_ledger_messages(batch):
    with pytest.raises(CodecError, match="is an event"):
        list(encode_rows(Envelope.LEDGER, batch, limit=LIMIT))


@ENVELOPES
def test_a_plain_row_above_the_limit_is_named_and_those_before_it_are_given(envelope):
    rows = encode_rows(envelope, LedgerBatch.from_ledgers([RawLedger(7, b""), RawLedger(8, b"x" * 500)]), limit=400)
    assert decode(envelope, next(rows), limit=400) == RawLedger(7, b"")
    with pytest.raises(FrameTooLargeError, match=r"ledger[ -]8"):
        next(rows)


@pytest.mark.parametrize("content_type", [arrow.CONTENT_TYPE, END_CONTENT_TYPE, f"{END_CONTENT_TYPE}; q=1"])
@pytest.mark.parametrize("envelope", [Envelope.EVENT, Envelope.EVENT_V1])
def test_an_event_that_the_peer_would_take_for_a_frame_or_an_end_is_refused(envelope, content_type):
    for event in (
        Event("kind", b"", id="mine", content_type=content_type),
        Event("kind", b"", id="mine", metadata={"content-type": content_type}),
    ):
        with pytest.raises(CodecError, match="mine"):
            list(encode_rows(envelope, EventBatch.from_events([event]), limit=LIMIT))


@pytest.mark.parametrize("envelope", [Envelope.EVENT, Envelope.EVENT_V1])
def test_arrow_under_a_content_type_of_its_own_is_an_event_and_under_none_refused(envelope):
    payload = written(TYPED.record_batch)
    event = Event("kind", payload, id="mine", content_type="application/x-theirs")
    (raw,) = encode_rows(envelope, EventBatch.from_events([event]), limit=LIMIT)
    assert decode(envelope, raw, limit=LIMIT) == event
    with pytest.raises(CodecError, match="'mine' is Arrow"):
        list(encode_rows(envelope, EventBatch.from_events([Event("kind", payload, id="mine")]), limit=LIMIT))
    with pytest.raises(FrameCorruptError):
        decode(envelope, envelope.message(payload=payload).SerializeToString(), limit=LIMIT)


@ENVELOPES
def test_bytes_that_only_begin_like_arrow_are_a_row(envelope):
    batch = LedgerBatch.from_ledgers([RawLedger(7, arrow.CONTINUATION + tail) for tail in (b"", b"\0" * 4, b"x" * 99)])
    rows = [decode(envelope, raw, limit=LIMIT) for raw in encode_rows(envelope, batch, limit=LIMIT)]
    assert rows == list(batch)


def test_a_ledger_that_the_peer_would_take_for_an_end_is_refused():
    batch = LedgerBatch.from_ledgers([RawLedger(7, b"", metadata={"content-type": END_CONTENT_TYPE})])
    with pytest.raises(CodecError, match="ledger 7"):
        list(encode_rows(Envelope.LEDGER, batch, limit=LIMIT))
