"""A batch ⇄ one self-contained Arrow IPC stream. Knows Arrow and nothing of the messages around it.

A frame is a whole IPC stream: schema, exactly one record batch, end mark. It carries its schema
because a bare batch read under a wrong one is accepted without a word, and it is never trusted:
size, checksum, row count and every buffer are checked before anybody sees a row.
"""

from __future__ import annotations

import zlib
from typing import Any, TypeAlias

import pyarrow as pa
from pyarrow import ipc

from flowctl_aio.errors import FrameCorruptError, FrameTooLargeError

# Whatever has the buffer protocol; `collections.abc.Buffer` begins with Python 3.12.
Buffer: TypeAlias = Any
CONTENT_TYPE = "application/vnd.apache.arrow.stream"
CHECKSUM = "crc32"

# Our own slices of a message start anywhere; Arrow copies just the buffers that need it
# (offsets and numbers), never the long ones of bytes.
_READ = ipc.IpcReadOptions(ensure_alignment=pa.lib.Alignment.DataTypeSpecific)


def write_frame(batch: pa.RecordBatch) -> pa.Buffer:
    """Write `batch` as one IPC stream."""
    out = pa.BufferOutputStream()
    with ipc.new_stream(out, batch.schema) as writer:
        writer.write_batch(batch)
    return out.getvalue()


def checksum(frame: Buffer) -> str:
    """Checksum of a frame as metadata carries it, for example `crc32:0a1b2c3d`."""
    return f"{CHECKSUM}:{zlib.crc32(frame):08x}"


def read_frame(frame: Buffer, *, expected_checksum: str, expected_rows: int | None, limit: int) -> pa.RecordBatch:
    """Read a frame that came from outside.

    Args:
        frame: the IPC stream; the batch may keep it alive and point into it.
        expected_checksum: as `checksum` writes it; empty if the sender gave none.
        expected_rows: what the sender says; None if it does not.
        limit: largest frame to accept, in bytes.

    Raises:
        FrameTooLargeError: if it is longer than `limit`.
        FrameCorruptError: if it is cut, changed, invalid, or not what the sender said.
    """
    size = memoryview(frame).nbytes
    if size > limit:
        raise FrameTooLargeError("a frame", size=size, limit=limit)
    if expected_checksum and expected_checksum.startswith(f"{CHECKSUM}:") and checksum(frame) != expected_checksum:
        raise FrameCorruptError(f"the checksum of a frame of {size} bytes is not {expected_checksum}")
    try:
        reader = ipc.open_stream(pa.py_buffer(frame), options=_READ)
        batch = reader.read_next_batch()
        batch.validate(full=True)
        more = next(iter(reader), None)
    except StopIteration:
        raise FrameCorruptError("a frame without a record batch") from None
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise FrameCorruptError(f"a frame of {size} bytes cannot be read: {error}") from error
    if more is not None:
        raise FrameCorruptError("a frame with more than one record batch")
    if expected_rows is not None and batch.num_rows != expected_rows:
        raise FrameCorruptError(f"a frame says it has {expected_rows} rows and has {batch.num_rows}")
    return batch
