"""Parquet files while they are written: under temporary names, which nobody reads, until the folder publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flowctl_aio import __version__
from flowctl_aio.durable import sync

from .columns import Columns, ledgers_of
from .names import TEMPORARY, DataFile, new_name


@dataclass(frozen=True, slots=True)
class ParquetOptions:
    """How Parquet is written.

    Attributes:
        compression: a codec's name in Parquet's own words.
        row_group_rows: rows in a row group, at most.
    """

    compression: str
    row_group_rows: int


class Part:
    """Rows of one date, as one temporary file; blocking, for worker threads.

    Attributes:
        path: the temporary file.
        first, last: the ledgers of its rows, both included; meaningless before the first `write`.
        rows: how many it has.
        bytes: its size; 0 before `seal`.
    """

    def __init__(self, out: Path, date: str, schema: pa.Schema, columns: Columns, options: ParquetOptions) -> None:
        self.date, self.schema, self.columns = date, schema, columns
        self.path = out / new_name(TEMPORARY)
        self.first = self.last = self.rows = self.bytes = 0
        self._row_group_rows = options.row_group_rows
        self._is_ours = True
        # Opening the file ourselves lets `seal` close it whatever the writer does.
        self._sink = pa.OSFile(str(self.path), "wb")
        try:
            self._writer = pq.ParquetWriter(self._sink, schema, compression=options.compression)
        except BaseException:
            self._sink.close()
            self.path.unlink()
            raise

    @property
    def file(self) -> DataFile:
        """What it will be once it is published."""
        return DataFile(self.date, self.first, self.last)

    @property
    def is_open(self) -> bool:
        """Whether more rows can be written."""
        return not self._sink.closed

    def write(self, rows: pa.Table) -> None:
        """Append rows, as row groups of their own."""
        if not rows.num_rows:
            return
        first, last = ledgers_of(rows, self.columns)
        self.first = min(self.first, first) if self.rows else first
        self.last = max(self.last, last) if self.rows else last
        self._writer.write_table(rows, row_group_size=self._row_group_rows)
        self.rows += rows.num_rows

    def seal(self) -> None:
        """Finish the file, and have it on the disk when this returns. May be called twice."""
        if not self.is_open:
            return
        # The schema's own metadata, with its name, is in the file already.
        self._writer.add_key_value_metadata(
            {
                "flowctl.first_ledger": str(self.first),
                "flowctl.last_ledger": str(self.last),
                "flowctl.writer": f"flowctl_aio {__version__}",
            }
        )
        self._writer.close()
        self._sink.close()
        sync(self.path)
        self.bytes = self.path.stat().st_size

    def release(self) -> None:
        """From here on the file is somebody else's to keep or to remove."""
        self._is_ours = False

    def discard(self) -> None:
        """Remove the file, unless it was released."""
        if self.is_open:
            with suppress(OSError, pa.ArrowException):
                self._writer.close()
            with suppress(OSError):
                self._sink.close()
        if self._is_ours:
            self.path.unlink(missing_ok=True)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Opens a Parquet file for reading by row groups, so that no more than one is in memory."""
    return pq.ParquetFile(path)


def merge_parts(parts: Sequence[Part], out: Path, options: ParquetOptions) -> Part:
    """Copies sealed parts of one date into one, in their order. They are left as they are."""
    merged = Part(out, parts[0].date, parts[0].schema, parts[0].columns, options)
    try:
        for part in parts:
            with open_parquet(part.path) as source:
                for group in range(source.num_row_groups):
                    merged.write(source.read_row_group(group))
        merged.seal()
    except BaseException:
        merged.discard()
        raise
    return merged
