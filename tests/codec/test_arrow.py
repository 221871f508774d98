import struct
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from flowctl_aio.codec import arrow
from flowctl_aio.errors import CodecError, FrameCorruptError, FrameTooLargeError

LIMIT = 1024 * 1024
quick = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])


def read(frame, *, checksum="", rows=None, limit=LIMIT):
    return arrow.read_frame(frame, expected_checksum=checksum, expected_rows=rows, limit=limit)


def written(*batches, schema=None, **options):
    """An IPC stream the way a foreign writer may make it."""
    out = pa.BufferOutputStream()
    with ipc.new_stream(out, schema or batches[0].schema, options=ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return out.getvalue().to_pybytes()


def dictionary(indices, words):
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), pa.array(words), safe=False)


def replaced(frame, old, new):
    """`frame` with the last place where it has `old` overwritten by `new`."""
    assert len(old) == len(new)
    at = frame.rindex(old)
    return frame[:at] + new + frame[at + len(old) :]


SMALL = pa.record_batch({"sequence": pa.array([7, 8], pa.uint32()), "xdr": pa.array([b"abc", None], pa.large_binary())})
SHAPES = {
    "numbers": pa.array([1, None, 3]),
    "booleans": pa.array([True, None, False]),
    "texts": pa.array(["a", None, "ß€"]),
    "text views": pa.array(["short", None, "x" * 40], pa.string_view()),
    "moments": pa.array([datetime(2025, 1, 1, tzinfo=UTC), None, None], pa.timestamp("us", tz="UTC")),
    "decimals": pa.array([Decimal("1.50"), None, Decimal("-2.25")]),
    "lists": pa.array([[1], [], None]),
    "list views": pa.array([[1], [], None], pa.list_view(pa.int32())),
    "fixed lists": pa.array([[1, 2]] * 3, pa.list_(pa.int16(), 2)),
    "structs": pa.array([{"a": 1, "b": ["x"]}] * 3),
    "maps": pa.array([[("k", "v")], None, []], pa.map_(pa.string(), pa.string())),
    "dictionaries": pa.array(["a", "b", "a"]).dictionary_encode(),
    "nested dictionaries": pa.array([["a"], ["b"], []], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
    "runs": pa.RunEndEncodedArray.from_arrays([1, 3], ["a", "b"]),
    "nothing": pa.nulls(3),
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_columns_of_every_shape_come_back_equal_however_they_are_compressed(kind, compression):
    batch = pa.record_batch({"x": SHAPES[kind]}).replace_schema_metadata({"flowctl.schema": "own@3"})
    assert read(arrow.write_frame(batch)).equals(batch, check_metadata=True)
    assert read(written(batch, compression=compression), rows=3).equals(batch, check_metadata=True)


@quick
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.none() | st.binary(max_size=50))), st.integers(0, 9))
def test_a_frame_is_read_back_equal_wherever_it_starts_in_memory(rows, start):
    columns = [[sequence for sequence, _ in rows], [xdr for _, xdr in rows]]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SMALL.schema, strict=True)],
        schema=SMALL.schema,
    )
    frame = arrow.write_frame(batch)
    shifted = memoryview(bytes(start) + frame.to_pybytes())[start:]
    assert read(shifted, checksum=arrow.checksum(frame), rows=len(rows)).equals(batch, check_metadata=True)


def test_the_long_buffers_of_a_batch_point_into_the_frame():
    frame = arrow.write_frame(pa.record_batch({"xdr": [b"x" * 100_000]})).to_pybytes()
    data = read(frame).column(0).buffers()[2]
    start = pa.py_buffer(frame).address
    assert start <= data.address < start + len(frame)


def test_a_slice_takes_only_its_own_rows_into_its_frame():
    batch = pa.record_batch({"xdr": [b"x" * 100_000, b"y"]})
    assert len(arrow.write_frame(batch.slice(1))) < 1000
    assert read(arrow.write_frame(batch.slice(1))).to_pylist() == [{"xdr": b"y"}]


def test_a_checksum_is_written_as_its_algorithm_and_eight_digits():
    assert arrow.checksum(b"123456789") == "crc32:cbf43926"
    assert arrow.checksum(b"") == "crc32:00000000"


def test_a_frame_with_another_checksum_is_corrupt():
    frame = arrow.write_frame(SMALL)
    assert read(frame, checksum=arrow.checksum(frame)).equals(SMALL)
    with pytest.raises(FrameCorruptError, match="checksum"):
        read(frame, checksum="crc32:00000000")
    with pytest.raises(FrameCorruptError, match="checksum"):
        read(frame, checksum="crc32:")


def test_a_checksum_of_another_algorithm_is_not_checked():
    assert read(arrow.write_frame(SMALL), checksum="xxh3:0123456789abcdef").equals(SMALL)


@pytest.mark.parametrize("rows", [0, 1, 3, 2**62])
def test_a_frame_with_other_rows_than_it_says_is_corrupt(rows):
    with pytest.raises(FrameCorruptError, match=f"{rows} rows and has 2"):
        read(arrow.write_frame(SMALL), rows=rows)


def test_a_frame_may_be_as_long_as_the_limit_and_no_longer():
    frame = arrow.write_frame(SMALL)
    assert read(frame, limit=frame.size).equals(SMALL)
    with pytest.raises(FrameTooLargeError) as caught:
        read(frame, limit=frame.size - 1)
    assert (caught.value.size, caught.value.limit) == (frame.size, frame.size - 1)


def test_every_cut_of_a_frame_is_corrupt_by_its_checksum():
    frame = arrow.write_frame(SMALL)
    for size in range(frame.size):
        with pytest.raises(FrameCorruptError):
            read(frame[:size], checksum=arrow.checksum(frame))


def test_without_a_checksum_only_the_end_mark_can_be_cut_off_unnoticed():
    frame = arrow.write_frame(SMALL)
    for size in range(frame.size - 8):
        with pytest.raises(FrameCorruptError):
            read(frame[:size])
    # A writer may close a stream without the mark, which is eight bytes long.
    assert read(frame[: frame.size - 8]).equals(SMALL)


def test_cuts_all_over_a_large_frame_are_corrupt_with_and_without_a_checksum():
    batch = pa.record_batch({"x": list(range(20_000)), "xdr": [b"x" * 20] * 20_000})
    frame = arrow.write_frame(batch)
    for size in range(0, frame.size - 8, 997):
        for checksum in ("", arrow.checksum(frame)):
            with pytest.raises(FrameCorruptError):
                read(frame[:size], checksum=checksum)


def test_every_flipped_bit_of_a_frame_is_corrupt_by_its_checksum():
    frame = arrow.write_frame(SMALL)
    raw, checksum = bytearray(frame), arrow.checksum(frame)
    for bit in range(8 * len(raw)):
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameCorruptError):
            read(raw, checksum=checksum)
        raw[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_every_flipped_bit_without_a_checksum_is_a_codec_error_or_a_valid_batch(compression):
    raw = bytearray(written(SMALL, compression=compression))
    for bit in range(8 * len(raw)):
        raw[bit // 8] ^= 1 << bit % 8
        try:
            batch = read(bytes(raw))
        except CodecError:
            pass
        else:
            batch.validate(full=True)
            assert batch.num_rows <= 8 * len(raw)
        raw[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("value", [0, 1, -1, 2**31 - 1, 2**31, 2**62, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("compression", [None, "lz4"])
def test_absurd_lengths_anywhere_in_a_frame_are_a_codec_error_or_a_valid_batch(compression, value):
    frame = written(pa.record_batch({"a": ["x", "y"], "l": [[1], [2, 3]], "n": pa.nulls(2)}), compression=compression)
    for at in range(0, len(frame) - 8, 4):
        try:
            batch = read(frame[:at] + struct.pack("<q", value) + frame[at + 8 :])
        except CodecError:
            continue
        batch.validate(full=True)
        assert batch.num_rows <= 8 * len(frame)


@quick
@given(st.binary(max_size=300))
def test_random_bytes_are_corrupt(data):
    with pytest.raises(FrameCorruptError):
        read(data)


@quick
@given(st.binary(max_size=300))
def test_random_bytes_behind_a_real_schema_are_corrupt(data):
    schema = written(schema=SMALL.schema)[:-8]
    with pytest.raises(FrameCorruptError):
        read(schema + data)


def test_a_frame_without_a_record_batch_is_corrupt():
    with pytest.raises(FrameCorruptError, match="0 record batches"):
        read(written(schema=SMALL.schema))


def test_a_frame_with_two_record_batches_is_corrupt():
    with pytest.raises(FrameCorruptError, match="2 record batches"):
        read(written(SMALL, SMALL))


@pytest.mark.parametrize("tail", [b"\0", bytes(8), b"\xff\xff\xff\xff\0\0\0\0", arrow.write_frame(SMALL).to_pybytes()])
def test_a_frame_that_goes_on_after_its_end_is_corrupt(tail):
    with pytest.raises(FrameCorruptError, match="after its end"):
        read(arrow.write_frame(SMALL).to_pybytes() + tail)


def test_a_record_batch_without_its_schema_is_corrupt():
    with pytest.raises(FrameCorruptError):
        read(SMALL.serialize())


def test_two_schemas_are_corrupt():
    schema = SMALL.schema.serialize().to_pybytes()
    with pytest.raises(FrameCorruptError):
        read(schema + arrow.write_frame(SMALL).to_pybytes())


@pytest.mark.parametrize("indices", [[0, 2], [-1, 0], [127, 0]])
def test_a_dictionary_column_that_points_outside_its_dictionary_is_corrupt(indices):
    with pytest.raises(FrameCorruptError):
        read(written(pa.record_batch({"x": dictionary(indices, ["a", "b"])})))


def test_a_dictionary_column_without_its_dictionary_is_corrupt():
    batch = pa.record_batch({"x": dictionary([0, 1], ["a", "b"])})
    with pytest.raises(FrameCorruptError):
        read(batch.schema.serialize().to_pybytes() + batch.serialize().to_pybytes())


def test_text_that_is_no_utf8_is_corrupt():
    frame = written(pa.record_batch({"x": ["wxyz"]}))
    with pytest.raises(FrameCorruptError):
        read(replaced(frame, b"wxyz", b"w\xff\xfez"))


@pytest.mark.parametrize("name", ["outer", "inner"])
def test_a_column_name_that_is_no_utf8_is_corrupt_at_every_depth(name):
    frame = written(pa.record_batch({"outer": [[{"inner": 1}]]}))
    with pytest.raises(FrameCorruptError):
        read(replaced(frame, name.encode(), b"\xff\xfe" + name[2:].encode()))


@pytest.mark.parametrize(
    "column",
    [pa.nulls(100_000), pa.RunEndEncodedArray.from_arrays(pa.array([100_000], pa.int64()), ["a"])],
    ids=["nulls", "runs"],
)
def test_more_rows_than_a_frame_has_bits_are_corrupt(column):
    with pytest.raises(FrameCorruptError, match="100000 rows"):
        read(written(pa.record_batch({"x": column})), rows=100_000)


def test_many_rows_that_compress_to_nothing_are_fine():
    batch = pa.record_batch({"x": pa.array([0] * 100_000)})
    frame = written(batch, compression="zstd")
    assert batch.num_rows > 8 * len(frame)
    assert read(frame).equals(batch)


def test_rows_beyond_all_reason_without_any_column_are_corrupt():
    one = pa.record_batch([pa.array([1])], ["x"]).select([])
    frame = written(one)
    assert one.num_rows == 1
    huge = frame.replace(struct.pack("<q", 1), struct.pack("<q", 2**60))
    assert huge != frame
    with pytest.raises(FrameCorruptError):
        read(huge, rows=2**60)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize(
    "column",
    [pa.array([b"\0" * 4 * LIMIT]), pa.array(["a" * 4 * LIMIT]).dictionary_encode()],
    ids=["plain", "dictionary"],
)
def test_a_bomb_is_refused_before_it_is_unpacked(column, compression):
    bomb = written(pa.record_batch({"x": column}), compression=compression)
    assert len(bomb) < LIMIT / 20
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(FrameTooLargeError) as caught:
        read(bomb)
    assert caught.value.size > 4 * LIMIT
    assert pa.default_memory_pool().max_memory() == before
    assert read(bomb, limit=5 * LIMIT).num_rows == 1


def test_many_small_buffers_that_unpack_to_more_than_the_limit_are_refused():
    columns = {f"c{number}": pa.array([b"\0" * 100_000]) for number in range(20)}
    with pytest.raises(FrameTooLargeError):
        read(written(pa.record_batch(columns), compression="zstd"))


def test_a_buffer_that_claims_more_than_there_can_be_is_refused_without_allocating_it():
    text = b"\0" * 50_000
    frame = written(pa.record_batch({"x": [text]}), compression="zstd")
    with pytest.raises(FrameTooLargeError) as caught:
        read(replaced(frame, struct.pack("<q", len(text)), struct.pack("<q", 2**60)))
    assert caught.value.size > 2**60


@pytest.mark.parametrize("claim", [0, 1, 49_999, 50_001, -2, -(2**63)])
def test_a_buffer_that_claims_another_length_than_it_has_is_corrupt(claim):
    frame = written(pa.record_batch({"x": [b"\0" * 50_000]}), compression="zstd")
    with pytest.raises(FrameCorruptError):
        read(replaced(frame, struct.pack("<q", 50_000), struct.pack("<q", claim)))


def test_columns_that_share_their_bytes_count_each_for_itself():
    # Misaligned buffers are copied, so a thousand columns over the same megabyte would be a gigabyte.
    frame = written(pa.record_batch({"a": [b"x" * 100_000], "b": [b"y" * 9_999]}))
    place = struct.pack("<q", 9_999)
    at = frame.index(place, frame.index(struct.pack("<q", 100_000)))
    shared = frame[: at - 8] + struct.pack("<qq", 64, 100_000) + frame[at + 8 :]
    with pytest.raises(FrameTooLargeError) as caught:
        read(shared, limit=len(frame) + 1000)
    assert caught.value.size > 200_000


def test_a_frame_from_before_arrow_1_is_corrupt():
    # It may be compressed without saying so where the others do.
    with pytest.raises(FrameCorruptError, match=r"before Arrow 1\.0"):
        read(written(SMALL, metadata_version=ipc.MetadataVersion.V4))


def test_a_big_endian_frame_is_corrupt():
    # Schema.fbs: the byte order is the schema's first field, absent when little; here the table of
    # fields is changed so that it points to something that is not zero.
    frame = written(SMALL)
    foreign = replaced(frame, b"\x08\0\x08\0\0\0\x04\0\x08\0\0\0", b"\x08\0\x08\0\x04\0\x04\0\x08\0\0\0")
    with pytest.raises(FrameCorruptError, match="big-endian"):
        read(foreign)


def test_a_frame_of_the_older_framing_without_continuation_marks_is_read():
    assert read(written(SMALL, use_legacy_format=True)).equals(SMALL)
