"""What changed in the ledger entries of one operation, or of charging and refunding a fee."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flowctl_aio.components.stellar.assets import Asset, asset_of
from flowctl_aio.components.stellar.xdr.entries import (
    CREATED,
    ENTRY_ACCOUNT,
    ENTRY_CLAIMABLE_BALANCE,
    ENTRY_POOL,
    RESTORED,
    STATE,
    UPDATED,
    Entry,
    read_changes,
)
from flowctl_aio.components.stellar.xdr.values import ACCOUNT, ASSET, CLAIMABLE_BALANCE_ID, HASH, skip_claimants
from flowctl_aio.components.stellar.xdr.words import StrangeValueError, Words, read_int64


class Change(NamedTuple):
    """One entry before and after: the word after its type, 0 where there was no entry."""

    before: int
    after: int


class Pool(NamedTuple):
    """A liquidity pool that changed; amounts in the smallest unit, positive where the pool gained.

    Attributes:
        id: 32 bytes.
        xdr_a, xdr_b: its two assets as XDR.
        gained_a, gained_b: how far its reserves rose.
    """

    id: bytes
    xdr_a: bytes
    xdr_b: bytes
    gained_a: int
    gained_b: int


class Balance(NamedTuple):
    """A claimable balance: id (32 bytes), asset, amount in the smallest unit."""

    id: bytes
    asset: Asset
    amount: int


def changed(w: Words[int], i: int, kind: int) -> list[Change]:
    """The changes of entries of one type in a list of changes, in its order."""
    return [Change(before, after) for _, before, after in changed_of(w, i, (kind,))]


def changed_of(w: Words[int], i: int, kinds: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """The changes of entries of some types in a list of changes, in its order: the type, and as `Change` has them.

    An old value is not in the change itself but in the one just before it.
    """
    previous: Entry | None = None
    for entry in read_changes(w, i):
        change, kind, body = entry
        if change != STATE and kind in kinds:
            if change in (CREATED, RESTORED):
                yield kind, 0, body
            elif previous is None or previous.kind != kind or previous.change not in (STATE, RESTORED):
                raise StrangeValueError("a changed entry comes without its old value")
            else:
                yield kind, previous.body, body if change == UPDATED else 0
        previous = entry


def balance_rise(data: bytes, w: Words[int], lists: Iterable[int], account: bytes) -> int:
    """How far the native balance of an account rose over some lists of changes, in stroops.

    Args:
        data: the ledger's bytes.
        w: the same as words.
        lists: the positions of the lists, which count as one.
        account: its public key, 32 bytes.
    """
    before = after = None
    for i in lists:
        for change, kind, body in read_changes(w, i):
            if kind == ENTRY_ACCOUNT and change in (STATE, UPDATED) and _account_key(data, body) == account:
                if change == STATE:
                    before = read_int64(w, body + ACCOUNT)
                else:
                    after = read_int64(w, body + ACCOUNT)
    return 0 if before is None or after is None else after - before


def operation_balance_rise(data: bytes, w: Words[int], i: int, account: bytes) -> int:
    """The same over the changes of one operation, which may also create and remove the account."""
    rise = 0
    for before, after in changed(w, i, ENTRY_ACCOUNT):
        if _account_key(data, after or before) == account:
            rise += read_int64(w, after + ACCOUNT) if after else 0
            rise -= read_int64(w, before + ACCOUNT) if before else 0
    return rise


def changed_pools(data: bytes, w: Words[int], i: int) -> list[Pool]:
    """The pools that an operation changed, by id."""
    pools = []
    for before, after in changed(w, i, ENTRY_POOL):
        body = after or before
        id_, xdr_a, xdr_b, reserves = _pool(data, w, body)
        gained = [0, 0]
        for at, sign in ((before, -1), (after, 1)):
            if at:
                reserves = _pool(data, w, at)[3]
                gained[0] += sign * read_int64(w, reserves)
                gained[1] += sign * read_int64(w, reserves + 2)
        pools.append(Pool(id_, xdr_a, xdr_b, *gained))
    pools.sort(key=_id)
    return pools


def _id(pool: Pool) -> bytes:
    return pool.id


def _pool(data: bytes, w: Words[int], i: int) -> tuple[bytes, bytes, bytes, int]:
    """Id, both assets, and the position of the reserves."""
    first = i + HASH + 1  # after the type
    second = first + ASSET[w[first]]
    fee = second + ASSET[w[second]]
    return data[4 * i : 4 * i + 32], data[4 * first : 4 * second], data[4 * second : 4 * fee], fee + 1


def removed_balances(data: bytes, w: Words[int], i: int, network: bytes) -> list[Balance]:
    """The claimable balances that an operation removed."""
    changes = changed(w, i, ENTRY_CLAIMABLE_BALANCE)
    return [_balance(data, w, change.before, network) for change in changes if not change.after]


def created_balances(data: bytes, w: Words[int], i: int, network: bytes) -> list[Balance]:
    """The claimable balances that an operation created."""
    changes = changed(w, i, ENTRY_CLAIMABLE_BALANCE)
    return [_balance(data, w, change.after, network) for change in changes if not change.before]


def _balance(data: bytes, w: Words[int], i: int, network: bytes) -> Balance:
    id_ = data[4 * i + 4 : 4 * i + 36]  # after the id's type
    start = skip_claimants(w, i + CLAIMABLE_BALANCE_ID)
    end = start + ASSET[w[start]]
    return Balance(id_, asset_of(data[4 * start : 4 * end], network), read_int64(w, end))


def _account_key(data: bytes, i: int) -> bytes:
    return data[4 * i + 4 : 4 * i + 36]  # after the key's type
