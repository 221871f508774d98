"""The law that needs no expectations: what the transfers of a transaction say is what happened to the balances.

For each transaction, holder and asset, the transfers and the changes of ledger entries add up to the same.
Contracts, pool shares and custom tokens are left out: their balances are elsewhere.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import pytest

from flowctl_aio.components.stellar.assets import asset_of
from flowctl_aio.components.stellar.networks import network_id, passphrase_of
from flowctl_aio.components.stellar.strkey import account_address, balance_address, pool_address
from flowctl_aio.components.stellar.transfers import Row, token_transfers
from flowctl_aio.components.stellar.transfers.changes import changed
from flowctl_aio.components.stellar.xdr import Ledger, walk_ledger
from flowctl_aio.components.stellar.xdr.entries import (
    ENTRY_ACCOUNT,
    ENTRY_CLAIMABLE_BALANCE,
    ENTRY_POOL,
    ENTRY_TRUSTLINE,
)
from flowctl_aio.components.stellar.xdr.ledger import Transaction
from flowctl_aio.components.stellar.xdr.values import ACCOUNT, ASSET, skip_claimants
from flowctl_aio.components.stellar.xdr.words import read_int64

Sums = Counter[tuple[str, str]]
POOL_SHARE = 3
INTERNAL_ERROR = 2**32 - 11


def told_by(rows: list[Row]) -> Sums:
    sums: Sums = Counter()
    for *_, asset, frm, to, amount in rows:
        if asset is not None:
            for holder, sign in ((frm, -1), (to, 1)):
                if holder is not None and holder[0] != "C":
                    sums[holder, asset] += sign * amount
    return sums


def holdings(ledger: Ledger, kind: int, i: int, network: bytes) -> list[tuple[str, str, int]]:
    """Holder, asset and amount of each balance in one entry."""
    data, w = ledger.data, ledger.words

    def asset_at(at: int) -> tuple[str, int]:
        end = at + ASSET[w[at]]
        return asset_of(data[4 * at : 4 * end], network).text, end

    key = data[4 * i + 4 : 4 * i + 36]
    if kind == ENTRY_ACCOUNT:
        return [(account_address(key), "native", read_int64(w, i + ACCOUNT))]
    if kind == ENTRY_TRUSTLINE:
        if w[i + ACCOUNT] == POOL_SHARE:
            return []
        asset, at = asset_at(i + ACCOUNT)
        return [(account_address(key), asset, read_int64(w, at))]
    if kind == ENTRY_CLAIMABLE_BALANCE:
        asset, at = asset_at(skip_claimants(w, i + 9))
        return [(balance_address(key), asset, read_int64(w, at))]
    holder = pool_address(data[4 * i : 4 * i + 32])
    first, at = asset_at(i + 9)
    second, at = asset_at(at)
    return [(holder, first, read_int64(w, at + 1)), (holder, second, read_int64(w, at + 3))]


def happened_in(ledger: Ledger, transaction: Transaction, network: bytes) -> Sums:
    meta = transaction.meta
    lists = [transaction.fee_changes, meta.before, transaction.post_fee_changes]
    code = ledger.words[transaction.result.pair + 10]
    if code != INTERNAL_ERROR or ledger.header.protocol > 12:
        lists += [meta.after, *(changes for changes, _ in meta.operations)]
    sums: Sums = Counter()
    for i in filter(None, lists):
        for kind in (ENTRY_ACCOUNT, ENTRY_TRUSTLINE, ENTRY_CLAIMABLE_BALANCE, ENTRY_POOL):
            for change in changed(ledger.words, i, kind):
                for body, sign in zip(change, (-1, 1), strict=True):
                    if body:
                        for holder, asset, amount in holdings(ledger, kind, body, network):
                            sums[holder, asset] += sign * amount
    return sums


def check(data: bytes, passphrase: str, mode: Literal["unified", "derived"]) -> int:
    ledger, network = walk_ledger(data), network_id(passphrase)
    rows: dict[int, list[Row]] = {}
    for row in token_transfers(data, passphrase=passphrase, mode=mode).rows:
        rows.setdefault(row[3], []).append(row)
    for number, transaction in enumerate(ledger.transactions, 1):
        told, happened = told_by(rows[number]), happened_in(ledger, transaction, network)
        assert {key: n for key, n in told.items() if n} == {key: n for key, n in happened.items() if n}
    return len(ledger.transactions)


def test_transfers_are_what_happened_to_the_balances(
    real: Any, golden: tuple[str, Literal["unified", "derived"]]
) -> None:
    name, mode = golden
    for data in real.ledgers(name):
        check(data, passphrase_of(name.split("-")[0]), mode)


def test_a_wrong_amount_would_be_noticed(real: Any) -> None:
    (data,) = real.ledgers("pubnet-63092991")
    ledger = walk_ledger(data)
    payment = next(row for row in token_transfers(data, passphrase=passphrase_of("pubnet"), mode="unified").rows)
    start = data.index(payment[11].to_bytes(16, "big"), 4 * ledger.transactions[0].result.pair)
    broken = data[:start] + (payment[11] + 1).to_bytes(16, "big") + data[start + 16 :]
    with pytest.raises(AssertionError):
        check(broken, passphrase_of("pubnet"), "unified")
