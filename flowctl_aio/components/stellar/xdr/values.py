"""Values that occur all over a ledger: assets, addresses, keys, contract values and contract events.

Recursion needs no stack here. In every recursive type of the ledger the children come last,
so a counter of values that are still to come takes the place of the call,
and no depth of nesting can hurt.
"""

from __future__ import annotations

from .usual_values import usual_scalars
from .words import FLAG, OPTIONAL_HASH, VOID, Words, skip_opaque

# Sizes in words by discriminant, which is counted too.
ASSET = (1, 11, 13)
TRUSTLINE_ASSET = (1, 11, 13, 9)
MUXED_ACCOUNT = {0: 9, 256: 11}
ADDRESS = (10, 9, 11, 10, 9)  # account, contract, muxed account, claimable balance, pool
ACCOUNT = CLAIMABLE_BALANCE_ID = 9
HASH = 8

_SIGNED_PAYLOAD = 3  # the one signer key of variable length
_SIGNER_KEY = (9, 9, 9)

# ScVal by type; 0 where the size must be worked out.
_SCVAL = (2, 1, 3, 2, 2, 3, 3, 3, 3, 5, 5, 9, 9, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0)
SCV_VOID, SCV_U64, SCV_I128, SCV_BYTES, SCV_STRING, SCV_SYMBOL, SCV_MAP, SCV_ADDRESS = 1, 5, 10, 13, 14, 15, 17, 18
_SCV_VEC, _SCV_INSTANCE = 16, 19
_AT_ONCE = 8
_SCVAL_CHILDREN = {_SCV_VEC: 1, SCV_MAP: 2}  # values for each element
_EXECUTABLE = (9, 1)  # a Wasm hash, the asset contract; an external reference is variable
_EXECUTABLE_EXTERNAL = 2

_LEDGER_KEY = (10, 0, 12, 0, 10, 9, 0, 9, 2, 9)
_KEY_TRUSTLINE, _KEY_DATA, _KEY_CONTRACT_DATA = 1, 3, 6

_PREDICATE = {0: 0, 4: 2, 5: 2}
_EVENT_TYPE = (1, 1, 1)  # system, contract, diagnostic


def skip_scvals(w: Words[int], i: int, pending: int) -> int:
    """Skips `pending` contract values (SCVal), whatever is inside them."""
    while pending:
        if pending > 1:
            # Values that hold no others mostly stand together, and a few of them take as long as one does below.
            usual = usual_scalars(min(pending, _AT_ONCE))(w, 4 * i)
            if usual is not None and usual.lastindex:
                pending -= usual.lastindex
                i = usual.end() >> 2
                continue
        pending -= 1
        kind = w[i]
        size = _SCVAL[kind]
        if size:
            i += size
        elif kind == SCV_ADDRESS:
            i += 1 + ADDRESS[w[i + 1]]
        elif kind in _SCVAL_CHILDREN:
            present = w[i + 1]
            i += 1 + FLAG[present]
            if present:
                pending += _SCVAL_CHILDREN[kind] * w[i]
                i += 1
        elif kind == _SCV_INSTANCE:
            i = skip_executable(w, i + 1)
            present = w[i]
            i += FLAG[present]
            if present:
                pending += 2 * w[i]
                i += 1
        else:  # bytes, string, symbol, executable tag
            i += 2 + ((w[i + 1] + 3) >> 2)
    return i


def skip_executable(w: Words[int], i: int) -> int:
    if w[i] == _EXECUTABLE_EXTERNAL:
        return skip_opaque(w, i + 1 + ADDRESS[w[i + 1]])
    return i + _EXECUTABLE[w[i]]


def skip_signer_key(w: Words[int], i: int) -> int:
    if w[i] == _SIGNED_PAYLOAD:
        return skip_opaque(w, i + 1 + HASH)
    return i + _SIGNER_KEY[w[i]]


def skip_ledger_key(w: Words[int], i: int) -> int:
    kind = w[i]
    size = _LEDGER_KEY[kind]
    if size:
        return i + size
    if kind == _KEY_TRUSTLINE:
        i += 1 + ACCOUNT
        return i + TRUSTLINE_ASSET[w[i]]
    if kind == _KEY_DATA:
        return skip_opaque(w, i + 1 + ACCOUNT)
    i += 1  # contract data: contract, key, durability
    return skip_scvals(w, i + ADDRESS[w[i]], 1) + 1


def skip_ledger_keys(w: Words[int], i: int) -> int:
    count, i = w[i], i + 1
    for _ in range(count):
        i = skip_ledger_key(w, i)
    return i


def skip_claimants(w: Words[int], i: int) -> int:
    """The claimants of a claimable balance, each with its predicate."""
    count, i = w[i], i + 1
    for _ in range(count):
        i += VOID[w[i]] + ACCOUNT
        pending = 1
        while pending:
            pending -= 1
            kind = w[i]
            i += 1
            if kind == 1 or kind == 2:  # and, or: a list of predicates
                pending += w[i]
                i += 1
            elif kind == 3:  # not: an optional predicate
                pending += w[i]
                i += FLAG[w[i]]
            else:  # unconditional, before a time, before a time since creation
                i += _PREDICATE[kind]
    return i


def skip_event(w: Words[int], i: int) -> int:
    """A contract event: extension, contract, type, then topics and data, which are values alike."""
    i += VOID[w[i]]
    i += OPTIONAL_HASH[w[i]]
    i += _EVENT_TYPE[w[i]]
    i += VOID[w[i]]
    return skip_scvals(w, i + 1, w[i] + 1)


def walk_flagged_events(w: Words[int], i: int, flags: tuple[int, ...]) -> tuple[int, list[int]]:
    """Walks an array of events that each follow a word: a stage for transaction events, a bool for diagnostic ones.

    Returns the position after it, and where each event begins, after that word.
    """
    starts = []
    count, i = w[i], i + 1
    for _ in range(count):
        i += flags[w[i]]
        starts.append(i)
        i = skip_event(w, i)
    return i, starts
