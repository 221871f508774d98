"""The processor with worker processes gives what it gives without them: the published transfers, counts, quarantine."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from flowctl_aio import LedgerBatch, RawLedger
from flowctl_aio.components.stellar.lake.objects import decode_object
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.transfers import batch_to_golden, golden_line
from flowctl_aio.components.ttp_arrow_processor import TtpArrowProcessor
from flowctl_aio.errors import ConfigError, PeerError

pytestmark = pytest.mark.anyio
MADE = SyntheticLedgers("testnet", transactions_per_ledger=5)
FIRST, LAST = 63092982, 63092991


def made(sequence: int, cut: int | None = None) -> LedgerBatch:
    return LedgerBatch.from_ledgers([RawLedger(sequence, MADE.ledger(sequence).xdr[:cut], network="testnet")])


async def feed(batches):
    for batch in batches:
        yield batch


async def outputs(driver, session, batches) -> list:
    async with driver.processor(session.endpoint) as client, client.stream(feed(batches)) as stream:
        return [batch async for batch in stream]


def real_ledgers(data: Path) -> list[LedgerBatch]:
    paths = sorted((data / "lake" / "pubnet" / "FC3E15FF--63040000-63103999").glob("*.zst"), reverse=True)
    batches = []
    for sequence, path in zip(range(FIRST, LAST + 1), paths, strict=True):
        ledgers = decode_object(path.read_bytes(), key=path.name, first=sequence, last=sequence)
        batches.append(
            LedgerBatch.from_ledgers(RawLedger(each.sequence, each.xdr, network="pubnet") for each in ledgers)
        )
    return batches


@pytest.mark.parametrize("mode", ["unified", "derived"])
async def test_real_ledgers_give_the_published_transfers_in_order(serve, driver, data, mode):
    session = await serve(TtpArrowProcessor("pubnet", mode=mode, processes=2))
    got = await outputs(driver, session, real_ledgers(data))
    assert [batch.first_cursor.sequence for batch in got] == list(range(FIRST, LAST + 1))
    for batch in got:
        path = data / "golden" / f"pubnet-{batch.first_cursor.sequence}.{mode}.jsonl.gz"
        lines = [golden_line(fields) for fields in batch_to_golden(batch.record_batch)]
        assert lines == gzip.decompress(path.read_bytes()).decode().splitlines()


async def test_what_workers_read_is_counted_as_if_it_was_read_here(serve, driver):
    here, there = TtpArrowProcessor("testnet"), TtpArrowProcessor("testnet", processes=2)
    batches = [made(sequence) for sequence in range(100, 110)]
    expected = [(await here.process(batch)).record_batch for batch in batches]
    assert [batch.record_batch for batch in await outputs(driver, await serve(there), batches)] == expected
    numbers, others = here.metrics(), there.metrics()
    assert numbers["ledgers_processed_total"] == 10
    for name in ("events_per_second", "last_processed_ledger"):
        del numbers[name], others[name]
    assert numbers == others


async def test_a_ledger_that_a_worker_cannot_read_goes_into_the_quarantine(serve, driver, tmp_path):
    processor = TtpArrowProcessor("testnet", processes=1, on_bad_ledger="quarantine", quarantine=tmp_path)
    got = await outputs(driver, await serve(processor), [made(100), made(101, cut=-8), made(102)])
    assert [len(batch) > 0 for batch in got] == [True, False, True]
    assert (tmp_path / "ledger-101.xdr").read_bytes() == MADE.ledger(101).xdr[:-8]
    assert processor.metrics()["ledgers_quarantined_total"] == 1


async def test_without_a_quarantine_it_ends_the_stream_after_what_came_before(serve, driver):
    session = await serve(TtpArrowProcessor("testnet", processes=2))
    async with (
        driver.processor(session.endpoint) as client,
        client.stream(feed([made(100), made(101, cut=-8), made(102)])) as stream,
    ):
        assert (await anext(stream)).first_cursor.sequence == 100
        with pytest.raises(PeerError):
            await anext(stream)


async def test_a_negative_number_of_processes_is_refused(serve):
    with pytest.raises(ConfigError, match="processes of TtpArrowProcessor"):
        await serve(TtpArrowProcessor("testnet", processes=-1))
