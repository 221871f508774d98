"""Claims about the sink as a whole: its settings, its endings, and several streams, also of real sessions."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from flowctl_aio import Epoch, EventBatch, FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio.batches import LedgerBatch
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.components.arrow_analytics_sink.buffer import EpochBuffer
from flowctl_aio.components.arrow_analytics_sink.folder import DataFolder
from flowctl_aio.errors import ConfigError, SchemaMismatchError
from flowctl_aio.types import Dialect, RawLedger

from .data_sets import EVENT_TYPE, dated, files, hidden, ledgers, read, rows_of, tree, typed, write

pytestmark = pytest.mark.anyio


# What is refused


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


async def test_ledgers_are_refused(sink: ArrowAnalyticsSink) -> None:
    with pytest.raises(SchemaMismatchError, match=r"of events.*found raw_ledger@1"):
        await sink.consume(LedgerBatch.from_ledgers([RawLedger(1, b"x")]), Epoch())


# What is left of an epoch that fails


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
