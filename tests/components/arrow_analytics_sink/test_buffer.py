"""Claims about what an epoch holds: within its limit, of one schema, and gone when it is aborted."""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset as ds
import pytest

from flowctl_aio import Cursor, Epoch, Event, EventBatch
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.errors import SchemaMismatchError

from .data_sets import dated, feed, files, ledgers, read, rows_of, tree, typed, write

pytestmark = pytest.mark.anyio


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


async def test_one_epoch_has_one_schema(sink: ArrowAnalyticsSink) -> None:
    epoch = await feed(sink, [EventBatch.from_events([]), typed(rows_of(1000))])
    with pytest.raises(SchemaMismatchError, match=r"token_transfer@1.*found event@1"):
        await sink.consume(EventBatch.from_events([Event("E", b"", cursor=Cursor(1))]), epoch)
    await sink.consume(EventBatch.from_events([]), epoch)


@pytest.mark.parametrize("limit", [1, 2**28])
async def test_an_aborted_epoch_leaves_nothing(out: Path, limit: int) -> None:
    sink = ArrowAnalyticsSink(out, max_epoch_bytes=limit)
    async with sink.lifespan():
        epoch = await feed(sink, [typed(ledgers(990, 1010))])
        await sink.abort(epoch)
        await sink.abort(epoch)
    assert tree(out) == []
