"""What an epoch holds until it is committed: rows in memory, and beyond a limit in temporary files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from flowctl_aio.errors import SchemaMismatchError

from .columns import Columns, check_rows, columns_of, describe, schema_name, slices_by_date
from .parts import ParquetOptions, Part, merge_parts

# Each date of an epoch that is spilled has a file open; an epoch may span more dates than a process may open files.
MAX_OPEN_PARTS = 32


class EpochBuffer:
    """The rows of one epoch. `add` is quick; `spill`, `seal` and `discard` block and belong in a worker thread.

    Attributes:
        held_bytes: size of the rows in memory.
    """

    def __init__(self, out: Path, options: ParquetOptions) -> None:
        self.held_bytes = 0
        self._out, self._options = out, options
        self._schema: pa.Schema | None = None
        self._held: list[pa.RecordBatch] = []
        # By date, in the order of the rows; only the last part of a date may still be open.
        self._parts: dict[str, list[Part]] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch into memory.

        Raises:
            SchemaMismatchError: if its columns do not do, or are not those of the rows before it.
        """
        columns = columns_of(batch.schema)
        check_rows(batch, columns)
        if not batch.num_rows:
            return
        if self._schema is None:
            self._schema = batch.schema
        elif schema_name(batch.schema) != schema_name(self._schema) or not batch.schema.equals(self._schema):
            raise SchemaMismatchError(
                expected=f"{describe(self._schema)} of the epoch's first rows", found=describe(batch.schema)
            )
        self._held.append(batch)
        self.held_bytes += batch.nbytes

    def spill(self) -> None:
        """Move what is in memory to temporary files, one for each date."""
        if self._schema is None:
            return
        columns = columns_of(self._schema)
        for date, rows in self._by_date(columns):
            self._open_part(date, self._schema, columns).write(rows)
        self._held.clear()
        self.held_bytes = 0

    def seal(self) -> list[Part]:
        """Spill, and finish the files.

        Returns:
            The parts, one for each date, safely on the disk; they stay the buffer's until they are released.
        """
        self.spill()
        for date, parts in self._parts.items():
            for part in parts:
                part.seal()
            if len(parts) > 1:
                merged = merge_parts(parts, self._out, self._options)
                self._parts[date] = [merged]
                for part in parts:
                    part.discard()
        return [part for parts in self._parts.values() for part in parts]

    def discard(self) -> None:
        """Forget the rows and remove the files, but those that were released. May be called twice."""
        self._held.clear()
        self.held_bytes = 0
        for parts in self._parts.values():
            for part in parts:
                part.discard()
        self._parts.clear()

    def _by_date(self, columns: Columns) -> Iterator[tuple[str, pa.Table]]:
        runs: dict[str, list[pa.RecordBatch]] = {}
        for batch in self._held:
            for date, run in slices_by_date(batch, columns):
                runs.setdefault(date, []).append(run)
        for date, batches in runs.items():
            yield date, pa.Table.from_batches(batches, self._schema)

    def _open_part(self, date: str, schema: pa.Schema, columns: Columns) -> Part:
        """The part that takes the next rows of a date; the date written longest ago gives up its place for it."""
        parts = self._parts.pop(date, [])
        self._parts[date] = parts  # now the last in the order, so the first ones are the oldest
        if not parts or not parts[-1].is_open:
            still_open = [known[-1] for known in self._parts.values() if known and known[-1].is_open]
            for part in still_open[: len(still_open) - MAX_OPEN_PARTS + 1]:
                part.seal()
            parts.append(Part(self._out, date, schema, columns, self._options))
        return parts[-1]
