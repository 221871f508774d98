"""Which columns of a batch say when and in which ledger its events happened, and what follows from them.

Pure: batches in, ranges and slices out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flowctl_aio.errors import SchemaMismatchError

from .names import MAX_LEDGER, UNDATED

TIME_COLUMNS = ("closed_at", "timestamp")
LEDGER_COLUMNS = ("ledger_sequence", "cursor_sequence")
EXPECTED = "with a timestamp column closed_at or timestamp, and an integer column ledger_sequence or cursor_sequence"

_EPOCH = date(1970, 1, 1)
_SECONDS = (-62_135_596_800, 253_402_300_799)  # of the years 1 to 9999, which a date can have
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that matter to the sink.

    Attributes:
        time: a timestamp; one without a time zone is taken for UTC.
        ledger: an integer, the sequence of the ledger.
    """

    time: str
    ledger: str


def columns_of(schema: pa.Schema) -> Columns:
    """Finds the columns.

    Raises:
        SchemaMismatchError: if one is missing or of another type, or if a column is called like the partitions.
    """
    time = _find(schema, TIME_COLUMNS, pa.types.is_timestamp)
    ledger = _find(schema, LEDGER_COLUMNS, pa.types.is_integer)
    if time is None or ledger is None:
        raise SchemaMismatchError(expected=EXPECTED, found=describe(schema))
    if "date" in schema.names:
        raise SchemaMismatchError(expected="without a column date, which the partitions add", found=describe(schema))
    return Columns(time, ledger)


def describe(schema: pa.Schema) -> str:
    """Returns a schema in a line: its name, if it has one, and its first columns."""
    name = schema_name(schema)
    columns = ", ".join(f"{field.name}: {field.type}" for field in list(schema)[:12])
    return f"{name} ({columns})" if name else f"({columns})"


def schema_name(schema: pa.Schema) -> str:
    """Returns `name@version` of a schema, empty where it has none."""
    name: bytes = (schema.metadata or {}).get(b"flowctl.schema", b"")
    return name.decode("utf-8", "replace")


def check_rows(batch: pa.RecordBatch, columns: Columns) -> None:
    """Checks that each row can be put in its place.

    Raises:
        SchemaMismatchError: if a row has no ledger, one that does not exist, or a time outside the years 1 to 9999.
    """
    if not batch.num_rows:
        return
    sequences = batch.column(columns.ledger)
    if sequences.null_count:
        row = sequences.is_null().index(True).as_py()
        raise SchemaMismatchError(expected=f"with {columns.ledger} in every row", found=f"none in row {row}")
    first, last = ledgers_of(batch, columns)
    if first < 0 or last > MAX_LEDGER:
        found = first if first < 0 else last
        raise SchemaMismatchError(expected=f"with {columns.ledger} from 0 to {MAX_LEDGER}", found=str(found))
    times = batch.column(columns.time)
    per_second = _PER_SECOND[times.type.unit]
    for number in pc.min_max(times.cast(pa.int64())).as_py().values():
        if number is not None and not _SECONDS[0] <= number // per_second <= _SECONDS[1]:
            raise SchemaMismatchError(
                expected=f"with {columns.time} in the years 1 to 9999", found=f"{number} {times.type.unit} from 1970"
            )


def ledgers_of(batch: pa.RecordBatch | pa.Table, columns: Columns) -> tuple[int, int]:
    """Returns the lowest and the highest ledger of rows, of which there must be one at least."""
    ends: dict[str, int] = pc.min_max(batch.column(columns.ledger)).as_py()
    return ends["min"], ends["max"]


def slices_by_date(batch: pa.RecordBatch, columns: Columns) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yields runs of rows of one UTC date, with that date as `YYYY-MM-DD`, in the order of the rows, without a copy.

    Rows of ledgers in a row are one run a day; other orders work as well, in more runs.
    """
    times = batch.column(columns.time)
    # A date of a time in a time zone is a local one; the zone changes how a time is shown, not what it is.
    in_utc = times.cast(pa.timestamp(times.type.unit, tz="UTC"))
    runs = pc.run_end_encode(in_utc.cast(pa.date32()).cast(pa.int32()))
    start = 0
    for end, days in zip(runs.run_ends.to_pylist(), runs.values.to_pylist(), strict=True):
        yield _date_text(days), batch.slice(start, end - start)
        start = end


def _date_text(days: int | None) -> str:
    return UNDATED if days is None else (_EPOCH + timedelta(days=days)).isoformat()


def _find(schema: pa.Schema, names: tuple[str, ...], is_right: Any) -> str | None:
    for name in names:
        index = schema.get_field_index(name)  # -1 also if there are two of that name
        if index >= 0 and is_right(schema.field(index).type):
            return name
    return None
