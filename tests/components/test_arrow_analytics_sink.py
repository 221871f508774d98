"""Claims about the Parquet sink: real files in real folders, through its methods and through real sessions."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowctl_aio import Cursor, Epoch, Event, EventBatch, FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio.batches import LedgerBatch
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink, changes
from flowctl_aio.components.arrow_analytics_sink.buffer import EpochBuffer
from flowctl_aio.components.arrow_analytics_sink.changes import Change
from flowctl_aio.components.arrow_analytics_sink.folder import DataFolder
from flowctl_aio.components.arrow_analytics_sink.names import (
    RECORD,
    TEMPORARY,
    DataFile,
    is_abandoned,
    new_name,
    parse_data_path,
)
from flowctl_aio.components.stellar.transfers.schema import SCHEMA
from flowctl_aio.errors import ComponentError, ConfigError, SchemaMismatchError
from flowctl_aio.types import Dialect, RawLedger

pytestmark = pytest.mark.anyio

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


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def sink(out: Path) -> ArrowAnalyticsSink:
    return ArrowAnalyticsSink(out)


# What is written


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


async def test_a_file_keeps_schema_range_and_the_order_of_the_rows(out: Path, sink: ArrowAnalyticsSink) -> None:
    rows = [*ledgers(1005, 1006), *ledgers(1001, 1002)]
    await write(sink, typed(rows))
    path = out / "date=2025-03-02/ledgers-0000001001-0000001006.parquet"
    file = pq.ParquetFile(path)
    assert file.read().to_pylist() == rows
    assert file.schema_arrow.equals(SCHEMA, check_metadata=True)
    keys = {key: value for key, value in file.metadata.metadata.items() if key.startswith(b"flowctl.")}
    assert keys.pop(b"flowctl.writer").startswith(b"flowctl_aio ")
    assert keys == {
        b"flowctl.schema": b"token_transfer@1",
        b"flowctl.first_ledger": b"1001",
        b"flowctl.last_ledger": b"1006",
    }


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "lz4", "zstd", "brotli"])
async def test_every_compression_is_written_and_read(out: Path, compression: str) -> None:
    await write(ArrowAnalyticsSink(out, compression=compression), typed(ledgers(1000, 1001)))
    (name,) = files(out)
    codec = {"none": "uncompressed"}.get(compression, compression).upper()
    assert pq.ParquetFile(out / name).metadata.row_group(0).column(0).compression == codec
    assert read(out) == dated(ledgers(1000, 1001))


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


# What replaces what


async def test_a_second_run_in_other_batches_leaves_no_row_twice(out: Path, sink: ArrowAnalyticsSink) -> None:
    for start in range(980, 1020, 10):
        await write(sink, typed(ledgers(start, start + 9)))
    assert len(files(out)) == 4
    for sink_of_second_run in (sink, ArrowAnalyticsSink(out)):
        await write(sink_of_second_run, typed(ledgers(980, 989)), typed(ledgers(990, 1003)))
        await write(sink_of_second_run, typed(ledgers(1004, 1019)))
        assert read(out) == dated(ledgers(980, 1019))
        assert files(out) == [
            "date=2025-03-01/ledgers-0000000980-0000000999.parquet",
            "date=2025-03-02/ledgers-0000001000-0000001003.parquet",
            "date=2025-03-02/ledgers-0000001004-0000001019.parquet",
        ]


async def test_the_same_epoch_again_replaces_its_file(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(1000, 1009, "old")))
    before = files(out)
    await write(sink, typed(ledgers(1000, 1009, "new")))
    assert files(out) == before
    assert read(out) == dated(ledgers(1000, 1009, "new"))


@pytest.mark.parametrize(
    ("first", "last", "names"),
    [
        (1005, 1020, ["1000-1004", "1005-1020"]),
        (990, 1004, ["1000-1004", "1005-1009", "990-999"]),
        (1003, 1006, ["1000-1002", "1003-1006", "1007-1009"]),
        (1000, 1009, ["1000-1009"]),
    ],
)
async def test_a_file_that_overlaps_keeps_only_its_other_ledgers(
    out: Path, sink: ArrowAnalyticsSink, first: int, last: int, names: list[str]
) -> None:
    await write(sink, typed(ledgers(1000, 1009, "old")))
    await write(sink, typed(ledgers(first, last, "new")))
    expected = dict.fromkeys(range(1000, 1010), "old") | dict.fromkeys(range(first, last + 1), "new")
    assert read(out) == dated([row for ledger in sorted(expected) for row in rows_of(ledger, tag=expected[ledger])])
    found = [parse_data_path(name) for name in files(out)]
    assert sorted(f"{file.first}-{file.last}" for file in found if file is not None) == sorted(names)
    for name, file in zip(files(out), found, strict=True):
        assert file is not None
        keys = pq.ParquetFile(out / name).metadata.metadata
        assert (int(keys[b"flowctl.first_ledger"]), int(keys[b"flowctl.last_ledger"])) == (file.first, file.last)


async def test_ledgers_without_events_replace_what_was_there_of_them(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(1000, 1009)))
    ack = await write(sink, typed([], 1003, 1020))
    assert ack == {"files": "0", "bytes": "0", "rows": "0"}
    assert read(out) == dated(ledgers(1000, 1002))
    await write(sink, typed(rows_of(1005), 900, 1020))
    assert read(out) == dated(rows_of(1005))
    await write(sink, typed([], 0, 5000))
    assert tree(out) == []


async def test_an_epoch_without_rows_and_cursors_changes_nothing(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(1000, 1009)))
    before = tree(out)
    assert await write(sink) == {"files": "0", "bytes": "0", "rows": "0"}
    assert await write(sink, EventBatch.from_events([])) == {"files": "0", "bytes": "0", "rows": "0"}
    assert tree(out) == before


async def test_without_cursors_the_rows_say_which_ledgers_are_replaced(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(1000, 1009, "old")))
    batch = pa.RecordBatch.from_pylist(ledgers(1004, 1005, "new"), schema=SCHEMA)
    await write(sink, EventBatch(batch))
    assert [row["asset"] for row in read(out)] == ["old"] * 8 + ["new"] * 4 + ["old"] * 8


async def test_files_of_others_are_left_alone(out: Path, sink: ArrowAnalyticsSink) -> None:
    strangers = [
        "date=2025-03-02/ledgers-1000-1009.parquet",
        "date=2025-03-02/ledgers-0000001009-0000001000.parquet",
        "date=2025-03-02/notes.txt",
        "date=2025-13-45/ledgers-0000001000-0000001009.parquet",
        "date=2025-03-02 /ledgers-0000001000-0000001009.parquet",
        "ledgers-0000001000-0000001009.parquet",
    ]
    for name in strangers:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"mine")
    await write(sink, typed(ledgers(1000, 1009)))
    await write(sink, typed([], 0, 5000))
    assert sorted(files(out)) == sorted(strangers)


async def test_a_file_that_is_not_parquet_fails_the_commit_and_loses_nothing(
    out: Path, sink: ArrowAnalyticsSink
) -> None:
    broken = out / "date=2025-03-02/ledgers-0000001000-0000001009.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"mine")
    epoch = await feed(sink, [typed(ledgers(1005, 1020))])
    with pytest.raises(ComponentError, match=r"0000001009\.parquet is not a file that this sink wrote"):
        await sink.commit(epoch)
    await sink.abort(epoch)
    assert files(out) == ["date=2025-03-02/ledgers-0000001000-0000001009.parquet"]


async def test_a_file_that_somebody_removed_is_no_obstacle(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(990, 1009)))
    shutil.rmtree(out / "date=2025-03-02")
    await write(sink, typed(ledgers(1005, 1006)))
    assert read(out) == dated([*ledgers(990, 999), *ledgers(1005, 1006)])


async def test_a_second_writer_is_noticed_before_it_costs_rows(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(1000, 1009)))
    folder = out / "date=2025-03-02"
    shutil.copy(folder / "ledgers-0000001000-0000001009.parquet", folder / "ledgers-0000001000-0000001004.parquet")
    second = ArrowAnalyticsSink(out)
    before = tree(out)
    epoch = await feed(second, [typed(ledgers(1005, 1020))])
    with pytest.raises(ComponentError, match="somebody else"):
        await second.commit(epoch)
    await second.abort(epoch)
    assert tree(out) == before


# A model of the whole

spans = st.tuples(st.integers(985, 1015), st.integers(0, 12), st.lists(st.integers(0, 2), min_size=13, max_size=13))


@settings(max_examples=40, deadline=None)
@given(commits=st.lists(st.tuples(spans, st.integers(1, 5), st.booleans()), min_size=1, max_size=8))
def test_of_each_ledger_there_is_what_was_committed_last(commits: list[Any]) -> None:
    async def scenario(out: Path) -> None:
        model: dict[int, list[dict[str, Any]]] = {}
        sink = ArrowAnalyticsSink(out)
        for number, ((first, length, counts), step, is_restarted) in enumerate(commits):
            if is_restarted:
                sink = ArrowAnalyticsSink(out, max_epoch_bytes=1)
            last = first + length
            of_ledger = {n: rows_of(n, counts[n - first], str(number)) for n in range(first, last + 1)}
            epoch = await feed(
                sink,
                [
                    typed(
                        [row for n in range(at, min(at + step, last + 1)) for row in of_ledger[n]],
                        at,
                        min(at + step - 1, last),
                    )
                    for at in range(first, last + 1, step)
                ],
            )
            await sink.commit(epoch)
            model |= of_ledger
            expected = dated([row for ledger in sorted(model) for row in model[ledger]])
            assert (read(out) if files(out) else []) == expected
            found = [parse_data_path(name) for name in files(out)]
            assert None not in found, found
            assert not [name for name in files(out) if "/." in f"/{name}"]

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(scenario, Path(folder))


@given(st.dates(), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_names_are_read_as_they_are_written(day: Any, a: int, b: int) -> None:
    file = DataFile(day.isoformat(), min(a, b), max(a, b))
    assert parse_data_path(file.path) == file


@given(st.text())
def test_any_other_text_is_no_name(text: str) -> None:
    assert parse_data_path(text) is None
    assert not is_abandoned(text, TEMPORARY)


# What is refused


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


async def test_ledgers_are_refused(sink: ArrowAnalyticsSink) -> None:
    with pytest.raises(SchemaMismatchError, match=r"of events.*found raw_ledger@1"):
        await sink.consume(LedgerBatch.from_ledgers([RawLedger(1, b"x")]), Epoch())


async def test_one_epoch_has_one_schema(sink: ArrowAnalyticsSink) -> None:
    epoch = await feed(sink, [EventBatch.from_events([]), typed(rows_of(1000))])
    with pytest.raises(SchemaMismatchError, match=r"token_transfer@1.*found event@1"):
        await sink.consume(EventBatch.from_events([Event("E", b"", cursor=Cursor(1))]), epoch)
    await sink.consume(EventBatch.from_events([]), epoch)


async def test_wrong_settings_are_all_named(out: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ArrowAnalyticsSink(out, compression="zip", max_epoch_bytes=0, row_group_rows=-1)
    assert str(caught.value) == (
        "max_epoch_bytes must be above 0, not 0; row_group_rows must be above 0, not -1; "
        "compression is 'zip', not one of none, snappy, gzip, lz4, zstd, brotli"
    )


async def test_a_folder_that_cannot_be_written_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "lake"):
        with pytest.raises(ConfigError) as caught:
            async with ArrowAnalyticsSink(out).lifespan():
                pass
        assert str(out) in str(caught.value)
        assert "\n" not in str(caught.value)


# Memory


async def test_an_epoch_beyond_its_limit_goes_to_files_that_no_reader_sees(out: Path) -> None:
    batches = [typed(ledgers(first, first + 9)) for first in range(950, 1050, 10)]
    limit = 3 * batches[0].nbytes
    sink = ArrowAnalyticsSink(out, max_epoch_bytes=limit)
    epoch = Epoch()
    for batch in batches:
        await sink.consume(batch, epoch)
        epoch.note(batch)
        assert epoch.state["arrow-analytics-sink"].held_bytes <= limit
    assert len(files(out)) == 2
    assert not [name for name in tree(out) if not name.startswith(".")]
    assert ds.dataset(out, format="parquet", partitioning="hive").files == []
    await sink.commit(epoch)
    assert len(files(out)) == 2
    assert read(out) == dated(ledgers(950, 1049))


async def test_more_dates_than_open_files_still_make_one_file_a_date(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowctl_aio.components.arrow_analytics_sink.buffer.MAX_OPEN_PARTS", 2)
    day = 17_280
    order = [ledger for lap in range(3) for date in range(5) for ledger in [1000 + date * day + lap]]
    sink = ArrowAnalyticsSink(out, max_epoch_bytes=1)
    await write(sink, *(typed(rows_of(ledger)) for ledger in order))
    assert len(files(out)) == 5
    assert read(out) == dated([row for ledger in sorted(order) for row in rows_of(ledger)])


# What is left of an epoch that fails


@pytest.mark.parametrize("limit", [1, 2**28])
async def test_an_aborted_epoch_leaves_nothing(out: Path, limit: int) -> None:
    sink = ArrowAnalyticsSink(out, max_epoch_bytes=limit)
    async with sink.lifespan():
        epoch = await feed(sink, [typed(ledgers(990, 1010))])
        await sink.abort(epoch)
        await sink.abort(epoch)
    assert tree(out) == []


class WatchedSink(ArrowAnalyticsSink):
    """Tells how far its only epoch has come."""

    def __init__(self, out: Path) -> None:
        super().__init__(out, max_epoch_bytes=1)
        self.consumed, self.aborted = anyio.Event(), anyio.Event()

    async def consume(self, batch: EventBatch | LedgerBatch, epoch: Epoch) -> None:
        await super().consume(batch, epoch)
        self.consumed.set()

    async def abort(self, epoch: Epoch) -> None:
        try:
            await super().abort(epoch)
        finally:  # it removes the files also when the call is cancelled meanwhile
            self.aborted.set()


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_a_stream_that_is_cut_off_commits_nothing(out: Path, config: FlowctlConfig, dialect: Dialect) -> None:
    sink = WatchedSink(out)
    driver = ServiceInfo("driver", ServiceType.PIPELINE)
    async with (
        FlowctlSession(sink, config) as served,
        FlowctlSession(driver, config) as session,
        session.sink(served.endpoint, dialect=dialect) as client,
    ):
        await client.send(typed(ledgers(990, 1010)))
        await sink.consumed.wait()
        assert len(files(out)) == 2
        await client.abandon()
        await sink.aborted.wait()
        assert tree(out) == []
        await client.send(typed(ledgers(990, 1010)))
        ack = await client.flush()
    assert ack is not None
    assert ack.rows == 42
    assert read(out) == dated(ledgers(990, 1010))


async def test_a_block_that_fails_commits_nothing(out: Path, config: FlowctlConfig) -> None:
    sink = WatchedSink(out)
    driver = ServiceInfo("driver", ServiceType.PIPELINE)
    async with FlowctlSession(sink, config) as served, FlowctlSession(driver, config) as session:

        async def fail() -> None:
            async with session.sink(served.endpoint) as client:
                await client.send(typed(ledgers(990, 1010)))
                await sink.consumed.wait()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        await sink.aborted.wait()
    assert tree(out) == []


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("step", ["spill", "seal", "publish"])
async def test_a_cancellation_waits_for_the_thread_and_leaves_all_or_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, step: str, native: bool
) -> None:
    sink = ArrowAnalyticsSink(out, max_epoch_bytes=1 if step == "spill" else 2**28)
    await write(sink, typed(ledgers(1000, 1009, "old")))
    reached, go_on = anyio.Event(), threading.Event()
    owner = DataFolder if step == "publish" else EpochBuffer
    original = getattr(owner, step)

    def slow(*args: Any) -> Any:
        anyio.from_thread.run_sync(reached.set)
        assert go_on.wait(30)
        return original(*args)

    monkeypatch.setattr(owner, step, slow)

    async def serve() -> None:
        epoch = Epoch()
        try:
            batch = typed(ledgers(990, 1004, "new"))
            await sink.consume(batch, epoch)
            epoch.note(batch)
            await sink.commit(epoch)
        finally:
            with anyio.CancelScope(shield=True):
                await sink.abort(epoch)

    if native:  # as grpc cancels a call whose client is gone
        task = asyncio.get_running_loop().create_task(serve())
        await reached.wait()
        task.cancel()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            await reached.wait()
            group.cancel_scope.cancel()
            go_on.set()
    assert hidden(out) == []
    new = range(990, 1005) if step == "publish" else ()
    old = [n for n in range(1000, 1010) if n not in new]
    assert read(out) == dated([row for n in [*new, *old] for row in rows_of(n, tag="new" if n in new else "old")])


# Crashes


def a_dead_name(kind: str) -> str:
    """A name that a process has made which is gone."""
    code = f"from flowctl_aio.components.arrow_analytics_sink.names import new_name; print(new_name({kind!r}))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


async def test_temporary_files_go_with_their_writer_only(out: Path, sink: ArrowAnalyticsSink) -> None:
    dead, alive = a_dead_name(TEMPORARY), new_name(TEMPORARY)
    host, pid, run, rest = dead.removeprefix(".flowctl-").split("-")
    predecessor = f".flowctl-{host}-{os.getpid()}-{run}-{rest}"
    neighbour = f".flowctl-{host}-{os.getppid()}-{run}-{rest}"
    elsewhere = f".flowctl-{'0' * 8}-{pid}-{run}-{rest}"
    strangers = [".flowctl-x.tmp", f"{dead}.bak", "date=2025-03-02"]
    kept = [alive, neighbour, elsewhere, *strangers]
    put(out, dead, predecessor, *kept)
    async with sink.lifespan():
        assert tree(out) == sorted(kept)


def bury_writer(out: Path) -> None:
    """Make what this process has left in the folder that of a process which is gone."""
    dead = a_dead_name(TEMPORARY).split("-")[:4]
    renamed = {name: "-".join([*dead, name.split("-")[4]]) for name in hidden(out)}
    for record in hidden(out, RECORD):
        text = (out / record).read_text()
        for before, after in renamed.items():
            text = text.replace(before, after)
        put(out, record, text=text)
    for before, after in renamed.items():
        (out / before).rename(out / after)


# A record, two new files, two rests, two replaced files, the record again: the last value crashes nowhere.
@pytest.mark.parametrize("crash_after", range(9))
async def test_a_crash_between_any_two_steps_is_made_good_at_the_next_start(
    out: Path, sink: ArrowAnalyticsSink, monkeypatch: pytest.MonkeyPatch, crash_after: int
) -> None:
    await write(sink, typed(ledgers(990, 1009, "old")))
    old, new = read(out), dated([*ledgers(990, 994, "old"), *ledgers(995, 1004, "new"), *ledgers(1005, 1009, "old")])
    steps = 0

    def stop_after(original: Any) -> Any:
        def step(path: Path, *args: Any, **options: Any) -> Any:
            nonlocal steps
            if path.name.startswith((".flowctl", "ledgers")) and (args or path.suffix in (".parquet", ".commit")):
                if steps == crash_after:
                    raise OSError("out of power")
                steps += 1
            return original(path, *args, **options)

        return step

    epoch = await feed(sink, [typed(ledgers(995, 1004, "new"))])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop_after(Path.replace))
        patch.setattr(Path, "unlink", stop_after(Path.unlink))
        with pytest.raises(OSError, match="power") if crash_after < 8 else nullcontext():
            await sink.commit(epoch)
    bury_writer(out)
    assert bool(hidden(out, RECORD)) == (0 < crash_after < 8)
    restarted = ArrowAnalyticsSink(out)
    async with restarted.lifespan():
        assert not [name for name in files(out) if name.startswith(".")]
        assert read(out) == (old if crash_after == 0 else new)
    await write(restarted, typed(ledgers(995, 1004, "new")))
    assert read(out) == new


async def test_a_fault_halfway_is_made_good_by_the_next_commit(
    out: Path, sink: ArrowAnalyticsSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(sink, typed(ledgers(990, 1009, "old")))
    epoch = await feed(sink, [typed(ledgers(995, 1004, "new"))])

    def fail_in_partitions(path: Path) -> None:
        if path.name.startswith("date="):
            raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(changes, "sync", fail_in_partitions)
        with pytest.raises(OSError, match="disk"):
            await sink.commit(epoch)
    await sink.abort(epoch)
    await write(sink, typed(ledgers(1100, 1101)))
    assert not [name for name in files(out) if name.startswith(".")]
    expected = [*ledgers(990, 994, "old"), *ledgers(995, 1004, "new"), *ledgers(1005, 1009, "old")]
    assert read(out) == dated([*expected, *ledgers(1100, 1101)])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"moves": [["../secret", "x"]], "removals": []}', '{"moves": [], "removals": ["../../secret"]}'],
)
async def test_a_record_that_no_sink_wrote_is_not_followed(out: Path, sink: ArrowAnalyticsSink, text: str) -> None:
    put(out, a_dead_name(RECORD), text=text)
    with pytest.raises(ConfigError, match="is not the record of a commit"):
        async with sink.lifespan():
            pass


async def test_a_change_of_one_step_needs_no_record() -> None:
    file = DataFile("2025-03-02", 1, 2)
    assert Change((("a", file),), ()).is_atomic
    assert Change((), (file,)).is_atomic
    assert not Change((("a", file),), (file,)).is_atomic


# Several streams, and what the sink tells


async def test_epochs_of_several_streams_commit_side_by_side(out: Path, sink: ArrowAnalyticsSink) -> None:
    async def run(first: int) -> None:
        await write(sink, *(typed(ledgers(n, n + 4, "mine")) for n in range(first, first + 50, 5)))

    await write(sink, typed(ledgers(900, 1099, "old")))
    async with anyio.create_task_group() as group:
        for first in (850, 900, 950, 1000, 1050):
            group.start_soon(run, first)
    assert read(out) == dated(ledgers(850, 1099, "mine"))


async def test_overlapping_epochs_of_several_streams_leave_one_of_them_for_each_ledger(
    out: Path, sink: ArrowAnalyticsSink
) -> None:
    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(write, sink, typed(ledgers(980 + 7 * number, 1000 + 7 * number, str(number))))
    rows = read(out)
    assert [row["ledger_sequence"] for row in rows] == [n for n in range(980, 1036) for _ in range(2)]
    assert all(a["asset"] == b["asset"] for a, b in zip(rows[::2], rows[1::2], strict=True))


async def test_streams_of_real_sessions_are_acknowledged_when_they_can_be_read(
    out: Path, config: FlowctlConfig
) -> None:
    sink = ArrowAnalyticsSink(out)
    driver = ServiceInfo("driver", ServiceType.PIPELINE, output_event_types=[EVENT_TYPE])
    async with (
        FlowctlSession(sink, config) as served,
        FlowctlSession(driver, config) as session,
        session.sink() as client,
    ):
        await client.send(typed(ledgers(990, 999)))
        ack = await client.flush()
        assert ack is not None
        assert ack.metadata["files"] == "1"
        assert read(out) == dated(ledgers(990, 999))
        await client.send(typed(ledgers(1000, 1009)))
        await client.send(typed([], 1010, 1015))
        await client.flush()
        assert read(out) == dated(ledgers(990, 1009))
        (status,) = await session.discover(ServiceType.SINK, metadata={"output_formats": "parquet"})
        assert status.service_id == served.service_id == "arrow-analytics-sink"
        numbers = served.metrics()
    assert numbers["events_received_total"] == numbers["events_written_total"] == 40
    assert numbers["files_written_total"] == 2
    assert numbers["bytes_written_total"] == sum((out / name).stat().st_size for name in files(out))
    assert numbers["write_seconds_total"] > 0
    assert numbers["seconds_since_last_processed"] >= 0
