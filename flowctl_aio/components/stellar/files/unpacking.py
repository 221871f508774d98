"""A file as a stream of bytes: unpacked, if it is packed, as it is read. All of it blocks.

A packed file that is cut is an error when its end is reached, never a shorter file; a small one that stands for a huge
one costs no more memory than is asked for at a time.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from flowctl_aio.errors import FrameCorruptError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
# A zstd block of four bytes can stand for 128 KiB, so this much input gives 64 MiB at most.
_INPUT_SLICE = 2048


class Bytes:
    """The unpacked bytes of an open file.

    Every method reads on, and raises FrameCorruptError if what it was packed with is broken.
    """

    def __init__(self, path: Path, raw: BinaryIO, stream: io.BufferedReader) -> None:
        self.path = path
        self._raw, self._stream = raw, stream

    @property
    def stored(self) -> int:
        """How far the file itself was read."""
        return self._raw.tell()

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        with _named(self.path):
            return self._stream.read(size)

    def read_line(self, limit: int) -> bytes:
        """The next line with its end, or `limit` bytes of it."""
        with _named(self.path):
            return self._stream.readline(limit)


@contextmanager
def open_bytes(path: Path) -> Iterator[Bytes]:
    """Opens a file, and unpacks it as often as it is packed, at most twice.

    Raises:
        FrameCorruptError: if it is packed, and that is broken at its start.
        OSError: if it cannot be opened.
    """
    with path.open("rb") as raw:
        stream = raw
        with _named(path):
            for _ in range(2):
                head = stream.peek(4)[:4]
                if head == _ZSTD:
                    stream = io.BufferedReader(_Unzstd(stream))
                elif head[:2] == _GZIP:
                    stream = io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=stream, mode="rb")))
                else:
                    break
        yield Bytes(path, raw, stream)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of unpacking as ours, with the file's name."""
    import zstandard

    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise FrameCorruptError(f"{path} is cut, or broken inside: {error}") from error


class _Unzstd(io.RawIOBase):
    """Unpacks zstd frames that stand one behind the other; the library's own reader takes a cut one for whole."""

    def __init__(self, packed: BinaryIO) -> None:
        import zstandard

        self._packed, self._new = packed, zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._input = self._ready = b""
        self._is_inside = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._ready:
            data = self._input or self._packed.read(_INPUT_SLICE)
            self._input = b""
            if not data:
                if self._is_inside:
                    raise EOFError("its zstd frame does not end")
                return 0
            self._is_inside = True
            self._ready = self._frame.decompress(data)
            if self._frame.eof:
                self._input, self._frame, self._is_inside = self._frame.unused_data, self._new(), False
        target = memoryview(buffer).cast("B")
        part = self._ready[: len(target)]
        target[: len(part)] = part
        self._ready = self._ready[len(part) :]
        return len(part)
