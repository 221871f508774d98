"""The processor's own promises; the transfers themselves are tested with the rules."""

from __future__ import annotations

import pytest

from flowctl_aio import Cursor, Event, EventBatch, LedgerBatch, RawLedger
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.transfers import TransferFilter, derived, rows_to_batch, token_transfers
from flowctl_aio.components.ttp_arrow_processor import TtpArrowProcessor
from flowctl_aio.errors import ConfigError, LedgerDecodeError, SchemaMismatchError

pytestmark = pytest.mark.anyio
MADE = SyntheticLedgers("testnet", transactions_per_ledger=20)


def ledgers(first: int, last: int, network: str = MADE.passphrase) -> LedgerBatch:
    return LedgerBatch.from_ledgers(
        RawLedger(sequence, MADE.ledger(sequence).xdr, network=network) for sequence in range(first, last + 1)
    )


async def test_a_batch_of_ledgers_gives_one_batch_that_covers_them():
    processor = TtpArrowProcessor("testnet", mode="unified")
    events = await processor.process(ledgers(100, 102))
    assert (events.first_cursor, events.last_cursor) == (Cursor(100), Cursor(102))
    numbers = processor.metrics()
    assert numbers["ledgers_processed_total"] == 3
    assert numbers["events_extracted_total"] == len(events)
    assert numbers["uncovered_operations_total"] == 0


async def test_an_operation_without_a_rule_is_counted_by_name(monkeypatch):
    monkeypatch.delitem(derived.RULES, 1)  # payments
    processor = TtpArrowProcessor("testnet", mode="derived")
    await processor.process(ledgers(100, 102))
    numbers = processor.metrics()
    assert numbers["uncovered_operations_total"] == numbers["uncovered_payment_total"] > 0


async def test_only_wanted_events_are_given_and_the_others_are_counted():
    wanted = TransferFilter(kinds=["fee"], min_amount=200)
    processor = TtpArrowProcessor("testnet", filter=wanted)
    events = await processor.process(ledgers(100, 102))
    rows = [
        row
        for sequence in range(100, 103)
        for row in token_transfers(MADE.ledger(sequence).xdr, passphrase=MADE.passphrase, mode="derived").rows
    ]
    expected = [row for row in rows if row[7] == "fee" and row[11] >= 200]
    assert events.record_batch.equals(rows_to_batch(expected))
    assert 0 < len(expected) < len(rows)
    numbers = processor.metrics()
    assert numbers["events_extracted_total"] == len(rows)
    assert numbers["events_filtered_total"] == len(rows) - len(expected)
    assert processor.metadata["event_types"] == "fee"


async def test_a_batch_of_which_nothing_is_wanted_still_tells_how_far_it_comes():
    events = await TtpArrowProcessor("testnet", filter=TransferFilter(kinds=["clawback"])).process(ledgers(100, 102))
    assert (len(events), events.first_cursor, events.last_cursor) == (0, Cursor(100), Cursor(102))


async def test_a_ledger_under_another_number_is_refused():
    batch = LedgerBatch.from_ledgers([RawLedger(101, MADE.ledger(100).xdr)])
    with pytest.raises(LedgerDecodeError, match=r"ledger 101 .* says that it is ledger 100"):
        await TtpArrowProcessor("testnet").process(batch)


async def test_a_ledger_of_another_network_is_refused():
    with pytest.raises(LedgerDecodeError, match="ledger 100"):
        await TtpArrowProcessor("testnet").process(ledgers(100, 100, network="pubnet"))


async def test_events_are_no_input():
    with pytest.raises(SchemaMismatchError, match="raw_ledger@1"):
        await TtpArrowProcessor("testnet").process(EventBatch.from_events([Event("e", b"")]))


def test_an_unknown_network_is_refused_at_once():
    with pytest.raises(ConfigError, match="atlantis"):
        TtpArrowProcessor("atlantis")
