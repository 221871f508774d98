"""Unified mode: reads the movements that stellar-core wrote into the ledger as events.

Only meta version 4 has room for them, and only a stellar-core that was told to writes them.
A ledger without them must not pass for an empty one: every transaction pays a fee,
so one without a fee event proves that they are missing.

Source: CAP-67.
"""

from __future__ import annotations

from functools import lru_cache

from flowctl_aio.components.stellar.assets import NATIVE_XDR, Asset, asset_contract_id, asset_of
from flowctl_aio.components.stellar.strkey import account_address
from flowctl_aio.components.stellar.xdr import Ledger
from flowctl_aio.components.stellar.xdr.values import HASH, SCV_ADDRESS, SCV_I128, SCV_SYMBOL
from flowctl_aio.components.stellar.xdr.words import Words, new_tuple
from flowctl_aio.errors import LedgerDecodeError

from .events import CONTRACT_EVENT, contract_id, read_address, read_events, read_int128, read_topics
from .movements import Movement, TransactionMovements, fee

_FEE = int.from_bytes(b"fee\0", "big")
_FLAG, _TYPE, _TOPIC = 1, 10, 13  # words from the start of an event: contract flag, type, first topic
_AMOUNT = 27  # words from the start of a fee event as it almost always is to its data


def read_unified(ledger: Ledger, network: bytes) -> list[TransactionMovements]:
    """The movements of each transaction, in apply order.

    Raises:
        LedgerDecodeError: if a transaction has meta of another version than 4, no fee event or more than two,
            or a fee event that is not the network's own.
    """
    data, w = ledger.data, ledger.words
    native_id = asset_contract_id(NATIVE_XDR, network)
    native, usual = asset_of(NATIVE_XDR, network), _usual_start(native_id)
    found = []
    for number, (result, _, meta, _) in enumerate(ledger.transactions, 1):
        if meta.version != 4:
            raise _no_events(ledger, result.pair, f"transaction {number} has meta version {meta.version}")
        fees = _read_fees(ledger, meta.events, native, native_id, usual)
        if not fees:
            raise _no_events(ledger, result.pair, f"transaction {number} has no fee event")
        if len(fees) > 2:
            raise _unreadable(ledger, result.pair, f"transaction {number} has {len(fees)} fee events")
        operations: list[list[Movement]] = []
        if result.success:
            for _, events in meta.operations:
                operations.append(read_events(data, w, events, older=False, network=network) if events else [])
        found.append(new_tuple(TransactionMovements, (fees, operations)))
    return found


def _read_fees(ledger: Ledger, starts: list[int], native: Asset, native_id: bytes, usual: bytes) -> list[Movement]:
    """The fees among transaction-level events; others are passed over. `usual` is how nearly all of them begin."""
    data, w = ledger.data, ledger.words
    fees = []
    for i in starts:
        amount: int | None
        if data.startswith(usual, 4 * i):
            key = 4 * i + len(usual)
            payer = account_address(data[key : key + 32])
            # As `read_int128` would, without a call.
            is_amount = w[i + _AMOUNT] == SCV_I128
            amount = int.from_bytes(data[key + 36 : key + 52], "big", signed=True) if is_amount else None
        elif _is_fee(w, i):
            payer, amount = _read_unusual(ledger, i, native_id)
        else:
            continue
        if amount is None:
            raise _unreadable(ledger, i, "the amount of a fee event is not an i128")
        fees.append(fee(native, payer, amount))
    return fees


@lru_cache(maxsize=64)
def _usual_start(native_id: bytes) -> bytes:
    """The bytes with which almost every fee event begins, up to the key of its account: one comparison for all checks.

    In words: extension, contract flag, contract; type, version, two topics; the symbol fee; address of an account.
    """
    words = (CONTRACT_EVENT, 0, 2, SCV_SYMBOL, 3, _FEE, SCV_ADDRESS, 0, 0)
    return bytes(7) + b"\1" + native_id + b"".join(word.to_bytes(4, "big") for word in words)


def _read_unusual(ledger: Ledger, i: int, native_id: bytes) -> tuple[str, int | None]:
    """Payer and amount of a fee event that begins in another way, which may be wrong or only strange."""
    data, w = ledger.data, ledger.words
    if not w[i + _FLAG] or w[i + _TYPE] != CONTRACT_EVENT or contract_id(data, i) != native_id:
        raise _unreadable(ledger, i, "a fee event is not of this network's native asset contract")
    topics = read_topics(w, i)
    if len(topics) != 3 or w[topics[1]] != SCV_ADDRESS:
        raise _unreadable(ledger, i, "the topics of a fee event are not a symbol and an address")
    return read_address(data, topics, 1), read_int128(data, w, topics[2])


def _is_fee(w: Words[int], i: int) -> bool:
    """Whether the first topic is the symbol fee; without a contract id it stands earlier."""
    topic = i + _TOPIC if w[i + _FLAG] else i + _TOPIC - HASH
    return w[topic - 1] > 0 and w[topic] == SCV_SYMBOL and w[topic + 1] == 3 and w[topic + 2] == _FEE


def _no_events(ledger: Ledger, i: int, why: str) -> LedgerDecodeError:
    return _unreadable(ledger, i, f'{why}, so the ledger has no unified events; mode "derived" reads it')


def _unreadable(ledger: Ledger, i: int, why: str) -> LedgerDecodeError:
    return LedgerDecodeError(why, ledger=ledger.header.sequence, offset=4 * i)
