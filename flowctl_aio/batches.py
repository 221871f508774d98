"""What flows: typed views over one Arrow record batch, and the two schemas that the SDK itself knows.

A `LedgerBatch` always has the columns of `ledger_schema()`. An `EventBatch` has those of
`event_schema()`, one row an event of any kind, or the columns of some kind's own schema
(token transfers, say), which is how events travel that are worth analysing.
Both speak the Arrow PyCapsule protocol, so polars, duckdb and pandas read them without a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from flowctl_aio.errors import CodecError, SchemaMismatchError, UsageError
from flowctl_aio.types import NOTHING, Cursor, Event, RawLedger

if TYPE_CHECKING:
    import pyarrow as pa

# Name and version of a schema, as `name@version`, in the schema's own metadata.
SCHEMA_KEY = b"flowctl.schema"
LEDGER_SCHEMA = "raw_ledger@1"
EVENT_SCHEMA = "event@1"


@cache
def ledger_schema() -> pa.Schema:
    """Columns of a LedgerBatch: sequence, closed_at, network, xdr, metadata."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("sequence", pa.uint32(), nullable=False),
            pa.field("closed_at", pa.timestamp("us", tz="UTC")),
            pa.field("network", pa.string(), nullable=False),
            # Ledgers of tens of megabytes are possible, and `binary` ends at 2 GiB a column.
            pa.field("xdr", pa.large_binary(), nullable=False),
            pa.field("metadata", pa.map_(pa.string(), pa.string())),
        ],
        metadata={SCHEMA_KEY: LEDGER_SCHEMA},
    )


@cache
def event_schema() -> pa.Schema:
    """Columns of a generic EventBatch, one for each field of `Event`."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("event_type", pa.string(), nullable=False),
            pa.field("payload", pa.large_binary(), nullable=False),
            pa.field("id", pa.string(), nullable=False),
            pa.field("schema_version", pa.uint32(), nullable=False),
            pa.field("timestamp", pa.timestamp("us", tz="UTC")),
            pa.field("metadata", pa.map_(pa.string(), pa.string())),
            pa.field("content_type", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("cursor_sequence", pa.uint64()),
            pa.field("cursor_index", pa.uint32()),
        ],
        metadata={SCHEMA_KEY: EVENT_SCHEMA},
    )


def schema_name(schema: pa.Schema) -> str:
    """`name@version` of a schema, empty where it has none."""
    name: bytes = (schema.metadata or {}).get(SCHEMA_KEY, b"")
    return name.decode("utf-8", "replace")


class _Batch:
    """What both kinds share: one record batch, its size, its slices, its capsules.

    Attributes:
        trace: the W3C trace context that it came with, so that what becomes of it joins the trace; empty for none.
    """

    __slots__ = ("first_cursor", "last_cursor", "record_batch", "trace")
    record_batch: pa.RecordBatch
    first_cursor: Cursor | None
    last_cursor: Cursor | None
    trace: Mapping[str, str]

    def __len__(self) -> int:
        return int(self.record_batch.num_rows)

    def __repr__(self) -> str:
        where = f" {self.first_cursor}..{self.last_cursor}" if self.first_cursor is not None else ""
        return f"<{type(self).__name__} {len(self)} rows {self.schema_name or 'custom'}{where}>"

    @property
    def nbytes(self) -> int:
        """Size of the rows in memory, in bytes; a slice counts only its own rows."""
        return int(self.record_batch.nbytes)

    @property
    def schema(self) -> pa.Schema:
        return self.record_batch.schema

    @property
    def schema_name(self) -> str:
        """`name@version`, empty for columns of the user's own without a name."""
        return schema_name(self.record_batch.schema)

    def __arrow_c_array__(self, requested_schema: object | None = None) -> Any:
        return self.record_batch.__arrow_c_array__(requested_schema)

    def __arrow_c_schema__(self) -> Any:
        return self.record_batch.schema.__arrow_c_schema__()


class LedgerBatch(_Batch):
    """Ledgers in a row, as one record batch with the columns of `ledger_schema()`.

    Args:
        record_batch: anything that speaks the Arrow PyCapsule protocol.

    Raises:
        SchemaMismatchError: if its columns are others, or have nulls where none may be.
    """

    __slots__ = ()
    event_type: ClassVar[str] = "raw_ledger_service.RawLedger"

    def __init__(self, record_batch: Any) -> None:
        batch = _as_record_batch(record_batch)
        if not batch.schema.equals(ledger_schema()):
            raise SchemaMismatchError(expected=LEDGER_SCHEMA, found=_describe(batch.schema))
        _check_nulls(batch, LEDGER_SCHEMA)
        if schema_name(batch.schema) != LEDGER_SCHEMA:  # the name is what a peer knows the columns by
            batch = batch.replace_schema_metadata({**(batch.schema.metadata or {}), SCHEMA_KEY: LEDGER_SCHEMA})
        self.record_batch = batch
        self.trace = NOTHING
        self.first_cursor = self.last_cursor = None
        if batch.num_rows:
            sequences = batch.column(0)
            self.first_cursor = Cursor(sequences[0].as_py())
            self.last_cursor = Cursor(sequences[-1].as_py())

    @classmethod
    def from_ledgers(cls, ledgers: Iterable[RawLedger]) -> LedgerBatch:
        """Copy values into a batch, in the order in which they come.

        Raises:
            UsageError: if one is no RawLedger.
            CodecError: if a value does not go into its column; row and column are named.
        """
        import pyarrow as pa

        rows = list(ledgers)
        schema = ledger_schema()
        try:
            columns: list[list[Any]] = [
                [row.sequence for row in rows],
                [row.closed_at for row in rows],
                [row.network for row in rows],
                [row.xdr for row in rows],
                [list(row.metadata.items()) for row in rows],
            ]
        except AttributeError as error:
            raise _no_row(rows, RawLedger) from error
        return cls(pa.record_batch(_arrays(columns, schema), schema=schema))

    def __iter__(self) -> Iterator[RawLedger]:
        columns = to_python(self.record_batch)
        for sequence, closed_at, network, xdr, metadata in zip(*columns, strict=True):
            yield RawLedger(sequence, xdr, closed_at, network, _texts(metadata))

    def slice(self, start: int, rows: int | None = None) -> LedgerBatch:
        """Rows `start` to `start + rows` (excluded), without a copy."""
        sliced = LedgerBatch(self.record_batch.slice(start, rows))
        sliced.trace = self.trace
        return sliced


class EventBatch(_Batch):
    """Events in a row, as one record batch: generic ones, or rows of one kind's own schema.

    A batch without rows is worth sending: its cursors tell how far a processor has come.

    Args:
        record_batch: anything that speaks the Arrow PyCapsule protocol.
        event_type: what the rows are; for generic events the default is the first row's.
        first_cursor, last_cursor: what part of the ledger stream the batch covers, both included;
            for generic events the default is taken from the first and last row.
    """

    __slots__ = ("event_type",)

    def __init__(
        self,
        record_batch: Any,
        *,
        event_type: str | None = None,
        first_cursor: Cursor | None = None,
        last_cursor: Cursor | None = None,
    ) -> None:
        batch = _as_record_batch(record_batch)
        if schema_name(batch.schema) == EVENT_SCHEMA:
            if not batch.schema.equals(event_schema()):
                raise SchemaMismatchError(expected=EVENT_SCHEMA, found=_describe(batch.schema))
            _check_nulls(batch, EVENT_SCHEMA)
            if batch.num_rows:
                event_type = batch.column(0)[0].as_py() if event_type is None else event_type
                first_cursor = _row_cursor(batch, 0) if first_cursor is None else first_cursor
                last_cursor = _row_cursor(batch, -1) if last_cursor is None else last_cursor
        self.record_batch = batch
        self.trace = NOTHING
        self.event_type: str = event_type or ""
        self.first_cursor = first_cursor
        self.last_cursor = last_cursor

    @property
    def is_generic(self) -> bool:
        """Whether the columns are those of `event_schema()`, so that iterating gives events."""
        return self.schema_name == EVENT_SCHEMA

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> EventBatch:
        """Copy values into a generic batch, in the order in which they come.

        Raises:
            UsageError: if one is no Event.
            CodecError: if a value does not go into its column; row and column are named.
        """
        import pyarrow as pa

        rows = list(events)
        schema = event_schema()
        try:
            columns: list[list[Any]] = [
                [row.event_type for row in rows],
                [row.payload for row in rows],
                [row.id for row in rows],
                [row.schema_version for row in rows],
                [row.timestamp for row in rows],
                [list(row.metadata.items()) for row in rows],
                [row.content_type for row in rows],
                [row.source for row in rows],
                [row.cursor and row.cursor.sequence for row in rows],
                [row.cursor and row.cursor.index for row in rows],
            ]
        except AttributeError as error:
            raise _no_row(rows, Event) from error
        return cls(pa.record_batch(_arrays(columns, schema), schema=schema))

    def __iter__(self) -> Iterator[Event]:
        if not self.is_generic:
            raise SchemaMismatchError(expected=EVENT_SCHEMA, found=_describe(self.schema))
        columns = to_python(self.record_batch)
        for kind, payload, id_, version, timestamp, metadata, content_type, source, sequence, index in zip(
            *columns, strict=True
        ):
            yield Event(
                kind,
                payload,
                id_,
                version,
                timestamp,
                _texts(metadata),
                content_type,
                source,
                None if sequence is None else Cursor(sequence, index or 0),
            )

    def slice(self, start: int, rows: int | None = None) -> EventBatch:
        """Rows `start` to `start + rows` (excluded), without a copy.

        Generic events have cursors of their own. Of other rows nobody knows where they belong, so every slice
        keeps the whole batch's first cursor, and the one with the last row its last cursor: whoever has
        only an earlier slice must not believe that he has come that far.
        """
        part = self.record_batch.slice(start, rows)
        has_first, has_last = start == 0, start + part.num_rows == len(self)
        sliced = EventBatch(
            part,
            event_type=self.event_type,
            first_cursor=self.first_cursor if has_first or not self.is_generic else None,
            last_cursor=self.last_cursor if has_last else None,
        )
        sliced.trace = self.trace
        return sliced


Batch: TypeAlias = LedgerBatch | EventBatch


def to_python(batch: pa.RecordBatch) -> list[list[Any]]:
    """The columns of `batch` as Python values.

    Raises:
        CodecError: if a column has values that Python has not, such as times after the year 9999.
    """
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns.append(column.to_pylist())
        except (ArithmeticError, LookupError, ValueError) as error:
            raise CodecError(f"the column {name} has a value that Python has not: {error}") from error
    return columns


def _texts(pairs: list[tuple[str, str | None]] | None) -> dict[str, str]:
    return {key: value or "" for key, value in pairs or ()}


def _check_nulls(batch: pa.RecordBatch, expected: str) -> None:
    """Arrow does not mind nulls in columns that say they have none."""
    for index, name in _columns_without_nulls(expected):
        if count := batch.column(index).null_count:
            raise SchemaMismatchError(expected=expected, found=f"{count} nulls in its column {name}")


@cache
def _columns_without_nulls(schema: str) -> list[tuple[int, str]]:
    columns = ledger_schema() if schema == LEDGER_SCHEMA else event_schema()
    return [(index, field.name) for index, field in enumerate(columns) if not field.nullable]


def _as_record_batch(value: Any) -> pa.RecordBatch:
    import pyarrow as pa

    return value if isinstance(value, pa.RecordBatch) else pa.record_batch(value)


def _arrays(columns: list[list[Any]], schema: pa.Schema) -> list[pa.Array]:
    import pyarrow as pa

    arrays = []
    for values, field in zip(columns, schema, strict=True):
        try:
            arrays.append(pa.array(values, type=field.type))
        except _UNFIT as error:
            raise _unfit(values, field) from error
    return arrays


# What pyarrow says of a value that does not go into its column; its own errors are among them.
_UNFIT = (ArithmeticError, AttributeError, TypeError, ValueError)


def _unfit(values: list[Any], field: pa.Field) -> CodecError:
    """Which of the values it is; all of them are tried again, one by one, for Arrow does not tell."""
    import pyarrow as pa

    for row, value in enumerate(values):
        try:
            pa.array([value], type=field.type)
        except _UNFIT:
            if pa.types.is_map(field.type):
                return CodecError(f"the {field.name} of row {row} has what is no text")
            # A text may be secret, a number tells what is wrong with it.
            found = repr(value) if isinstance(value, int) else type(value).__name__
            return CodecError(f"the {field.name} of row {row} is {found}, which is no {field.type}")
    return CodecError(f"the column {field.name} is too long for one batch")


def _no_row(rows: list[Any], kind: type[RawLedger | Event]) -> UsageError:
    """Which of them cannot be one."""
    for number, row in enumerate(rows):
        if not isinstance(row, kind):
            return UsageError(f"row {number} is {type(row).__name__}, not {kind.__name__}")
        metadata: Any = row.metadata
        if not isinstance(metadata, Mapping):
            return UsageError(f"the metadata of row {number} is {type(metadata).__name__}, not texts by name")
        cursor: Any = getattr(row, "cursor", None)
        if not isinstance(cursor, Cursor | None):
            return UsageError(f"the cursor of row {number} is {cursor!r}, not a Cursor")
    return UsageError(f"a row lacks what a {kind.__name__} has")


def _row_cursor(batch: pa.RecordBatch, row: int) -> Cursor | None:
    sequence = batch.column(8)[row].as_py()
    return None if sequence is None else Cursor(sequence, batch.column(9)[row].as_py() or 0)


def _describe(schema: pa.Schema) -> str:
    name = schema_name(schema)
    columns = ", ".join(f"{field.name}: {field.type}" for field in list(schema)[:12])
    return f"{name} ({columns})" if name else f"({columns})"
