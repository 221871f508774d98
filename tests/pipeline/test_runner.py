"""The runner, over real components and real ports."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pyarrow.dataset as ds
import pytest

from flowctl_aio import (
    Cursor,
    EventBatch,
    FlowctlSession,
    LedgerBatch,
    LedgerRange,
    Pipeline,
    RawLedger,
    ServiceInfo,
    ServiceType,
    Sink,
    Source,
)
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.components.stellar.lake import LakeLayout, Manifest, write_manifest, write_object
from flowctl_aio.components.stellar.lake.lake import Lake
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.transfers import token_transfers
from flowctl_aio.components.stellar_arrow_source import LakeSupply, StellarArrowSource, SyntheticSupply
from flowctl_aio.components.ttp_arrow_processor import TtpArrowProcessor
from flowctl_aio.errors import PeerError, PeerNotFoundError, StreamTruncatedError

pytestmark = pytest.mark.anyio
MADE = SyntheticLedgers("testnet", transactions_per_ledger=10)


@asynccontextmanager
async def services(config, out, supply=None, **source):
    """The three components, each in a session of its own, and a fourth session to drive them."""
    components = (
        StellarArrowSource(supply or SyntheticSupply(MADE), **source),
        TtpArrowProcessor("testnet", mode="unified"),
        ArrowAnalyticsSink(out),
    )
    async with AsyncExitStack() as stack:
        for component in components:
            await stack.enter_async_context(FlowctlSession(component, config))
        yield await stack.enter_async_context(FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config))


def amounts_of(out):
    if not list(out.rglob("*.parquet")):
        return []
    table = ds.dataset(out, partitioning="hive").to_table().sort_by("ledger_sequence")
    return [(row["ledger_sequence"], row["amount"]) for row in table.to_pylist()]


def expected_amounts(first, last):
    rows = []
    for sequence in range(first, last + 1):
        transfers = token_transfers(MADE.ledger(sequence).xdr, passphrase=MADE.passphrase, mode="unified")
        rows.extend((row[0], str(row[-1])) for row in transfers.rows)
    return rows


class ShortSource(Source):
    """Ends by itself behind ledger 109, whatever was asked for."""

    outputs = (LedgerBatch.event_type,)

    async def stream(self, request):
        for sequence in range(request.start, 110):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, MADE.ledger(sequence).xdr, network="testnet")])


async def test_a_source_that_ends_too_early_is_an_error_and_what_it_gave_is_written(config, tmp_path):
    async with AsyncExitStack() as stack:
        for component in (ShortSource(), TtpArrowProcessor("testnet", mode="unified"), ArrowAnalyticsSink(tmp_path)):
            await stack.enter_async_context(FlowctlSession(component, config))
        driver = await stack.enter_async_context(FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config))
        pipeline = Pipeline(driver)
        with pytest.raises(StreamTruncatedError, match="ended behind ledger 109, and 119 was asked for"):
            await pipeline.run(LedgerRange(100, 119))
        assert pipeline.progress.cursor.sequence == 109
        assert amounts_of(tmp_path) == expected_amounts(100, 109)
        await Pipeline(driver).run(LedgerRange(100, 109))


async def test_every_row_is_acknowledged_and_written_once(config, tmp_path):
    async with services(config, tmp_path, batch_ledgers=3) as driver:
        progress = await Pipeline(driver, epoch_batches=2).run(LedgerRange(100, 119))
    assert amounts_of(tmp_path) == expected_amounts(100, 119)
    assert progress.ledgers == 20
    assert progress.rows_acknowledged == progress.rows_out == len(expected_amounts(100, 119))
    assert progress.epochs == 4  # seven batches, by two
    assert progress.cursor == Cursor(119)


async def test_an_epoch_never_ends_inside_a_batch_that_came_in_parts(config, tmp_path):
    # Messages this short cut the rows of each batch of ledgers into many, and an epoch is due after each of them.
    config = replace(config, target_message_bytes=2048)
    async with services(config, tmp_path, batch_ledgers=4) as driver:
        progress = await Pipeline(driver, epoch_batches=1).run(LedgerRange(100, 111))
    assert progress.batches_out > progress.epochs
    assert amounts_of(tmp_path) == expected_amounts(100, 111)


async def test_what_was_acknowledged_before_a_fault_stays(config, tmp_path):
    lake, out = tmp_path / "lake", tmp_path / "out"
    layout = LakeLayout(1, 64000)
    write_manifest(lake, Manifest(MADE.passphrase, 1, 64000))
    for sequence in (*range(100, 105), *range(106, 110)):
        write_object(lake, layout, [MADE.ledger(sequence)])
    supply = LakeSupply(await Lake.open(str(lake)))
    async with services(config, out, supply, batch_ledgers=1) as driver:
        pipeline = Pipeline(driver, epoch_batches=2)
        with pytest.raises(PeerError, match="ledger 105 is not in"):
            await pipeline.run(LedgerRange(100, 109))
    # How far it came when the fault overtook it differs; that the cursor tells the truth does not.
    durable = pipeline.progress.cursor
    assert amounts_of(out) == (expected_amounts(100, durable.sequence) if durable is not None else [])


async def test_the_cursor_does_not_move_before_the_acknowledgement(config):
    class Full(Sink):
        async def consume(self, batch, epoch): ...

        async def commit(self, epoch):
            raise OSError("no space left on device")

    async with (
        FlowctlSession(StellarArrowSource(SyntheticSupply(MADE), batch_ledgers=1), config),
        FlowctlSession(Full(), config),
        FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config) as driver,
    ):
        pipeline = Pipeline(driver, processors=(), epoch_batches=2)
        with pytest.raises(PeerError, match="OSError in full"):
            await pipeline.run(LedgerRange(100, 109))
    progress = pipeline.progress
    assert (progress.cursor, progress.epochs, progress.rows_acknowledged) == (None, 0, 0)
    assert progress.batches_out >= 2


async def test_a_missing_peer_is_named(config):
    async with FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config) as driver:
        with pytest.raises(PeerNotFoundError, match="no healthy source"):
            await Pipeline(driver).run(LedgerRange(100, 109))


async def test_whoever_asks_is_told_of_each_batch_and_of_the_progress(config, tmp_path):
    batches, ledgers = [], []
    async with services(config, tmp_path, batch_ledgers=5) as driver:
        pipeline = Pipeline(
            driver, on_batch=batches.append, on_progress=lambda progress: ledgers.append(progress.ledgers)
        )
        await pipeline.run(LedgerRange(100, 109))
    assert [type(batch) for batch in batches] == [EventBatch, EventBatch]
    assert ledgers[-1] == 10


@pytest.mark.parametrize("way", [{"local_streams": True}, {"local_streams": False, "shared_memory": False}, {}])
async def test_bytes_are_those_of_the_rows_whichever_way_they_come(config, tmp_path, way):
    async with services(replace(config, **way), tmp_path, batch_ledgers=5) as driver:
        progress = await Pipeline(driver).run(LedgerRange(100, 109))
    assert progress.bytes_in > sum(len(MADE.ledger(sequence).xdr) for sequence in range(100, 110))


async def test_a_source_can_run_straight_into_a_sink_of_ledgers(config, tmp_path):
    class Kept(Sink):
        def __init__(self):
            self.ledgers = []

        async def consume(self, batch, epoch):
            assert isinstance(batch, LedgerBatch)
            self.ledgers.extend(ledger.sequence for ledger in batch)

    kept = Kept()
    async with (
        FlowctlSession(StellarArrowSource(SyntheticSupply(MADE)), config),
        FlowctlSession(kept, config),
        FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config) as driver,
    ):
        await Pipeline(driver, processors=()).run(LedgerRange(100, 109))
    assert kept.ledgers == list(range(100, 110))
