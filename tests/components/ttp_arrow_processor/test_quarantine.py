"""Claims about ledgers that cannot be read: kept as they came and counted, or the stream stops."""

from __future__ import annotations

import logging
import random
import stat
from pathlib import Path

import pytest

from flowctl_aio import Cursor, LedgerBatch, RawLedger
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.transfers import token_transfers
from flowctl_aio.components.ttp_arrow_processor import TtpArrowProcessor
from flowctl_aio.components.ttp_arrow_processor.quarantine import Quarantine
from flowctl_aio.errors import ConfigError, LedgerDecodeError

pytestmark = pytest.mark.anyio
MADE = SyntheticLedgers("testnet", transactions_per_ledger=5)
GOOD = {sequence: MADE.ledger(sequence).xdr for sequence in (100, 101, 102)}
CUT = GOOD[101][:-8]
ERROR = LedgerDecodeError("it is odd", ledger=7, offset=8)


def batch_of(ledgers: dict[int, bytes], network: str = "testnet") -> LedgerBatch:
    return LedgerBatch.from_ledgers(RawLedger(sequence, xdr, network=network) for sequence, xdr in ledgers.items())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_bad_ledger_is_kept_as_it_came_and_the_others_give_their_events(tmp_path, caplog):
    folder = tmp_path / "deep" / "quarantine"
    processor = TtpArrowProcessor("testnet", on_bad_ledger="quarantine", quarantine=folder)
    with caplog.at_level(logging.WARNING):
        events = await processor.process(batch_of({**GOOD, 101: CUT}))
    without = await TtpArrowProcessor("testnet").process(batch_of({100: GOOD[100], 102: GOOD[102]}))
    assert events.record_batch.equals(without.record_batch)
    assert (events.first_cursor, events.last_cursor) == (Cursor(100), Cursor(102))
    assert names(folder) == ["ledger-101.reason", "ledger-101.xdr"]
    assert (folder / "ledger-101.xdr").read_bytes() == CUT
    assert (folder / "ledger-101.reason").read_text().startswith("ledger 101 cannot be read at byte ")
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    numbers = processor.metrics()
    assert (numbers["ledgers_quarantined_total"], numbers["ledgers_processed_total"]) == (1, 2)
    assert "ledger 101 cannot be read" in caplog.text


async def test_without_a_quarantine_a_bad_ledger_stops_the_stream():
    processor = TtpArrowProcessor("testnet")
    with pytest.raises(LedgerDecodeError, match="ledger 101"):
        await processor.process(batch_of({**GOOD, 101: CUT}))
    assert processor.metrics()["ledgers_quarantined_total"] == 0


@pytest.mark.parametrize("xdr", [b"", b"\1", b"\xff" * 4000, GOOD[100]], ids=["empty", "odd", "noise", "other"])
async def test_bytes_that_are_no_such_ledger_are_kept_too(tmp_path, xdr):
    processor = TtpArrowProcessor("testnet", on_bad_ledger="quarantine", quarantine=tmp_path)
    assert len(await processor.process(batch_of({101: xdr}))) == 0
    assert (tmp_path / "ledger-101.xdr").read_bytes() == xdr


async def test_damage_at_random_gives_events_or_goes_into_quarantine_and_nothing_else(tmp_path):
    chance = random.Random(5)
    damaged = {}
    for sequence in range(200, 400):
        xdr = bytearray(MADE.ledger(sequence).xdr)
        for _ in range(chance.choice((1, 3, 20))):
            xdr[chance.randrange(len(xdr))] ^= 1 << chance.randrange(8)
        damaged[sequence] = bytes(xdr[: chance.randrange(len(xdr))] if chance.random() < 0.2 else xdr)
    processor = TtpArrowProcessor("testnet", on_bad_ledger="quarantine", quarantine=tmp_path)
    events = await processor.process(batch_of(damaged))
    events.record_batch.validate(full=True)
    kept = {int(path.stem.split("-")[1]): path.read_bytes() for path in tmp_path.glob("*.xdr")}
    assert kept.items() < damaged.items()
    numbers = processor.metrics()
    assert numbers["ledgers_quarantined_total"] == len(kept) > 50
    assert numbers["ledgers_processed_total"] == len(damaged) - len(kept)


async def test_a_ledger_that_says_it_is_of_another_network_is_not_bad_and_stops_the_stream(tmp_path):
    processor = TtpArrowProcessor("testnet", on_bad_ledger="quarantine", quarantine=tmp_path / "q")
    with pytest.raises(LedgerDecodeError, match="pubnet"):
        await processor.process(batch_of(GOOD, network="pubnet"))
    assert not (tmp_path / "q").exists()


def test_the_same_ledger_again_takes_no_second_place_and_another_does(tmp_path):
    quarantine = Quarantine(tmp_path)
    (tmp_path / ".ledger-7.xdr.part").write_bytes(b"of a process that died")
    assert quarantine.keep(7, b"one", ERROR) == quarantine.keep(7, b"one", ERROR) == tmp_path / "ledger-7.xdr"
    assert quarantine.keep(7, b"two", ERROR) == quarantine.keep(7, b"two", ERROR) == tmp_path / "ledger-7-2.xdr"
    assert names(tmp_path) == ["ledger-7-2.reason", "ledger-7-2.xdr", "ledger-7.reason", "ledger-7.xdr"]
    assert (tmp_path / "ledger-7.xdr").read_bytes() == b"one"


def test_a_full_quarantine_stops_the_stream_with_the_ledgers_own_error(tmp_path):
    quarantine = Quarantine(tmp_path, most=2)
    quarantine.keep(7, b"one", ERROR)
    quarantine.keep(8, b"two", ERROR)
    with pytest.raises(LedgerDecodeError, match=r"ledger 7 .* it is odd; and it finds no room in .* holds 2 ledgers"):
        quarantine.keep(9, b"three", ERROR)
    quarantine.keep(8, b"two", ERROR)
    assert not (tmp_path / "ledger-9.xdr").exists()


def test_a_quarantine_that_cannot_be_written_stops_the_stream(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerDecodeError, match="it is odd; and it cannot be quarantined") as caught:
        Quarantine(tmp_path / "file").keep(7, b"one", ERROR)
    assert (caught.value.ledger, caught.value.offset) == (7, 8)


@pytest.mark.parametrize(
    "policy",
    [{"on_bad_ledger": "skip"}, {"on_bad_ledger": "quarantine"}, {"quarantine": "folder"}],
)
def test_a_policy_without_folder_and_a_folder_without_policy_are_refused(policy):
    with pytest.raises(ConfigError, match="on_bad_ledger"):
        TtpArrowProcessor("testnet", **policy)


async def test_a_ledger_whose_transfers_are_not_what_happened_is_bad_if_balances_are_checked(tmp_path):
    # One stroop more in the event of the first fee: nothing but the law of balances knows.
    fee = token_transfers(GOOD[101], passphrase=MADE.passphrase, mode="unified").rows[0][11]
    start = GOOD[101].index(fee.to_bytes(16, "big"), GOOD[101].index(b"\3fee\0"))
    wrong = GOOD[101][:start] + (fee + 1).to_bytes(16, "big") + GOOD[101][start + 16 :]
    batch = batch_of({**GOOD, 101: wrong})
    assert (await TtpArrowProcessor("testnet", mode="unified").process(batch)).record_batch.num_rows
    with pytest.raises(LedgerDecodeError, match=r"ledger 101 .*transaction 1 .*native of G"):
        await TtpArrowProcessor("testnet", mode="unified", check_balances=True).process(batch)
    checking = TtpArrowProcessor(
        "testnet", mode="unified", check_balances=True, on_bad_ledger="quarantine", quarantine=tmp_path
    )
    await checking.process(batch)
    assert names(tmp_path) == ["ledger-101.reason", "ledger-101.xdr"]
