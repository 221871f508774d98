"""The processor with worker processes: real ones, over real streams, on real ledgers."""

from __future__ import annotations

from typing import Any

import pytest

from flowctl_aio import LedgerBatch, RawLedger
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.transfers import TransferFilter, batch_to_golden, golden_line
from flowctl_aio.components.ttp_arrow_processor import TtpArrowProcessor
from flowctl_aio.errors import PeerError
from tests.components.stellar.conftest import RealLedgers
from tests.conftest import DATA

pytestmark = pytest.mark.anyio
MADE = SyntheticLedgers("testnet", transactions_per_ledger=5)


async def feed(batches: list[LedgerBatch]) -> Any:
    for batch in batches:
        yield batch


async def through(session, driver, batches: list[LedgerBatch]) -> list:
    async with driver.processor(session.endpoint) as client, client.stream(feed(batches)) as stream:
        return [batch async for batch in stream]


def made(sequence: int, xdr: bytes | None = None) -> LedgerBatch:
    return LedgerBatch.from_ledgers([RawLedger(sequence, MADE.ledger(sequence).xdr if xdr is None else xdr)])


@pytest.mark.parametrize("mode", ["unified", "derived"])
async def test_the_published_transfers_come_through_two_processes_in_order(serve, driver, data, mode):
    real = RealLedgers(DATA)
    names = [name for name, of in real.goldens() if of == mode and name.startswith("pubnet-630")]
    batches, lines = [], []
    for name in sorted(names):
        (xdr,) = real.ledgers(name)
        batches.append(LedgerBatch.from_ledgers([RawLedger(int(name.split("-")[1]), xdr)]))
        lines += real.golden(name, mode)
    session = await serve(TtpArrowProcessor("pubnet", mode=mode, processes=2))
    got = await through(session, driver, batches)
    assert len(got) == len(batches) > 5
    assert [golden_line(fields) for batch in got for fields in batch_to_golden(batch.record_batch)] == lines


async def test_counts_are_those_of_one_thread(serve, driver):
    wanted = TransferFilter(kinds=["fee"])
    batches = [made(sequence) for sequence in range(100, 120)]
    numbers = []
    for processes in (0, 2):
        processor = TtpArrowProcessor("testnet", mode="unified", filter=wanted, processes=processes)
        await through(await serve(processor), driver, batches)
        counted = dict(processor.metrics())
        del counted["events_per_second"]
        numbers.append(counted)
    assert numbers[0] == numbers[1]
    assert numbers[0]["ledgers_processed_total"] == 20


async def test_a_bad_ledger_goes_into_quarantine_and_the_others_give_their_events(serve, driver, tmp_path):
    cut = MADE.ledger(105).xdr[:-8]
    batches = [made(sequence, cut if sequence == 105 else None) for sequence in range(100, 110)]
    processor = TtpArrowProcessor("testnet", on_bad_ledger="quarantine", quarantine=tmp_path / "q", processes=2)
    got = await through(await serve(processor), driver, batches)
    assert [batch.last_cursor.sequence for batch in got] == list(range(100, 110))
    assert [len(batch) > 0 for batch in got] == [sequence != 105 for sequence in range(100, 110)]
    assert (tmp_path / "q" / "ledger-105.xdr").read_bytes() == cut
    assert processor.metrics()["ledgers_quarantined_total"] == 1


async def test_without_a_quarantine_a_bad_ledger_stops_the_stream(serve, driver):
    session = await serve(TtpArrowProcessor("testnet", processes=1))
    with pytest.raises(PeerError, match="a ledger cannot be read at byte 4"):
        await through(session, driver, [made(100, b"\1\2\3\4")])
