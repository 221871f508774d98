"""The law of balances: for each transaction, what its transfers say is what happened to the ledger's entries.

Takes a walked ledger and its rows, and names every holder and asset where the two sums differ.
It reads entry changes only, and no rule by which a movement was found. It needs no exception for an issuer: it
holds no trustline to its own asset, and mint and burn do not name it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from flowctl_aio.components.stellar.assets import asset_of
from flowctl_aio.components.stellar.strkey import account_address, balance_address, pool_address
from flowctl_aio.components.stellar.xdr import Ledger
from flowctl_aio.components.stellar.xdr.entries import (
    ENTRY_ACCOUNT,
    ENTRY_CLAIMABLE_BALANCE,
    ENTRY_POOL,
    ENTRY_TRUSTLINE,
)
from flowctl_aio.components.stellar.xdr.transactions import Transaction
from flowctl_aio.components.stellar.xdr.values import ACCOUNT, ASSET, HASH, skip_claimants
from flowctl_aio.components.stellar.xdr.words import read_int64
from flowctl_aio.errors import LedgerDecodeError

from .changes import changed_of
from .movements import Row

# Sums by holder and asset, both as rows write them.
Sums = Counter[tuple[str, str]]

_HOLDERS = (ENTRY_ACCOUNT, ENTRY_TRUSTLINE, ENTRY_CLAIMABLE_BALANCE, ENTRY_POOL)
_POOL_SHARE = 3
_CODE = HASH + 2  # words from a result's hash, over the fee
_INTERNAL_ERROR = 2**32 - 11
_KEEPS_NO_FAILED_CHANGES = 13  # the first protocol whose meta has no changes of what ended with an internal error


class Imbalance(NamedTuple):
    """One holder of one asset for whom the law does not hold in one transaction.

    Attributes:
        transaction: its position in apply order, from 1.
        tx_hash: 64 hex digits.
        holder, asset: as rows write them.
        told: what the transfers add up to, in the smallest unit.
        happened: what the entries changed by.
    """

    transaction: int
    tx_hash: str
    holder: str
    asset: str
    told: int
    happened: int


def check_law(ledger: Ledger, rows: Iterable[Row], network: bytes) -> None:
    """Checks all transactions of a ledger.

    Raises:
        LedgerDecodeError: if the law does not hold; it names the ledger, the first such transaction, holder and asset,
            and counts the others.
    """
    found = find_imbalances(ledger, rows, network)
    if found:
        number, tx_hash, holder, asset, told, happened = found[0]
        more = f"; {len(found) - 1} more like it" if len(found) > 1 else ""
        raise LedgerDecodeError(
            f"the transfers of transaction {number} ({tx_hash}) change the {asset} of {holder} by {told}, "
            f"and its entries by {happened}{more}",
            ledger=ledger.header.sequence,
            offset=4 * ledger.transactions[number - 1].result.pair,
        )


def find_imbalances(ledger: Ledger, rows: Iterable[Row], network: bytes) -> list[Imbalance]:
    """Every breach of the law in a ledger, by transaction, holder and asset.

    Contracts, pool shares and custom tokens are left out: their balances are no entries that this could read.

    Args:
        ledger: the ledger, walked.
        rows: all of its transfers, fees included.
        network: the network's id.
    """
    told: list[Sums] = [Counter() for _ in ledger.transactions]
    for row in rows:
        _tell(told[row[3] - 1], row)
    found = []
    for number, (transaction, sums) in enumerate(zip(ledger.transactions, told, strict=True), 1):
        happened = _happened(ledger, transaction, network)
        start = 4 * transaction.result.pair
        for key in sorted(sums.keys() | happened.keys()):
            if sums[key] != happened[key]:
                tx_hash = ledger.data[start : start + 32].hex()
                found.append(Imbalance(number, tx_hash, *key, sums[key], happened[key]))
    return found


def _tell(sums: Sums, row: Row) -> None:
    """Adds what one transfer says."""
    *_, asset, frm, to, amount = row
    if asset is None:
        return
    if frm is not None and frm[0] != "C":
        sums[frm, asset] -= amount
    if to is not None and to[0] != "C":
        sums[to, asset] += amount


def _happened(ledger: Ledger, transaction: Transaction, network: bytes) -> Sums:
    """What the entry changes of a transaction add up to."""
    meta = transaction.meta
    lists = [transaction.fee_changes, meta.before, transaction.post_fee_changes]
    is_undone = ledger.words[transaction.result.pair + _CODE] == _INTERNAL_ERROR
    if not is_undone or ledger.header.protocol >= _KEEPS_NO_FAILED_CHANGES:
        lists += [meta.after, *(changes for changes, _ in meta.operations)]
    sums: Sums = Counter()
    for i in filter(None, lists):
        for kind, before, after in changed_of(ledger.words, i, _HOLDERS):
            for body, sign in ((before, -1), (after, 1)):
                if body:
                    for holder, asset, amount in _held(ledger, kind, body, network):
                        sums[holder, asset] += sign * amount
    return sums


def _held(ledger: Ledger, kind: int, i: int, network: bytes) -> list[tuple[str, str, int]]:
    """Holder, asset and amount of each balance in one entry."""
    data, w = ledger.data, ledger.words
    key = data[4 * i + 4 : 4 * i + 36]  # after the type of an account or a balance id
    if kind == ENTRY_ACCOUNT:
        return [(account_address(key), "native", read_int64(w, i + ACCOUNT))]
    if kind == ENTRY_TRUSTLINE:
        if w[i + ACCOUNT] == _POOL_SHARE:
            return []
        asset, at = _asset(ledger, i + ACCOUNT, network)
        return [(account_address(key), asset, read_int64(w, at))]
    if kind == ENTRY_CLAIMABLE_BALANCE:
        asset, at = _asset(ledger, skip_claimants(w, i + ACCOUNT), network)
        return [(balance_address(key), asset, read_int64(w, at))]
    holder = pool_address(data[4 * i : 4 * i + 32])
    first, at = _asset(ledger, i + HASH + 1, network)
    second, at = _asset(ledger, at, network)
    return [(holder, first, read_int64(w, at + 1)), (holder, second, read_int64(w, at + 3))]


def _asset(ledger: Ledger, i: int, network: bytes) -> tuple[str, int]:
    """The asset at `i` as rows write it, and the position after it."""
    end = i + ASSET[ledger.words[i]]
    return asset_of(ledger.data[4 * i : 4 * end], network).text, end
