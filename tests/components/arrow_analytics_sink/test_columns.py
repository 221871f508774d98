"""Claims about dates and ledgers: which folder a row goes to, and which batches have none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from flowctl_aio import Cursor, Epoch, Event, EventBatch
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.errors import SchemaMismatchError

from .data_sets import MIDNIGHT, dated, files, ledgers, read, typed, write

pytestmark = pytest.mark.anyio


async def test_an_epoch_across_midnight_is_two_folders_by_the_date_of_the_event(
    out: Path, sink: ArrowAnalyticsSink
) -> None:
    rows = ledgers(990, 1010)
    ack = await write(sink, typed(rows))
    assert files(out) == [
        "date=2025-03-01/ledgers-0000000990-0000000999.parquet",
        "date=2025-03-02/ledgers-0000001000-0000001010.parquet",
    ]
    assert read(out) == dated(rows)
    assert ack == {
        "files": "2",
        "rows": str(len(rows)),
        "bytes": str(sum((out / f).stat().st_size for f in files(out))),
    }


async def test_generic_events_go_by_timestamp_and_cursor(out: Path, sink: ArrowAnalyticsSink) -> None:
    when = datetime(2025, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    events = [
        Event("E", b"a", timestamp=when, cursor=Cursor(7)),
        Event("E", b"b", timestamp=when + timedelta(microseconds=1), cursor=Cursor(7, 1)),
        Event("E", b"c", cursor=Cursor(8)),
    ]
    await write(sink, EventBatch.from_events(events))
    assert files(out) == [
        "date=2025-01-31/ledgers-0000000007-0000000007.parquet",
        "date=2025-02-01/ledgers-0000000007-0000000007.parquet",
        "date=__HIVE_DEFAULT_PARTITION__/ledgers-0000000008-0000000008.parquet",
    ]
    table = ds.dataset(out, format="parquet", partitioning="hive").to_table()
    assert {row["payload"]: row["date"] for row in table.to_pylist()} == {
        b"a": "2025-01-31",
        b"b": "2025-02-01",
        b"c": None,
    }


async def test_the_date_is_that_of_utc_whatever_zone_the_column_has(out: Path, sink: ArrowAnalyticsSink) -> None:
    for zone in ("Asia/Tokyo", "America/New_York", None):
        when = pa.array([datetime(2025, 3, 1, 23, 30)], pa.timestamp("ns", tz=zone))
        batch = pa.record_batch({"closed_at": when, "ledger_sequence": pa.array([5])})
        await write(sink, EventBatch(batch))
        assert files(out) == ["date=2025-03-01/ledgers-0000000005-0000000005.parquet"]


async def test_batches_without_time_or_ledger_are_refused(sink: ArrowAnalyticsSink) -> None:
    now = pa.array([MIDNIGHT], pa.timestamp("us", tz="UTC"))
    one = pa.array([1], pa.uint32())
    for columns, words in [
        ({"ledger_sequence": one}, r"closed_at or timestamp.*found \(ledger_sequence: uint32\)"),
        ({"closed_at": now}, "ledger_sequence or cursor_sequence"),
        ({"closed_at": pa.array(["2025-03-02"]), "ledger_sequence": one}, "closed_at: string"),
        ({"closed_at": now, "ledger_sequence": pa.array([1.0])}, "ledger_sequence: double"),
        ({"closed_at": now, "ledger_sequence": pa.array([None], pa.uint32())}, "found none in row 0"),
        ({"closed_at": now, "ledger_sequence": pa.array([-1])}, "found -1"),
        ({"closed_at": now, "ledger_sequence": pa.array([2**32])}, "found 4294967296"),
        ({"closed_at": pa.array([2**62], pa.timestamp("s")), "ledger_sequence": one}, "years 1 to 9999"),
        ({"closed_at": pa.array([-(2**62)], pa.timestamp("us")), "ledger_sequence": one}, "years 1 to 9999"),
        ({"closed_at": now, "ledger_sequence": one, "date": one}, "without a column date"),
    ]:
        with pytest.raises(SchemaMismatchError, match=words):
            await sink.consume(EventBatch(pa.record_batch(columns)), Epoch())
