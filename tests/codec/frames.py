"""Batches of each kind, and their frames, whole or with something changed in them."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from pyarrow import ipc

from flowctl_aio.batches import SCHEMA_KEY, EventBatch, LedgerBatch
from flowctl_aio.codec import arrow
from flowctl_aio.codec.envelope import Envelope, encode_frame
from flowctl_aio.types import Cursor, Event, RawLedger

LIMIT = 1024 * 1024
quick = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
ENVELOPES = pytest.mark.parametrize("envelope", Envelope, ids=lambda envelope: envelope.name)
TRANSFERS = pa.schema(
    [pa.field("asset", pa.string(), nullable=False), pa.field("amount", pa.int64())],
    metadata={SCHEMA_KEY: b"transfers@2"},
)


def transfers(rows, schema=TRANSFERS, **facts):
    columns = [[asset for asset, _ in rows], [amount for _, amount in rows]]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return EventBatch(pa.RecordBatch.from_arrays(arrays, schema=schema), **facts)


LEDGERS = LedgerBatch.from_ledgers(
    [RawLedger(7, b"seven", datetime(2025, 1, 1, tzinfo=UTC), "test", {"a": "b"}), RawLedger(8, b"eight")]
)
EVENTS = EventBatch.from_events([Event("kind", b"payload", id="1", cursor=Cursor(7, 1)), Event("kind", b"", id="2")])
TYPED = transfers([("XLM", 5), ("USDC", None)], event_type="t", first_cursor=Cursor(7), last_cursor=Cursor(8))
BATCHES = pytest.mark.parametrize("batch", [LEDGERS, EVENTS, TYPED], ids=["ledgers", "events", "typed"])


def facts(batch):
    """What must survive the wire, as something to compare."""
    return (
        type(batch),
        batch.schema_name,
        batch.event_type,
        batch.first_cursor,
        batch.last_cursor,
        batch.record_batch.schema.metadata,
        batch.record_batch.to_pylist(),
    )


def framed(envelope, batch, **changes):
    """A frame's message, with its metadata changed afterwards; None removes a key."""
    message = envelope.message.FromString(encode_frame(envelope, batch, number=0, limit=LIMIT))
    for key, value in changes.items():
        key = key.replace("_", "-")
        if value is None:
            del message.metadata[key]
        else:
            message.metadata[key] = value
    return message


def with_payload(envelope, message, payload):
    """`message` with another payload that its checksum fits."""
    setattr(message, envelope.field_name, payload)
    message.metadata["checksum"] = arrow.checksum(payload)
    return message.SerializeToString()


def written(*batches, **options):
    out = pa.BufferOutputStream()
    with ipc.new_stream(out, batches[0].schema, options=ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return out.getvalue().to_pybytes()
