"""Ledger entries and their changes: three quarters of a ledger's bytes, so the hot part of the walk.

Those of usual shapes are passed by an expression, a list at once; the functions here know all shapes.
`read_changes` finds the entries of one list for those few rules that look inside.
"""

from __future__ import annotations

from typing import NamedTuple

from .usual import usual_change_alone, usual_changes
from .usual_values import usual_contract_data
from .values import (
    ADDRESS,
    ASSET,
    HASH,
    TRUSTLINE_ASSET,
    skip_claimants,
    skip_ledger_key,
    skip_scvals,
    skip_signer_key,
)
from .words import FLAG, OPTIONAL_ACCOUNT, VOID, Words, skip_opaque, skip_opaques

# LedgerEntryChangeType
CREATED, UPDATED, REMOVED, STATE, RESTORED = range(5)
# LedgerEntryType
ENTRY_ACCOUNT, ENTRY_TRUSTLINE, ENTRY_OFFER, ENTRY_DATA, ENTRY_CLAIMABLE_BALANCE, ENTRY_POOL = range(6)

_HAS_ENTRY = (True, True, False, True, True)

_ACCOUNT_EXT = (1, 5)  # version 1: liabilities, then an extension of its own
_ACCOUNT_EXT_V1 = {0: 1, 2: 3}  # version 2: numbers of sponsored and sponsoring entries, then the sponsors of signers
_ACCOUNT_EXT_V2 = {0: 1, 3: 5}  # version 3: extension point, ledger and time of the last sequence number
_TRUSTLINE_EXT = (1, 5)
_TRUSTLINE_EXT_V1 = {0: 1, 2: 3}
_CODE_EXT = (1, 13)

_CONFIG = {0: 1, 1: 7, 2: 21, 3: 2, 4: 3, 5: 4, 8: 1, 9: 1, 10: 12, 11: 1, 13: 4, 14: 1, 15: 3, 16: 5}
_CONFIG_ITEM = {6: 5, 7: 5, 12: 2, 19: HASH}  # words of an item, where the setting is one array


def skip_changes(w: Words[int], i: int) -> int:
    """Skips LedgerEntryChanges."""
    if not w[i]:
        return i + 1
    usual = usual_changes()(w, 4 * i)
    if usual is not None:
        return usual.end() >> 2
    alone = usual_change_alone()
    count, i = w[i], i + 1
    for _ in range(count):
        usual = alone(w, 4 * i)
        if usual is not None:
            i = usual.end() >> 2
        else:
            i = skip_entry(w, i + 1) if _HAS_ENTRY[w[i]] else skip_ledger_key(w, i + 1)
    return i


def skip_entry(w: Words[int], i: int) -> int:
    """Skips a LedgerEntry: last modified, type, body, extension with the sponsor."""
    i = _BODY[w[i + 1]](w, i + 2)
    if w[i]:
        i += VOID[w[i] - 1]
        i += OPTIONAL_ACCOUNT[w[i]]
    return i + VOID[w[i]]


def _account(w: Words[int], i: int) -> int:
    i += VOID[w[i]] + HASH + 5  # key, balance, sequence number, number of entries
    i += OPTIONAL_ACCOUNT[w[i]] + 1  # inflation destination, flags
    i += 2 + ((w[i] + 3) >> 2)  # home domain, thresholds
    count, i = w[i], i + 1
    for _ in range(count):
        i = skip_signer_key(w, i) + 1
    version = w[i]
    i += _ACCOUNT_EXT[version]
    if version:
        version = w[i]
        i += _ACCOUNT_EXT_V1[version]
        if version:
            count, i = w[i], i + 1
            for _ in range(count):
                i += OPTIONAL_ACCOUNT[w[i]]
            i += _ACCOUNT_EXT_V2[w[i]]
    return i


def _trustline(w: Words[int], i: int) -> int:
    i += VOID[w[i]] + HASH
    i += TRUSTLINE_ASSET[w[i]] + 5  # balance, limit, flags
    version = w[i]
    i += _TRUSTLINE_EXT[version]
    if version:
        i += _TRUSTLINE_EXT_V1[w[i]]
    return i


def _offer(w: Words[int], i: int) -> int:
    i += VOID[w[i]] + HASH + 2
    i += ASSET[w[i]]
    i += ASSET[w[i]] + 5  # amount, price, flags
    return i + VOID[w[i]]


def skip_offer(w: Words[int], i: int) -> int:
    """An OfferEntry, which results of offers hold too."""
    return _offer(w, i)


def _data(w: Words[int], i: int) -> int:
    i += VOID[w[i]] + HASH
    i = skip_opaque(w, skip_opaque(w, i))
    return i + VOID[w[i]]


def _claimable_balance(w: Words[int], i: int) -> int:
    i = skip_claimants(w, i + VOID[w[i]] + HASH)
    i += ASSET[w[i]] + 2
    version = w[i]
    i += FLAG[version]
    if version:
        i += VOID[w[i]] + 1
    return i


def _pool(w: Words[int], i: int) -> int:
    i += HASH
    i += VOID[w[i]]
    i += ASSET[w[i]]
    i += ASSET[w[i]]
    return i + 9  # fee, two reserves, shares, number of trustlines


def _contract_data(w: Words[int], i: int) -> int:
    usual = usual_contract_data()(w, 4 * i)
    if usual is not None:
        return usual.end() >> 2
    i += VOID[w[i]]
    i = skip_scvals(w, i + ADDRESS[w[i]], 1)
    i += FLAG[w[i]]  # durability
    return skip_scvals(w, i, 1)


def _contract_code(w: Words[int], i: int) -> int:
    return skip_opaque(w, i + _CODE_EXT[w[i]] + HASH)


def _config(w: Words[int], i: int) -> int:
    setting, i = w[i], i + 1
    if setting in _CONFIG_ITEM:
        return i + 1 + _CONFIG_ITEM[setting] * w[i]
    if setting == 17:  # frozen keys
        return skip_opaques(w, i)
    if setting == 18:  # keys to freeze and to unfreeze
        return skip_opaques(w, skip_opaques(w, i))
    if setting == 20:  # bypassing transactions to add and to remove
        i += 1 + HASH * w[i]
        return i + 1 + HASH * w[i]
    return i + _CONFIG[setting]


def _ttl(w: Words[int], i: int) -> int:
    return i + HASH + 1


_BODY = (
    _account,
    _trustline,
    _offer,
    _data,
    _claimable_balance,
    _pool,
    _contract_data,
    _contract_code,
    _config,
    _ttl,
)


class Entry(NamedTuple):
    """One change of a list, by word index.

    Attributes:
        change: CREATED, UPDATED, REMOVED, STATE or RESTORED.
        kind: the type of the entry.
        body: the first word after the type, of the entry or, if REMOVED, of its key.
    """

    change: int
    kind: int
    body: int


def read_changes(w: Words[int], i: int) -> list[Entry]:
    """The changes of one list, in its order."""
    entries = []
    count, i = w[i], i + 1
    for _ in range(count):
        change = w[i]
        if _HAS_ENTRY[change]:
            entries.append(Entry(change, w[i + 2], i + 3))
            i = skip_entry(w, i + 1)
        else:
            entries.append(Entry(change, w[i + 1], i + 2))
            i = skip_ledger_key(w, i + 1)
    return entries
