"""Claims about messages that are cut, changed or made up: a named error, or the same rows."""

import struct

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowctl_aio.batches import EVENT_SCHEMA, LEDGER_SCHEMA, SCHEMA_KEY, LedgerBatch, ledger_schema
from flowctl_aio.codec.envelope import MAX_ENTRIES, End, Envelope, Frame, decode, encode_end, encode_frame
from flowctl_aio.codec.protobuf import SPLIT_ABOVE
from flowctl_aio.errors import CodecError, FrameCorruptError, FrameTooLargeError, SchemaMismatchError
from flowctl_aio.types import Event, RawLedger
from tests.strategies import texts

from .frames import BATCHES, ENVELOPES, LEDGERS, LIMIT, TYPED, facts, framed, quick, with_payload, written

# Cut and flipped


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


# Lies


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


# Noise


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


# Made to keep the reader busy


@ENVELOPES
def test_a_message_of_very_many_small_fields_is_refused(envelope):
    with pytest.raises(FrameCorruptError, match="more fields than anybody needs"):
        decode(envelope, b"\x78\x00" * LIMIT, limit=2 * LIMIT)


@ENVELOPES
def test_a_message_with_more_metadata_than_anybody_needs_is_refused(envelope):
    message = envelope.message(metadata={str(key): "" for key in range(MAX_ENTRIES)})
    assert decode(envelope, message.SerializeToString(), limit=LIMIT)
    message.metadata["one"] = "more"
    with pytest.raises(FrameCorruptError, match="entries of metadata"):
        decode(envelope, message.SerializeToString(), limit=LIMIT)
