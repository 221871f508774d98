"""Where a verb puts its rows, and as what: JSON lines, Parquet or an Arrow stream, to standard output or into a file.

Takes what the verb has for each ledger, and two ways to see it: as lines and as a batch. A file appears whole under
its name or not at all.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Generic, Literal, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from cyclopts import Parameter

from flowctl_aio.durable import sync
from flowctl_aio.errors import ConfigError

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
Format = Literal["jsonl", "parquet", "arrow"]

# A batch of Arrow is full at so many rows or bytes, and a row group of Parquet; a reader who waits gets no full ones.
BATCH_ROWS, BATCH_BYTES = 8192, 16 << 20
GROUP_ROWS, GROUP_BYTES = 131_072, 64 << 20


@Parameter(name="*")
@dataclass(frozen=True)
class OutputOptions:
    """What comes out, and where."""

    format: Annotated[Format, Parameter(help="JSON lines, one Parquet file, or an Arrow IPC stream.")] = "jsonl"
    out: Annotated[Path | None, Parameter(help="A file, which appears when it is whole [standard output].")] = None

    def check(self) -> None:
        """Sees whether this can be done, before anything is read.

        Raises:
            ConfigError: if bytes would go to a terminal, nowhere, or the file cannot be one.
        """
        if self.out is None:
            if sys.stdout is None:
                raise ConfigError("standard output is closed: open it, or give --out")
            if self.format != "jsonl" and sys.stdout.isatty():
                raise ConfigError(
                    f"--format={self.format} is no text, and standard output is a terminal: redirect it, or give --out"
                )
        elif not self.out.absolute().parent.is_dir():
            raise ConfigError(f"--out={self.out} cannot be written: its folder is not there")
        elif self.out.exists() and not self.out.is_file():
            raise ConfigError(f"--out={self.out} is there, and no file")

    def check_end(self, last: int | None) -> None:
        """Sees whether what is to be whole has an end.

        Raises:
            ConfigError: if it has none.
        """
        if last is None and (self.out is not None or self.format == "parquet"):
            what = f"--format={self.format}" if self.out is None else "--out"
            raise ConfigError(f"{what} makes a file that is whole at its end: give --to")


class Writer(Protocol[T_contra]):
    """Takes what a verb has for each ledger. Blocks."""

    def write(self, item: T_contra) -> None: ...


@dataclass(frozen=True, slots=True)
class View(Generic[T]):
    """How what a verb has for a ledger is seen.

    Attributes:
        schema: of its batches.
        lines: it as text, each line with its end.
        batch: it as a `pa.RecordBatch`.
    """

    schema: Any
    lines: Callable[[T], str]
    batch: Callable[[T], Any]


@contextmanager
def open_output(options: OutputOptions, view: View[T], *, at_once: bool) -> Iterator[Writer[T]]:
    """A block that writes; what it has held back is written when it is left well.

    Args:
        options: what and where.
        view: how items are seen.
        at_once: whether a reader waits for each ledger, so that no batch is held back to be full.

    Raises:
        BrokenPipeError: if whoever reads standard output has gone.
        OSError: if the file cannot be written. Then, as after any failure, the file is what it was.
    """
    with _open_bytes(options.out) as file:
        if options.format == "jsonl":
            yield _Lines(file, view)
            return
        sink = _Sink(file)
        columns = _Columns(sink, view, options.format, at_once=at_once)
        try:
            yield columns
            columns.close()
        except BaseException:
            # What pyarrow still writes when it is taken down would make half a file look like a whole one.
            sink.is_dead = True
            raise


class _Lines(Generic[T]):
    def __init__(self, file: _Named, view: View[T]) -> None:
        self._file, self._view = file, view

    def write(self, item: T) -> None:
        self._file.write(self._view.lines(item).encode())
        self._file.flush()


class _Columns(Generic[T]):
    """Batches, held back until they are worth writing."""

    def __init__(self, sink: _Sink, view: View[T], kind: Format, *, at_once: bool) -> None:
        self._view, self._sink = view, sink
        self._most_rows, self._most_bytes = BATCH_ROWS, BATCH_BYTES
        if kind == "parquet":
            self._most_rows, self._most_bytes = GROUP_ROWS, GROUP_BYTES
            self._writer = pq.ParquetWriter(sink, view.schema, compression="zstd")
        else:
            self._writer = pa.ipc.new_stream(sink, view.schema)
        self._at_once = at_once
        self._held: list[Any] = []
        self._rows = self._bytes = 0

    def write(self, item: T) -> None:
        batch = self._view.batch(item)
        self._held.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._at_once or self._rows >= self._most_rows or self._bytes >= self._most_bytes:
            self._write_held()

    def close(self) -> None:
        """Write what is held back, and the end."""
        self._write_held()
        self._writer.close()
        self._sink.flush()

    def _write_held(self) -> None:
        if self._rows:
            table = pa.Table.from_batches(self._held, self._view.schema).combine_chunks()
            self._writer.write_table(table)
            self._sink.flush()
        self._held, self._rows, self._bytes = [], 0, 0


class _Sink(io.RawIOBase):
    """A file or pipe that only takes bytes, as pyarrow wants it: it tells how far it is, and can be made deaf."""

    def __init__(self, file: _Named) -> None:
        self._file, self._at = file, 0
        self.is_dead = False

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if not self.is_dead:
            self._file.write(data)
        self._at += size
        return size

    def flush(self) -> None:
        if not self.is_dead:
            self._file.flush()


class _Named:
    """A file whose errors say which: the system's own tell that a disk is full, and not where it was written to."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name

    def write(self, data: Any) -> None:
        with self._naming():
            self._file.write(data)

    def flush(self) -> None:
        with self._naming():
            self._file.flush()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # whose class follows from its number
            raise OSError(error.errno, error.strerror, self._name) from error


@contextmanager
def _open_bytes(path: Path | None) -> Iterator[_Named]:
    """Standard output, or a file that gets its name when it is whole and durable."""
    if path is None:
        output = _Named(sys.stdout.buffer, "standard output")
        yield output
        output.flush()
        return
    path = path.resolve()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            named = _Named(file, str(path))
            yield named
            named.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
