"""The law that needs no expectations: what the transfers of a transaction say is what happened to the balances.

For each transaction, holder and asset, the transfers and the changes of ledger entries add up to the same.
Contracts, pool shares and custom tokens are left out: their balances are elsewhere.
"""

from __future__ import annotations

import csv
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from flowctl_aio.components.stellar.files.containers import HEAD_BYTES, form_of, read_ledgers
from flowctl_aio.components.stellar.files.unpacking import open_bytes
from flowctl_aio.components.stellar.networks import network_id, passphrase_of
from flowctl_aio.components.stellar.transfers import Imbalance, Mode, find_imbalances, token_transfers
from flowctl_aio.components.stellar.xdr import ledger_header, walk_ledger
from flowctl_aio.errors import CodecError, LedgerDecodeError

PUBNET = passphrase_of("pubnet")
BUSY = "pubnet-63092991"


def test_transfers_are_what_happened_to_the_balances(real: Any, golden: tuple[str, Mode]) -> None:
    name, mode = golden
    passphrase = passphrase_of(name.split("-")[0])
    for data in real.ledgers(name):
        token_transfers(data, passphrase=passphrase, mode=mode, check_balances=True)


def test_every_transaction_of_the_real_ledgers_is_among_them(real: Any) -> None:
    # As many as the list of the files says, and each ledger that has unified events in both modes.
    counted = {mode: sum(counts(real, name) for name in names) for mode, names in by_mode(real).items()}
    with (real.root / "MANIFEST.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["tx_count"].isdigit()]
    listed = sum(int(row["tx_count"]) for row in rows if row["file"].startswith(("lake/", "containers/record-marked")))
    assert counted["derived"] == listed == 4966
    assert counted["unified"] == 3894


def by_mode(real: Any) -> dict[str, list[str]]:
    goldens = real.goldens()
    return {mode: [name for name, one in goldens if one == mode] for mode in ("derived", "unified")}


@cache
def counts(real: Any, name: str) -> int:
    return sum(len(walk_ledger(data).transactions) for data in real.ledgers(name))


def test_no_container_holds_a_ledger_that_is_not_checked(real: Any) -> None:
    checked = {ledger_header(data).hash for name, _ in real.goldens() for data in real.ledgers(name)}
    paths = [*real.root.glob("lake*/**/*.zst"), *real.root.glob("containers/**/*")]
    held = {hash_ for path in filter(Path.is_file, paths) for hash_ in hashes(path)}
    assert len(held) == 533  # as the tests of stellar-core begin alike
    assert held <= checked


def hashes(path: Path) -> set[bytes]:
    """Of the ledgers in a file; requests and refusals hold none."""
    with open_bytes(path) as data:
        form = form_of(data.read(HEAD_BYTES))
    if form is None or ".request." in path.name:
        return set()
    with open_bytes(path) as data, suppress(CodecError):
        return {ledger.hash for ledger in read_ledgers(data, form)}
    return set()


def broken(real: Any) -> tuple[bytes, int]:
    """A real ledger with one stroop more in the event of its first fee, and that fee."""
    (data,) = real.ledgers(BUSY)
    fee = token_transfers(data, passphrase=PUBNET, mode="unified").rows[0][11]
    start = data.index(fee.to_bytes(16, "big"), 4 * walk_ledger(data).transactions[0].result.pair)
    return data[:start] + (fee + 1).to_bytes(16, "big") + data[start + 16 :], fee


def test_a_wrong_amount_is_an_error_that_names_ledger_transaction_holder_and_asset(real: Any) -> None:
    data, fee = broken(real)
    row = token_transfers(data, passphrase=PUBNET, mode="unified").rows[0]
    with pytest.raises(LedgerDecodeError) as caught:
        token_transfers(data, passphrase=PUBNET, mode="unified", check_balances=True)
    assert caught.value.ledger == 63092991
    assert caught.value.reason == (
        f"the transfers of transaction 1 ({row[2]}) change the native of {row[9]} by {-fee - 1}, "
        f"and its entries by {-fee}"
    )


@pytest.mark.parametrize("kind", ["transfer", "mint", "burn", "fee"])
def test_a_transfer_that_is_missing_would_be_noticed(real: Any, kind: str) -> None:
    (data,) = real.ledgers(BUSY)
    rows = token_transfers(data, passphrase=PUBNET, mode="derived").rows
    lost = next(
        row for row in rows if row[7] == kind and row[8] and row[11] and "C" not in (str(row[9])[0], str(row[10])[0])
    )
    found = find_imbalances(walk_ledger(data), [row for row in rows if row is not lost], network_id(PUBNET))
    _, _, tx_hash, number, *_, asset, frm, to, amount = lost
    expected = [(frm, amount)] if frm else []
    expected += [(to, -amount)] if to else []
    assert [(one.transaction, one.tx_hash, one.asset) for one in found] == [(number, tx_hash, asset)] * len(expected)
    assert {(one.holder, one.happened - one.told) for one in found} == {(holder, -rise) for holder, rise in expected}
    assert all(isinstance(one, Imbalance) for one in found)
