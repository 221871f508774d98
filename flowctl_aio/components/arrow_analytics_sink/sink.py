"""The sink itself: what it takes, when it writes, and what it tells of it. Files are the business of its neighbours."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread
import pyarrow as pa

from flowctl_aio import Epoch, EventBatch, Sink, __version__
from flowctl_aio.errors import ConfigError, SchemaMismatchError
from flowctl_aio.service import TTP_EVENT_TYPE, build_analytics_sink_metadata

from .buffer import EpochBuffer
from .columns import EXPECTED, describe
from .folder import DataFolder
from .names import MAX_LEDGER
from .parts import ParquetOptions, Part

if TYPE_CHECKING:
    from flowctl_aio import LedgerBatch

T = TypeVar("T")

MIB = 1024 * 1024
COMPRESSIONS = ("none", "snappy", "gzip", "lz4", "zstd", "brotli")
# Writing Parquet is work for the processor, so more threads than this only make streams wait for each other elsewhere.
WRITER_THREADS = 4

_STATE = "arrow-analytics-sink"


class ArrowAnalyticsSink(Sink):
    """Writes events to `OUT/date=YYYY-MM-DD/ledgers-<first>-<last>.parquet`, by the UTC date of the event.

    It takes any EventBatch with a time (`closed_at` or `timestamp`) and a ledger (`ledger_sequence` or
    `cursor_sequence`); the batches of an epoch have one schema. An epoch becomes visible as a whole when it is
    committed, and replaces whatever the folder had of its ledgers: those from the epoch's first cursor to its last,
    also ledgers without events. So what is sent again after a fault is not there twice, however it is cut into batches.
    An epoch therefore has to hold whole ledgers: flush between two ledgers, not inside one.

    One folder is one data set, which one process writes and any number may read; what readers see while
    a commit goes on, and what a crash leaves, is told at `DataFolder.publish`.

    Args:
        out: the folder; made if it is not there.
        compression: none, snappy, gzip, lz4, zstd or brotli.
        max_epoch_bytes: what an epoch may hold in memory before it goes to temporary files; one epoch a stream.
        row_group_rows: rows in a row group of Parquet, at most.

    Raises:
        ConfigError: if a setting is wrong.
    """

    component_id = "arrow-analytics-sink"
    name = "Arrow analytics sink"
    version = __version__
    description = "Keeps events as Parquet files, partitioned by the date on which they happened."
    inputs = (TTP_EVENT_TYPE,)
    metadata = build_analytics_sink_metadata(["parquet"])

    def __init__(
        self,
        out: Path | str,
        *,
        compression: str = "snappy",
        max_epoch_bytes: int = 256 * MIB,
        row_group_rows: int = 128 * 1024,
    ) -> None:
        _check_settings(compression, max_epoch_bytes=max_epoch_bytes, row_group_rows=row_group_rows)
        self.out = Path(out)
        self._options = ParquetOptions(compression, row_group_rows)
        self._max_epoch_bytes = max_epoch_bytes
        self._folder = DataFolder(self.out, self._options)
        self._threads = anyio.CapacityLimiter(WRITER_THREADS)
        # Epochs are written side by side, but they change the folder one after the other.
        self._publishing = anyio.Lock()
        self._numbers = dict.fromkeys(
            ("events_received_total", "events_written_total", "files_written_total", "bytes_written_total"), 0
        )
        self._write_seconds = 0.0
        self._processed_at = time.monotonic()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Checks the folder, and puts right what a crash left there.

        Raises:
            ConfigError: if the folder cannot be made, read and written.

        Cancellation: safe at any point.
        """
        await self._open_folder()
        yield

    async def consume(self, batch: EventBatch | LedgerBatch, epoch: Epoch) -> None:
        """Take a batch; nothing of it is visible before `commit`.

        Raises:
            SchemaMismatchError: if it holds ledgers, lacks the columns, or has others than the batches before it.

        Cancellation: the epoch is then good for `abort` only.
        """
        if not isinstance(batch, EventBatch):
            raise SchemaMismatchError(expected=f"of events, {EXPECTED}", found=describe(batch.schema))
        buffer = self._buffer_of(epoch)
        buffer.add(batch.record_batch)
        self._numbers["events_received_total"] += len(batch)
        self._processed_at = time.monotonic()
        if buffer.held_bytes > self._max_epoch_bytes:
            await self._open_folder()
            await self._write(buffer.spill)

    async def commit(self, epoch: Epoch) -> Mapping[str, str]:
        """Write the epoch, and return when it is on the disk.

        Returns:
            files, bytes and rows, as numbers in text: what was written of this epoch.

        Raises:
            ComponentError: if files in the folder contradict each other, or cannot be read to be cut.
            OSError: if the disk is full or fails.

        Cancellation: waits for the step under way; the epoch is then committed as a whole, or not at all.
        """
        buffer = self._buffer_of(epoch)
        await self._open_folder()
        parts = await self._write(buffer.seal)
        covered = _ledgers_covered(epoch, parts)
        if covered is not None:
            async with self._publishing:
                await self._write(lambda: self._folder.publish(parts, *covered))
        written = {
            "files": len(parts),
            "bytes": sum(part.bytes for part in parts),
            "rows": sum(part.rows for part in parts),
        }
        self._numbers["files_written_total"] += written["files"]
        self._numbers["bytes_written_total"] += written["bytes"]
        self._numbers["events_written_total"] += written["rows"]
        self._processed_at = time.monotonic()
        return {name: str(number) for name, number in written.items()}

    async def abort(self, epoch: Epoch) -> None:
        """Forget the epoch, and remove its temporary files.

        Cancellation: they are removed all the same.
        """
        buffer = epoch.state.pop(_STATE, None)
        if buffer is not None:
            await self._finish(buffer.discard)

    def metrics(self) -> Mapping[str, float]:
        """What was received, what was written and how long that took, since the sink was made."""
        return {
            **self._numbers,
            "write_seconds_total": self._write_seconds,
            "seconds_since_last_processed": time.monotonic() - self._processed_at,
        }

    def _buffer_of(self, epoch: Epoch) -> EpochBuffer:
        buffer: EpochBuffer = epoch.state.setdefault(_STATE, EpochBuffer(self.out, self._options))
        return buffer

    async def _open_folder(self) -> None:
        if self._folder.is_open:
            return
        async with self._publishing:
            if not self._folder.is_open:
                await self._finish(self._folder.open)

    async def _write(self, work: Callable[[], T]) -> T:
        started = time.monotonic()
        try:
            return await self._finish(work)
        finally:
            self._write_seconds += time.monotonic() - started

    async def _finish(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread, and stay until it is over.

        A cancellation waits for it: a thread that goes on alone would write what `abort` has just removed.
        The task group is there for cancellations from outside anyio, which no shield holds back.
        """
        results: list[T] = []
        failures: list[Exception] = []

        async def run() -> None:
            with anyio.CancelScope(shield=True):
                try:
                    results.append(await anyio.to_thread.run_sync(work, limiter=self._threads))
                except Exception as error:  # noqa: BLE001 raised below, without the group around it
                    failures.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(run)
        if failures:
            raise failures[0]
        return results[0]


def _check_settings(compression: str, **sizes: int) -> None:
    problems = [f"{name} must be above 0, not {size!r}" for name, size in sizes.items() if size < 1]
    if compression not in COMPRESSIONS:
        problems.append(f"compression is {compression!r}, not one of {', '.join(COMPRESSIONS)}")
    elif compression != "none" and not pa.Codec.is_available(compression):
        problems.append(f"compression is {compression}, which this build of pyarrow does not have")
    if problems:
        raise ConfigError(*problems)


def _ledgers_covered(epoch: Epoch, parts: list[Part]) -> tuple[int, int] | None:
    """The first and the last ledger that the epoch speaks for, by its cursors and by its rows; None if for none."""
    cursors = [cursor.sequence for cursor in (epoch.first_cursor, epoch.last_cursor) if cursor is not None]
    if cursors and max(cursors) > MAX_LEDGER:
        raise SchemaMismatchError(expected=f"cursors up to {MAX_LEDGER}", found=str(max(cursors)))
    ledgers = [*cursors, *(ledger for part in parts for ledger in (part.first, part.last))]
    return (min(ledgers), max(ledgers)) if ledgers else None
