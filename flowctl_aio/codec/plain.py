"""One row ⇄ one plain message, for peers that know nothing of Arrow.

Ledgers are `RawLedger` in the classic source, and elsewhere an event of type `stellar.ledger.v1`
(v1) or `raw_ledger_service.RawLedger` (classic). Rows of a kind with its own columns
become JSON, one object a row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from flowctl_aio import _wire as wire
from flowctl_aio.batches import Batch, EventBatch, LedgerBatch, to_python
from flowctl_aio.errors import FrameCorruptError
from flowctl_aio.types import Cursor, Event, RawLedger

PROTOBUF = "application/protobuf"
JSON = "application/json"
LEDGER_TYPE_V1 = "stellar.ledger.v1"
LEDGER_TYPE_CLASSIC = LedgerBatch.event_type
LEDGER_TYPES = frozenset({LEDGER_TYPE_V1, LEDGER_TYPE_CLASSIC})

# Fields of the v1 event that the classic one lacks travel in its metadata, and the other way round.
ID_KEY, CONTENT_TYPE_KEY, SOURCE_KEY, CURSOR_KEY = "event-id", "content-type", "source-component-id", "cursor"
VERSION_KEY = "schema-version"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rows(batch: Batch) -> Iterator[RawLedger | Event]:
    """The rows of a batch as values; rows with columns of their own become JSON events."""
    if isinstance(batch, LedgerBatch) or batch.is_generic:
        yield from batch
        return
    columns = to_python(batch.record_batch)
    for values in zip(*columns, strict=True):
        row = dict(zip(batch.schema.names, values, strict=True))
        try:
            payload = _JSON.encode(row).encode()
        except ValueError:  # infinite or not a number, which JSON has no word for: null, as JavaScript writes it
            payload = _JSON.encode(_finite(row)).encode()
        sequence = row.get("ledger_sequence")
        yield Event(
            batch.event_type,
            payload,
            content_type=JSON,
            metadata={"arrow-schema": batch.schema_name},
            cursor=Cursor(sequence) if isinstance(sequence, int) and 0 <= sequence < 2**64 else batch.first_cursor,
        )


def from_rows(values: list[RawLedger | Event]) -> Iterator[Batch]:
    """Batches of runs of like rows, in order."""
    run: list[Any] = []
    for value in values:
        if run and type(value) is not type(run[0]):
            yield _batch_of(run)
            run = []
        run.append(value)
    if run:
        yield _batch_of(run)


def _batch_of(run: list[Any]) -> Batch:
    return LedgerBatch.from_ledgers(run) if isinstance(run[0], RawLedger) else EventBatch.from_events(run)


def ledger_to_wire(ledger: RawLedger) -> wire.RawLedger:
    return wire.RawLedger(
        ledger_sequence=ledger.sequence,
        xdr_data=ledger.xdr,
        timestamp=timestamp_to_wire(ledger.closed_at),
        network=ledger.network,
        metadata=ledger.metadata,
    )


def ledger_from_wire(message: wire.RawLedger) -> RawLedger:
    return RawLedger(
        sequence=message.ledger_sequence,
        xdr=message.xdr_data,
        closed_at=timestamp_from_wire(message.timestamp) if message.HasField("timestamp") else None,
        network=message.network,
        metadata=dict(message.metadata),
    )


def ledger_to_event(ledger: RawLedger, event_type: str) -> Event:
    """A ledger as an event, the way Go ledger sources send it."""
    payload = wire.StellarLedger(
        sequence=ledger.sequence,
        ledger_close_meta_xdr=ledger.xdr,
        network=ledger.network,
        closed_at=(ledger.closed_at - EPOCH) // timedelta(seconds=1) if ledger.closed_at else 0,
    )
    return Event(
        event_type,
        payload.SerializeToString(),
        id=f"stellar-ledger-{ledger.sequence}",
        timestamp=ledger.closed_at,
        metadata={**ledger.metadata, "ledger_sequence": str(ledger.sequence), "xdr_size": str(len(ledger.xdr))},
        content_type=PROTOBUF,
        cursor=Cursor(ledger.sequence),
    )


def ledger_from_event(event: Event) -> RawLedger | Event:
    """The ledger inside a ledger event; the event itself where its payload is something else."""
    if event.event_type not in LEDGER_TYPES or event.content_type.partition(";")[0] != PROTOBUF:
        return event
    try:
        payload = wire.StellarLedger.FromString(event.payload)
        closed_at = EPOCH + timedelta(seconds=payload.closed_at) if payload.closed_at else event.timestamp
    except (DecodeError, OverflowError) as error:
        raise FrameCorruptError(f"the payload of {event.event_type} event {event.id!r} cannot be read") from error
    if event.timestamp is not None and event.timestamp.replace(microsecond=0) == closed_at:
        closed_at = event.timestamp  # the same second, told more exactly
    return RawLedger(
        sequence=payload.sequence,
        xdr=payload.ledger_close_meta_xdr,
        closed_at=closed_at,
        network=payload.network,
        metadata={k: v for k, v in event.metadata.items() if k not in ("ledger_sequence", "xdr_size")},
    )


def event_to_classic(event: Event) -> wire.Event:
    extra = {
        ID_KEY: event.id,
        CONTENT_TYPE_KEY: event.content_type,
        SOURCE_KEY: event.source,
        CURSOR_KEY: str(event.cursor) if event.cursor is not None else "",
    }
    return wire.Event(
        event_type=event.event_type,
        payload=event.payload,
        schema_version=event.schema_version,
        timestamp=timestamp_to_wire(event.timestamp),
        metadata={**event.metadata, **{key: value for key, value in extra.items() if value}},
    )


def event_from_classic(message: wire.Event) -> Event:
    metadata = dict(message.metadata)
    id_, content_type, source = (metadata.pop(key, "") for key in (ID_KEY, CONTENT_TYPE_KEY, SOURCE_KEY))
    try:
        cursor = cursor_from_text(metadata.get(CURSOR_KEY))
    except FrameCorruptError:
        cursor = None  # a stranger's own cursor, which stays in the metadata
    if cursor is not None:
        del metadata[CURSOR_KEY]
    return Event(
        event_type=message.event_type,
        payload=message.payload,
        id=id_,
        schema_version=message.schema_version,
        timestamp=timestamp_from_wire(message.timestamp) if message.HasField("timestamp") else None,
        metadata=metadata,
        content_type=content_type,
        source=source,
        cursor=cursor,
    )


def event_to_v1(event: Event) -> wire.v1.Event:
    version = {VERSION_KEY: str(event.schema_version)} if event.schema_version else {}
    return wire.v1.Event(
        id=event.id,
        type=event.event_type,
        payload=event.payload,
        metadata={**event.metadata, **version},
        timestamp=timestamp_to_wire(event.timestamp),
        source_component_id=event.source,
        content_type=event.content_type,
        stellar_cursor=cursor_to_wire(event.cursor),
    )


def event_from_v1(message: wire.v1.Event) -> Event:
    metadata = dict(message.metadata)
    version = metadata.get(VERSION_KEY, "")
    # A stranger may mean something else by the same key, which is then left where it is.
    is_ours = version.isascii() and version.isdigit() and len(version) <= 10 and int(version) < 2**32
    if is_ours:
        del metadata[VERSION_KEY]
    return Event(
        event_type=message.type,
        payload=message.payload,
        id=message.id,
        schema_version=int(version) if is_ours else 0,
        timestamp=timestamp_from_wire(message.timestamp) if message.HasField("timestamp") else None,
        metadata=metadata,
        content_type=message.content_type,
        source=message.source_component_id,
        cursor=cursor_from_wire(message.stellar_cursor) if message.HasField("stellar_cursor") else None,
    )


def timestamp_to_wire(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def timestamp_from_wire(stamp: Timestamp) -> datetime:
    """Raises FrameCorruptError: if the seconds lie outside the years 1 to 9999."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise FrameCorruptError(f"a timestamp of {stamp.seconds} s is no date") from error


def cursor_to_wire(cursor: Cursor | None) -> wire.v1.StellarCursor | None:
    if cursor is None:
        return None
    return wire.v1.StellarCursor(ledger_sequence=cursor.sequence, index_in_ledger=cursor.index)


def cursor_from_wire(message: wire.v1.StellarCursor) -> Cursor:
    return Cursor(message.ledger_sequence, message.index_in_ledger)


def cursor_from_text(text: str | None) -> Cursor | None:
    """Raises FrameCorruptError: if there is a text, and it is no cursor."""
    if not text:
        return None
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise FrameCorruptError(str(error)) from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


_JSON = json.JSONEncoder(default=_json_value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
