"""A batch ⇄ one self-contained Arrow IPC stream. Knows Arrow and nothing of the messages around it.

A frame is a whole IPC stream: schema, exactly one record batch, end mark. It carries its schema
because a bare batch read under a wrong one is accepted without a word, and it is never trusted:
size, checksum, what its buffers claim to unpack to, row count and every buffer are checked before
anybody sees a row. Its buffers may be compressed (LZ4, ZSTD).
"""

from __future__ import annotations

import struct
from operator import add
from typing import Any, TypeAlias

import pyarrow as pa
from pyarrow import ipc

from flowctl_aio.errors import CodecError, FrameCorruptError, FrameTooLargeError

try:
    # The extra `fast`: the same checksum by vector instructions, at ten times the speed.
    from isal.isal_zlib import crc32
except ImportError:  # pragma: no cover - depends on the installation
    from zlib import crc32

# Whatever has the buffer protocol; `collections.abc.Buffer` begins with Python 3.12.
Buffer: TypeAlias = Any
CONTENT_TYPE = "application/vnd.apache.arrow.stream"
CHECKSUM = "crc32"
# How every message of an IPC stream begins, and no XDR, JSON or protobuf does.
CONTINUATION = b"\xff\xff\xff\xff"

# How it ends, for those who write its end.
END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
# Schema messages that were read and checked, each with its schema; so many at most, and none longer than this.
MAX_KNOWN, MAX_HEAD = 64, 16 * 1024
_known: dict[bytes, pa.Schema] = {}
# Schemas that were written last, each with its message: a schema takes longer to hash than to find among a few.
MAX_WRITTEN = 8
_written: list[tuple[pa.Schema, bytes]] = []

# `pa.MetadataVersion.V5`, written since Arrow 1.0; older ones compress and lay out unions in ways of their own.
V5 = 4
# Numbers of the fields that are read by hand. Source: Arrow's Message.fbs and Schema.fbs.
MESSAGE_HEADER, SCHEMA_ENDIANNESS, DICTIONARY_DATA, BATCH_BUFFERS, BATCH_COMPRESSION = 2, 0, 1, 2, 3

# Our own slices of a message start anywhere; Arrow copies just the buffers that need it
# (offsets and numbers), never the long ones of bytes.
_READ = ipc.IpcReadOptions(ensure_alignment=pa.lib.Alignment.DataTypeSpecific)
NO_COMPRESSION = "none"
# Without any, pyarrow asks the environment each time.
_WRITE = {NO_COMPRESSION: ipc.IpcWriteOptions()} | {
    name: ipc.IpcWriteOptions(compression=name) for name in ("lz4", "zstd") if pa.Codec.is_available(name)
}
# Whether everything that a frame can be compressed with is there.
UNPACKS_ALL = len(_WRITE) == 3


def write_frame(batch: pa.RecordBatch, compression: str = NO_COMPRESSION) -> pa.Buffer:
    """Write `batch` as one IPC stream."""
    out = pa.BufferOutputStream()
    with ipc.new_stream(out, batch.schema, options=_WRITE[compression]) as writer:
        writer.write_batch(batch)
    return out.getvalue()


def frame_parts(batch: pa.RecordBatch, compression: str = NO_COMPRESSION) -> tuple[Buffer, ...]:
    """What `write_frame` makes of `batch`, in pieces: whoever joins them with something else saves a copy."""
    if compression == NO_COMPRESSION and (head := _schema_message(batch.schema)):
        return head, batch.serialize(), END
    return (write_frame(batch, compression),)


def rest_of_frame(batch: pa.RecordBatch) -> pa.Buffer | None:
    """What `write_frame` makes of `batch` behind its schema, for those who have the schema already.

    None if there is more to it: values of columns that travel in messages of their own.
    """
    return batch.serialize() if _schema_message(batch.schema) else None


def _schema_message(schema: pa.Schema) -> bytes:
    """The message that a frame of such batches begins with; empty if there have to be others before the batch."""
    for known, head in _written:
        if known.equals(schema, check_metadata=True):
            return head
    head = b"" if has_dictionaries(schema) else schema.serialize().to_pybytes()
    _written[:] = [(schema, head), *_written[: MAX_WRITTEN - 1]]
    return head


def frame_size(batch: pa.RecordBatch) -> int:
    """Bytes that `write_frame` makes of `batch`."""
    size: int = batch.schema.serialize().size + ipc.get_record_batch_size(batch) + len(END)
    return size


def write_frame_into(batch: pa.RecordBatch, room: Buffer) -> None:
    """As `write_frame`, into writable memory of `frame_size(batch)` bytes.

    Raises:
        CodecError: if it takes another size after all, as one with dictionaries does.
    """
    out = pa.FixedSizeBufferWriter(pa.py_buffer(room))
    try:
        with ipc.new_stream(out, batch.schema, options=_WRITE[NO_COMPRESSION]) as writer:
            writer.write_batch(batch)
        size = out.tell()
    except (pa.ArrowException, OSError) as error:
        raise CodecError(f"a batch of {batch.num_rows} rows cannot be written in place: {error}") from error
    if size != len(room):
        raise CodecError(f"a batch of {batch.num_rows} rows takes {size} bytes, not {len(room)}")


def is_frame(payload: Buffer) -> bool:
    """Whether `payload` begins as a frame does, or the rest of one; tells it from anything else whatever the message
    says.
    """
    if payload[: len(CONTINUATION)] != CONTINUATION:
        return False
    try:
        return ipc.read_message(pa.py_buffer(payload)).type in ("schema", "record batch")
    except (pa.ArrowException, OSError, MemoryError, EOFError):
        return False


def checksum(*parts: Buffer) -> str:
    """Checksum of a frame, or of its pieces, as metadata carries it, for example `crc32:0a1b2c3d`."""
    value = 0
    for part in parts:
        value = crc32(part, value)
    return f"{CHECKSUM}:{value:08x}"


def read_frame(
    frame: Buffer, *, expected_checksum: str, expected_rows: int | None, limit: int, schema: pa.Schema | None = None
) -> pa.RecordBatch:
    """Read a frame that came from outside.

    Args:
        frame: the IPC stream; the batch may keep it alive and point into it.
        expected_checksum: as `checksum` writes it; empty if the sender gave none.
            One in another algorithm is not checked.
        expected_rows: what the sender says; None if it does not.
        limit: largest frame to accept, in bytes, as it came and as it unpacks.
        schema: of an earlier frame, if this is only the rest of one.

    Raises:
        FrameTooLargeError: if it is longer than `limit`, or would unpack to more.
        FrameCorruptError: if it is cut, changed, invalid, or not what the sender said.
    """
    size = memoryview(frame).nbytes
    if size > limit:
        raise FrameTooLargeError("a frame", size=size, limit=limit)
    if expected_checksum and expected_checksum.startswith(f"{CHECKSUM}:") and checksum(frame) != expected_checksum:
        raise FrameCorruptError(f"the checksum of a frame of {size} bytes is not {expected_checksum}")
    try:
        buffer = pa.py_buffer(frame)
        batch, unpacked = _read(buffer, limit) if schema is None else _read_with(schema, buffer, limit)
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError, EOFError, struct.error) as error:
        raise FrameCorruptError(f"a frame of {size} bytes cannot be read: {error}") from error
    # Columns of nulls, or of one value run-end encoded, take no room, and whoever walks the rows would never end.
    if batch.num_rows > 8 * max(size, unpacked):
        raise FrameCorruptError(f"a frame of {size} bytes says it has {batch.num_rows} rows")
    if expected_rows is not None and batch.num_rows != expected_rows:
        raise FrameCorruptError(f"a frame says it has {expected_rows} rows and has {batch.num_rows}")
    return batch


def _read(buffer: pa.Buffer, limit: int) -> tuple[pa.RecordBatch, int]:
    """The batch of a frame, and what its buffers take, with everything checked."""
    head = _head(buffer)
    schema = _known.get(head)
    if schema is not None and buffer.address % 8 == 0 and (found := _read_rest(buffer, len(head), schema, limit)):
        return found
    batch, unpacked = _read_whole(buffer, limit)
    if 0 < len(head) <= MAX_HEAD and len(_known) < MAX_KNOWN and not has_dictionaries(batch.schema):
        _known[head] = batch.schema
    return batch, unpacked


def _read_with(schema: pa.Schema, buffer: pa.Buffer, limit: int) -> tuple[pa.RecordBatch, int]:
    """The same for the rest of a frame."""
    if buffer.address % 8:
        buffer = pa.py_buffer(buffer.to_pybytes())
    found = _read_rest(buffer, 0, schema, limit)
    if found is None:
        raise FrameCorruptError("a frame without its schema has no record batch either, or more than one")
    return found


def _read_whole(buffer: pa.Buffer, limit: int) -> tuple[pa.RecordBatch, int]:
    """The same for a frame of any kind."""
    unpacked = _survey(buffer)
    if unpacked > limit:
        raise FrameTooLargeError("an unpacked frame", size=unpacked, limit=limit)
    batch = ipc.open_stream(buffer, options=_READ).read_next_batch()
    batch.validate(full=True)
    for field in batch.schema:
        _check_names(field)
    return batch, unpacked


def _read_rest(buffer: pa.Buffer, start: int, schema: pa.Schema, limit: int) -> tuple[pa.RecordBatch, int] | None:
    """The same for a frame whose schema message, up to `start`, is one that was read and checked before.

    That message is the same in each frame of a stream, and costs more than all the rest of a small one.

    Returns:
        None if the rest is not just one record batch.
    """
    prefix = buffer[start : start + 8].to_pybytes()
    if len(prefix) < 8 or prefix[:4] != CONTINUATION:
        return None
    try:
        message = ipc.read_message(buffer[start:])
    except EOFError:
        return None
    end = start + 8 + struct.unpack_from("<i", prefix, 4)[0] + message.body.size
    if message.type != "record batch" or buffer[end:].to_pybytes() not in (END, b""):
        return None
    unpacked = _survey_message(message)
    if unpacked > limit:
        raise FrameTooLargeError("an unpacked frame", size=unpacked, limit=limit)
    batch = ipc.read_record_batch(message, schema)
    batch.validate(full=True)
    return batch, unpacked


def _head(buffer: pa.Buffer) -> bytes:
    """The schema message of a frame, which has no body; empty if it does not begin as one."""
    start = buffer[:8].to_pybytes()
    if len(start) < 8 or start[:4] != CONTINUATION:
        return b""
    (length,) = struct.unpack_from("<i", start, 4)
    return buffer[: 8 + length].to_pybytes() if 0 < length <= MAX_HEAD else b""


def has_dictionaries(schema: pa.Schema) -> bool:
    """Whether the values of a column, or of one inside it, travel in messages of their own."""

    def inside(kind: pa.DataType) -> bool:
        return pa.types.is_dictionary(kind) or any(inside(kind.field(n).type) for n in range(kind.num_fields))

    return any(inside(field.type) for field in schema)


def _survey(frame: pa.Buffer) -> int:
    """Look at a frame's messages without unpacking any: how many bytes will its buffers take?

    Arrow allocates what a compressed buffer claims before it unpacks it, and copies buffers that are
    misaligned, also those that share the same bytes: so the claims are added up beforehand.

    Raises:
        FrameCorruptError: if the frame is not one schema and one record batch (with dictionaries between them).
    """
    source = pa.BufferReader(frame)
    unpacked = batches = 0
    for message in ipc.MessageReader.open_stream(source):
        batches += message.type == "record batch"
        unpacked += _survey_message(message)
    if batches != 1:
        raise FrameCorruptError(f"a frame with {batches} record batches")
    if source.tell() != frame.size:
        raise FrameCorruptError(f"a frame of {frame.size} bytes goes on after its end at byte {source.tell()}")
    return unpacked


def _survey_message(message: Any) -> int:
    """Bytes of all buffers of a message, as they will be in memory."""
    if message.metadata_version != V5:
        raise FrameCorruptError("a frame in an IPC format from before Arrow 1.0")
    metadata = memoryview(message.metadata)
    (root,) = struct.unpack_from("<I", metadata)
    header = _follow(metadata, _field(metadata, root, MESSAGE_HEADER))
    kind = message.type
    if kind == "schema":
        endianness = _field(metadata, header, SCHEMA_ENDIANNESS)
        if endianness and metadata[endianness] != 0:
            raise FrameCorruptError("a big-endian frame")
        return 0
    if kind == "dictionary":
        header = _follow(metadata, _field(metadata, header, DICTIONARY_DATA))
    elif kind != "record batch":
        raise FrameCorruptError(f"a frame with a message of type {kind}")
    return _unpacked_bytes(metadata, header, memoryview(message.body))


def _unpacked_bytes(metadata: memoryview, batch: int, body: memoryview) -> int:
    """Bytes of all buffers of the record batch header at `batch`, as they will be in memory."""
    vector = _field(metadata, batch, BATCH_BUFFERS)
    if not vector:
        return 0
    start = _follow(metadata, vector)
    (count,) = struct.unpack_from("<I", metadata, start)
    if not count:
        return 0
    numbers = struct.unpack_from(f"<{2 * count}q", metadata, start + 4)
    offsets, lengths = numbers[::2], numbers[1::2]
    if min(numbers) < 0 or max(map(add, offsets, lengths)) > len(body):
        raise FrameCorruptError("a frame with a buffer outside its body")
    if not _field(metadata, batch, BATCH_COMPRESSION):
        return sum(lengths)
    total = 0
    for offset, length in zip(offsets, lengths, strict=True):
        if not length:
            continue
        # The length before compression; -1 where the bytes behind it are as they were.
        (claimed,) = struct.unpack_from("<q", body, offset)
        if claimed < -1:
            raise FrameCorruptError(f"a frame with a buffer of {claimed} bytes")
        total += length if claimed == -1 else claimed
    return total


def _field(data: memoryview, table: int, number: int) -> int:
    """Where field `number` of the flatbuffers table at `table` lies, 0 if it is absent.

    Arrow has verified every offset of a message's metadata before anybody gets the message.
    """
    vtable = table - struct.unpack_from("<i", data, table)[0]
    slot = 4 + 2 * number
    if slot >= struct.unpack_from("<H", data, vtable)[0]:
        return 0
    offset: int = struct.unpack_from("<H", data, vtable + slot)[0]
    return table + offset if offset else 0


def _follow(data: memoryview, at: int) -> int:
    """Where the offset at `at` points to."""
    offset: int = struct.unpack_from("<I", data, at)[0]
    return at + offset


def _check_names(field: pa.Field) -> None:
    """Raises UnicodeDecodeError: if a column, or one inside it, has a name that is no text (Arrow does not look)."""
    assert field.name is not None
    for child in range(field.type.num_fields):
        _check_names(field.type.field(child))
