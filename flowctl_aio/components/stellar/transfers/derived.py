"""Derived mode: works movements out from envelopes, results and entry changes. Reads meta versions 1 to 4.

The set of envelopes is in another order than the results, so they are matched by transaction hash,
which is taken over the bytes as they stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import sha256

from flowctl_aio.components.stellar.assets import NATIVE_XDR, Asset, asset_of
from flowctl_aio.components.stellar.strkey import account_address
from flowctl_aio.components.stellar.xdr import Ledger
from flowctl_aio.components.stellar.xdr.envelopes import FEE_BUMP, TX_V0, Envelope
from flowctl_aio.components.stellar.xdr.operations import operation_body, walk_operations
from flowctl_aio.components.stellar.xdr.results import walk_operation_results
from flowctl_aio.components.stellar.xdr.transactions import Transaction
from flowctl_aio.components.stellar.xdr.values import HASH
from flowctl_aio.components.stellar.xdr.words import StrangeValueError, Words, read_int64
from flowctl_aio.errors import LedgerDecodeError

from .changes import balance_rise, operation_balance_rise
from .movements import Movement, TransactionMovements, burn, fee, mint
from .operations import NAMES, OFFERS, PASSIVE_OFFER, RULES, SELL_OFFER, WITHOUT_MOVEMENT, Operation, read_account

_TAG_TX, _TAG_FEE_BUMP = b"\0\0\0\2", b"\0\0\0\5"
_TAG_V0 = _TAG_TX + bytes(4)  # hashed as if it were a V1 transaction with a plain source account
_EXACT_BALANCES = 8  # the first protocol whose operations neither make nor lose native balance by mistake


def derive(ledger: Ledger, network: bytes, uncovered: Counter[str]) -> list[TransactionMovements]:
    """The movements of each transaction, in apply order.

    Args:
        ledger: the ledger, walked.
        network: the network's id.
        uncovered: counts operations without a rule.

    Raises:
        LedgerDecodeError: if the ledger contradicts itself, or is of another network.
    """
    data = ledger.data
    native = asset_of(NATIVE_XDR, network)
    envelopes = {_hash(data, envelope, network): envelope for envelope in ledger.envelopes}
    found = []
    for number, transaction in enumerate(ledger.transactions, 1):
        i = transaction.result.pair
        envelope = envelopes.get(data[4 * i : 4 * i + 32])
        if envelope is None:
            why = f"transaction {number} has a hash that no envelope has; is it another network's ledger?"
            raise LedgerDecodeError(why, ledger=ledger.header.sequence, offset=4 * i)
        fees = _fees(ledger, transaction, envelope, native)
        operations: list[list[Movement]] = []
        if transaction.result.success:
            operations = _operations(ledger, transaction, envelope, network, native, uncovered)
        found.append(TransactionMovements(fees, operations))
    return found


def _hash(data: bytes, envelope: Envelope, network: bytes) -> bytes:
    tag = _TAG_FEE_BUMP if envelope.kind == FEE_BUMP else _TAG_V0 if envelope.kind == TX_V0 else _TAG_TX
    return sha256(network + tag + data[4 * envelope.body : 4 * envelope.signatures]).digest()


def _fees(ledger: Ledger, transaction: Transaction, envelope: Envelope, native: Asset) -> list[Movement]:
    """The charge, and the refund if there was one.

    What a Soroban transaction is charged first is not in its result, which already knows the refund.
    """
    data, w = ledger.data, ledger.words
    account, _ = read_account(data, w, envelope.fee_source, is_key=envelope.kind == TX_V0)
    if not envelope.is_soroban:
        return [fee(native, account_address(account), read_int64(w, transaction.result.pair + HASH))]
    charge = -balance_rise(data, w, [transaction.fee_changes], account)
    later = [i for i in (transaction.meta.after, transaction.post_fee_changes) if i]
    refund = balance_rise(data, w, later, account)
    fees = [fee(native, account_address(account), charge)]
    if refund > 0:
        fees.append(fee(native, account_address(account), -refund))
    return fees


def _operations(
    ledger: Ledger,
    transaction: Transaction,
    envelope: Envelope,
    network: bytes,
    native: Asset,
    uncovered: Counter[str],
) -> list[list[Movement]]:
    """The movements of each operation of a transaction that took effect."""
    w = ledger.words
    starts = _starts(w, envelope.operations, walk_operations)
    results = _starts(w, transaction.result.operations, walk_operation_results)
    if not len(starts) == len(results) == len(transaction.meta.operations):
        why = "a transaction has another number of operations than of results or of changes"
        raise LedgerDecodeError(why, ledger=ledger.header.sequence, offset=4 * transaction.result.pair)
    must_reconcile = ledger.header.protocol < _EXACT_BALANCES
    found: list[list[Movement]] = []
    for index, (at, result) in enumerate(zip(starts, results, strict=True)):
        body = operation_body(w, at)
        kind, result_kind = w[body], w[result + 1]
        # A passive offer that trades at once has the result of a plain one.
        same = result_kind == kind or (result_kind == SELL_OFFER and kind == PASSIVE_OFFER)
        if w[result] or w[result + 2] or not same:
            raise StrangeValueError("an operation that took effect has the result of another, or a failure")
        if kind in OFFERS and not w[result + 3] and not must_reconcile:
            found.append([])  # an offer that met no other, as most do
            continue
        rule = RULES.get(kind)
        if rule is not None:
            operation = Operation(ledger, transaction, envelope, index, at, body + 1, result + 3, network, native)
            movements = rule(operation)
            found.append(_reconcile(operation, movements) if must_reconcile else movements)
        else:
            found.append([])
            if kind not in WITHOUT_MOVEMENT:
                uncovered[NAMES[kind] if kind < len(NAMES) else f"operation_{kind}"] += 1
    return found


def _starts(w: Words[int], i: int, walk: Callable[[Words[int], int], tuple[int, list[int]]]) -> list[int]:
    """Where each element of the array at `i` begins; 0 is no array. One alone, as there mostly is, needs no walk."""
    if not i:
        return []
    return [i + 1] if w[i] == 1 else walk(w, i)[1]


def _reconcile(operation: Operation, movements: list[Movement]) -> list[Movement]:
    """Adds what an old protocol made or lost of the source's native balance by mistake."""
    source = operation.source
    told = 0
    for _, _, _, asset, frm, to, amount in movements:
        if asset == "native":
            told += amount * ((to == source) - (frm == source))
    rise = operation_balance_rise(operation.data, operation.w, operation.changes, operation.source_key)
    if rise > told:
        return [mint(operation.native, source, rise - told), *movements]
    if rise < told:
        return [*movements, burn(operation.native, source, told - rise)]
    return movements
