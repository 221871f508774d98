"""Rows to write, and what a folder holds after they were written."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from flowctl_aio import Cursor, Epoch, EventBatch
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.components.stellar.transfers.schema import SCHEMA

MIDNIGHT = datetime(2025, 3, 2, tzinfo=UTC)
MIDNIGHT_LEDGER = 1000
EVENT_TYPE = "ttp_event_service.TTPEvent"


def rows_of(ledger: int, rows: int = 2, tag: str = "") -> list[dict[str, Any]]:
    """Rows of a ledger that closed as many times 5 s from midnight as it is from ledger 1000."""
    closed = MIDNIGHT + timedelta(seconds=5 * (ledger - MIDNIGHT_LEDGER))
    return [
        {
            "ledger_sequence": ledger,
            "closed_at": closed,
            "tx_hash": f"{ledger:064x}",
            "transaction_index": index + 1,
            "operation_index": index or None,
            "contract_address": "C" * 56,
            "to_muxed_id": 2**64 - 1 if index else None,
            "to_muxed_text": None,
            "to_muxed_hash": b"\x00\xff" if index else None,
            "kind": "transfer",
            "asset": tag or "native",
            "from_address": "G" * 56,
            "to_address": None,
            "amount": str(-(2**127) + index),
        }
        for index in range(rows)
    ]


def typed(rows: list[dict[str, Any]], first: int | None = None, last: int | None = None) -> EventBatch:
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    ledgers = [row["ledger_sequence"] for row in rows]
    first, last = (min(ledgers), max(ledgers)) if first is None or last is None else (first, last)
    return EventBatch(batch, event_type=EVENT_TYPE, first_cursor=Cursor(first), last_cursor=Cursor(last))


async def feed(sink: ArrowAnalyticsSink, batches: Iterable[EventBatch]) -> Epoch:
    """An epoch that has consumed the batches, as a served sink would have it."""
    epoch = Epoch()
    for batch in batches:
        await sink.consume(batch, epoch)
        epoch.note(batch)
    return epoch


async def write(sink: ArrowAnalyticsSink, *batches: EventBatch) -> dict[str, str]:
    return dict(await sink.commit(await feed(sink, batches)))


def ledgers(first: int, last: int, tag: str = "", rows: int = 2) -> list[dict[str, Any]]:
    return [row for ledger in range(first, last + 1) for row in rows_of(ledger, rows, tag)]


def tree(out: Path) -> list[str]:
    """Everything under a folder, hidden things too."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


def files(out: Path) -> list[str]:
    return [name for name in tree(out) if not (out / name).is_dir()]


def hidden(out: Path, kind: str = "") -> list[str]:
    return [name for name in tree(out) if name.startswith(".") and name.endswith(kind)]


def put(out: Path, *names: str, text: str = "") -> None:
    out.mkdir(exist_ok=True)
    for name in names:
        (out / name).write_text(text)


def read(out: Path) -> list[dict[str, Any]]:
    """What a reader of the data set gets, by ledger; `sorted` keeps the order of the rows of one ledger."""
    table = ds.dataset(out, format="parquet", partitioning="hive").to_table()
    return sorted(table.to_pylist(), key=lambda row: row["ledger_sequence"])


def dated(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "date": row["closed_at"].date().isoformat()} for row in rows]
