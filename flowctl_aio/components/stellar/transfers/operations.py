"""What each kind of operation moves: one rule per kind, and a table of them.

A rule takes one operation of a transaction that took effect and returns its movements, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from flowctl_aio.components.stellar.assets import Asset, asset_of
from flowctl_aio.components.stellar.strkey import account_address, balance_address, pool_address
from flowctl_aio.components.stellar.xdr import Ledger
from flowctl_aio.components.stellar.xdr.envelopes import TX_V0, Envelope
from flowctl_aio.components.stellar.xdr.results import CLAIM_HEAD
from flowctl_aio.components.stellar.xdr.transactions import Transaction
from flowctl_aio.components.stellar.xdr.values import ACCOUNT, ASSET, HASH, MUXED_ACCOUNT
from flowctl_aio.components.stellar.xdr.words import (
    VOID,
    StrangeValueError,
    Words,
    read_int64,
    read_opaque,
    read_uint64,
)

from .changes import Balance, Pool, changed_pools, created_balances, removed_balances
from .events import read_events
from .movements import Movement, Muxed, burn, clawback, mint, move

_PLAIN_ACCOUNT = 0
SELL_OFFER, PASSIVE_OFFER = 3, 4
OFFERS = frozenset((SELL_OFFER, PASSIVE_OFFER, 12))  # whose rule is their trades alone
_MEMO_NONE, _MEMO_TEXT, _MEMO_ID = 0, 1, 2
_POOL_CLAIM = 2
_CLAIM_KEY = (1, 2, 1)  # words before the seller's key or the pool's id; an account of the new form has a type
_REVOKED_FROM_POOL = b"\0\0\0\7"  # the preimage of a balance id that a revocation makes


def read_account(data: bytes, w: Words[int], i: int, *, is_key: bool = False) -> tuple[bytes, int | None]:
    """The public key (32 bytes) and the muxed id of an account.

    Args:
        data: the ledger's bytes.
        w: the same as words.
        i: a MuxedAccount, or the bare key.
        is_key: whether it is the bare key.
    """
    if is_key:
        return data[4 * i : 4 * i + 32], None
    if w[i] == _PLAIN_ACCOUNT:
        return data[4 * i + 4 : 4 * i + 36], None
    return data[4 * i + 12 : 4 * i + 44], read_uint64(w, i + 1)


class Operation:
    """One operation with all that a rule may ask for.

    Attributes:
        data, w: the ledger's bytes and words.
        transaction, envelope: where the operation is from.
        index: its position in the transaction, from 0.
        network: the network's id.
        native: the native asset.
        body: the word after its type.
        result: the word after the code of its result.
        changes: its entry changes.
        source_key, source_id: the account that it acts for, its public key and muxed id.
        source: the address of that account.
    """

    __slots__ = (
        "body",
        "changes",
        "data",
        "envelope",
        "index",
        "native",
        "network",
        "result",
        "source",
        "source_id",
        "source_key",
        "transaction",
        "w",
    )

    def __init__(
        self,
        ledger: Ledger,
        transaction: Transaction,
        envelope: Envelope,
        index: int,
        at: int,
        body: int,
        result: int,
        network: bytes,
        native: Asset,
    ) -> None:
        data, w = ledger.data, ledger.words
        self.data, self.w = data, w
        self.transaction, self.envelope, self.index = transaction, envelope, index
        self.network, self.native = network, native
        self.body, self.result = body, result
        self.changes = transaction.meta.operations[index][0]
        if w[at]:
            self.source_key, self.source_id = read_account(data, w, at + 1)
        else:
            self.source_key, self.source_id = read_account(data, w, envelope.source, is_key=envelope.kind == TX_V0)
        self.source = account_address(self.source_key)

    def asset(self, i: int) -> tuple[Asset, int]:
        """The asset at `i`, and the position after it."""
        end = i + ASSET[self.w[i]]
        return asset_of(self.data[4 * i : 4 * end], self.network), end

    def account(self, i: int) -> tuple[str, int | None, int]:
        """Address and muxed id of the MuxedAccount at `i`, and the position after it."""
        key, muxed_id = read_account(self.data, self.w, i)
        return account_address(key), muxed_id, i + MUXED_ACCOUNT[self.w[i]]

    def account_id(self, i: int) -> str:
        """Address of the AccountID at `i`."""
        i += VOID[self.w[i]]
        return account_address(self.data[4 * i : 4 * i + 32])

    def muxed(self, muxed_id: int | None) -> Muxed:
        """What the receiver is told: its muxed id, else the memo. An id of 0 is an id."""
        return self._memo() if muxed_id is None else ("id", muxed_id)

    def _memo(self) -> Muxed:
        i = self.envelope.memo
        kind = self.w[i]
        if kind == _MEMO_NONE:
            return None
        if kind == _MEMO_TEXT:
            # The protocol does not ask for UTF-8; what is none shows as U+FFFD.
            return "text", read_opaque(self.data, self.w, i + 1).decode("utf-8", "replace")
        if kind == _MEMO_ID:
            return "id", read_uint64(self.w, i + 1)
        return "hash", self.data[4 * i + 4 : 4 * i + 36]  # a hash, or a hash to return


def _create_account(op: Operation) -> list[Movement]:
    to = op.account_id(op.body)
    return [move(op.native, op.source, to, read_int64(op.w, op.body + ACCOUNT), op.muxed(None))]


def _payment(op: Operation) -> list[Movement]:
    to, muxed_id, i = op.account(op.body)
    asset, i = op.asset(i)
    return [move(asset, op.source, to, read_int64(op.w, i), op.muxed(muxed_id))]


def _path_payment_strict_receive(op: Operation) -> list[Movement]:
    movements, _ = _trades(op)
    to, muxed_id, asset, i = _path_destination(op)
    return [*movements, move(asset, op.source, to, read_int64(op.w, i), op.muxed(muxed_id))]


def _path_payment_strict_send(op: Operation) -> list[Movement]:
    movements, i = _trades(op)
    to, muxed_id, asset, _ = _path_destination(op)
    i += ACCOUNT  # of the last payment in the result
    received = read_int64(op.w, i + ASSET[op.w[i]])
    return [*movements, move(asset, op.source, to, received, op.muxed(muxed_id))]


def _path_destination(op: Operation) -> tuple[str, int | None, Asset, int]:
    """Receiver, its muxed id, the asset it gets, and the position of the amount that the operation names."""
    _, i = op.asset(op.body)
    to, muxed_id, i = op.account(i + 2)
    asset, i = op.asset(i)
    return to, muxed_id, asset, i


def _offer(op: Operation) -> list[Movement]:
    return _trades(op)[0]


def _trades(op: Operation) -> tuple[list[Movement], int]:
    """Both legs of every trade in a result, and the position after them. The seller gives first."""
    data, w, taker = op.data, op.w, op.source
    movements = []
    count, i = w[op.result], op.result + 1
    for _ in range(count):
        kind = w[i]
        key = i + _CLAIM_KEY[kind]
        raw = data[4 * key : 4 * key + 32]
        seller = pool_address(raw) if kind == _POOL_CLAIM else account_address(raw)
        sold, i = op.asset(i + CLAIM_HEAD[kind])
        movements.append(move(sold, seller, taker, read_int64(w, i)))
        bought, i = op.asset(i + 2)
        movements.append(move(bought, taker, seller, read_int64(w, i)))
        i += 2
    return movements, i


def _account_merge(op: Operation) -> list[Movement]:
    to, muxed_id, _ = op.account(op.body)
    return [move(op.native, op.source, to, read_int64(op.w, op.result), op.muxed(muxed_id))]


def _inflation(op: Operation) -> list[Movement]:
    count, i = op.w[op.result], op.result + 1
    size = ACCOUNT + 2
    return [
        mint(op.native, op.account_id(at), read_int64(op.w, at + ACCOUNT)) for at in range(i, i + size * count, size)
    ]


def _create_claimable_balance(op: Operation) -> list[Movement]:
    asset, i = op.asset(op.body)
    start = 4 * op.result + 4  # after the id's type
    return [move(asset, op.source, balance_address(op.data[start : start + 32]), read_int64(op.w, i))]


def _claim_claimable_balance(op: Operation) -> list[Movement]:
    balance = _the_balance(op)
    frm = balance_address(balance.id)
    return [move(balance.asset, frm, op.source, balance.amount, op.muxed(op.source_id))]


def _clawback_claimable_balance(op: Operation) -> list[Movement]:
    balance = _the_balance(op)
    return [clawback(balance.asset, balance_address(balance.id), balance.amount)]


def _the_balance(op: Operation) -> Balance:
    """The one claimable balance that an operation removes: the one it names."""
    named = op.data[4 * op.body + 4 : 4 * op.body + 36]
    removed = removed_balances(op.data, op.w, op.changes, op.network)
    if len(removed) != 1 or removed[0].id != named:
        raise StrangeValueError("an operation does not remove exactly the claimable balance that it names")
    return removed[0]


def _clawback(op: Operation) -> list[Movement]:
    asset, i = op.asset(op.body)
    frm, _, i = op.account(i)
    return [clawback(asset, frm, read_int64(op.w, i))]


def _pool_deposit(op: Operation) -> list[Movement]:
    pool = _the_pool(op)
    if pool.gained_a <= 0 or pool.gained_b <= 0:
        raise StrangeValueError("a deposit does not raise both reserves of its pool")
    to = pool_address(pool.id)
    return [
        move(asset_of(pool.xdr_a, op.network), op.source, to, pool.gained_a),
        move(asset_of(pool.xdr_b, op.network), op.source, to, pool.gained_b),
    ]


def _pool_withdraw(op: Operation) -> list[Movement]:
    pool = _the_pool(op)
    if pool.gained_a > 0 or pool.gained_b > 0:
        raise StrangeValueError("a withdrawal raises a reserve of its pool")
    frm, muxed = pool_address(pool.id), op.muxed(op.source_id)
    return [
        move(asset_of(pool.xdr_a, op.network), frm, op.source, -pool.gained_a, muxed),
        move(asset_of(pool.xdr_b, op.network), frm, op.source, -pool.gained_b, muxed),
    ]


def _the_pool(op: Operation) -> Pool:
    """The one pool that an operation changes: the one it names."""
    pools = changed_pools(op.data, op.w, op.changes)
    if len(pools) != 1 or pools[0].id != op.data[4 * op.body : 4 * op.body + 32]:
        raise StrangeValueError("an operation does not change exactly the liquidity pool that it names")
    return pools[0]


def _revocation(op: Operation) -> list[Movement]:
    """An account that loses its authorisation leaves its pools; what it held there becomes claimable balances.

    Where it is itself the issuer of one of the assets, no balance is made of that asset: it is burned.
    """
    created = {balance.id: balance for balance in created_balances(op.data, op.w, op.changes, op.network)}
    if not created:
        return []
    movements = []
    for pool in changed_pools(op.data, op.w, op.changes):
        frm = pool_address(pool.id)
        sides = [(pool.xdr_a, pool.gained_a), (pool.xdr_b, pool.gained_b)]
        balances = [created.get(_revoked_balance_id(op, pool.id, xdr)) for xdr, _ in sides]
        moved = [move(each.asset, frm, balance_address(each.id), each.amount) for each in balances if each]
        if len(moved) == 1:
            xdr, gained = sides[0 if balances[0] is None else 1]
            moved.append(burn(asset_of(xdr, op.network), frm, -gained))
        movements += moved
    return movements


def _revoked_balance_id(op: Operation, pool_id: bytes, asset_xdr: bytes) -> bytes:
    """The id that a balance gets if this operation pushes this asset out of this pool."""
    envelope = op.envelope
    key, _ = read_account(op.data, op.w, envelope.source, is_key=envelope.kind == TX_V0)
    after_fee = 4 * (envelope.source + (HASH if envelope.kind == TX_V0 else MUXED_ACCOUNT[op.w[envelope.source]]) + 1)
    sequence = op.data[after_fee : after_fee + 8]
    index = op.index.to_bytes(4, "big")
    return sha256(_REVOKED_FROM_POOL + bytes(4) + key + sequence + index + pool_id + asset_xdr).digest()


def _invoke_host_function(op: Operation) -> list[Movement]:
    meta = op.transaction.meta
    older = meta.version == 3
    starts = meta.soroban_events if older else meta.operations[op.index][1]
    return read_events(op.data, op.w, starts, older=older, network=op.network)


RULES: dict[int, Callable[[Operation], list[Movement]]] = {
    0: _create_account,
    1: _payment,
    2: _path_payment_strict_receive,
    3: _offer,
    4: _offer,
    7: _revocation,
    8: _account_merge,
    9: _inflation,
    12: _offer,
    13: _path_payment_strict_send,
    14: _create_claimable_balance,
    15: _claim_claimable_balance,
    19: _clawback,
    20: _clawback_claimable_balance,
    21: _revocation,
    22: _pool_deposit,
    23: _pool_withdraw,
    24: _invoke_host_function,
}

# By number, to say which one has no rule.
NAMES = (
    "create_account",
    "payment",
    "path_payment_strict_receive",
    "manage_sell_offer",
    "create_passive_sell_offer",
    "set_options",
    "change_trust",
    "allow_trust",
    "account_merge",
    "inflation",
    "manage_data",
    "bump_sequence",
    "manage_buy_offer",
    "path_payment_strict_send",
    "create_claimable_balance",
    "claim_claimable_balance",
    "begin_sponsoring_future_reserves",
    "end_sponsoring_future_reserves",
    "revoke_sponsorship",
    "clawback",
    "clawback_claimable_balance",
    "set_trust_line_flags",
    "liquidity_pool_deposit",
    "liquidity_pool_withdraw",
    "invoke_host_function",
    "extend_footprint_ttl",
    "restore_footprint",
)

# Set options, change trust, manage data, bump sequence, three of sponsoring, extend and restore a footprint.
WITHOUT_MOVEMENT = frozenset((5, 6, 10, 11, 16, 17, 18, 25, 26))
