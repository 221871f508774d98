"""Operations: what each of the 27 types takes in an envelope."""

from __future__ import annotations

from collections.abc import Callable

from .values import (
    ACCOUNT,
    ADDRESS,
    ASSET,
    HASH,
    MUXED_ACCOUNT,
    skip_claimants,
    skip_executable,
    skip_ledger_key,
    skip_scvals,
    skip_signer_key,
)
from .words import FLAG, OPTIONAL_ACCOUNT, VOID, Words, skip_opaque

# Words of an operation by type, its type counted; 0 where the size must be worked out.
_OPERATION = (12, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 10, 10, 1, 0, 0, 10, 0, 17, 15, 0, 0, 0)
_OPTIONAL_WORD = (1, 2)
_CHANGE_TRUST_POOL = 3
_ASSET_CODE = {1: 2, 2: 4}


def operation_body(w: Words[int], i: int) -> int:
    """The position of the type of the operation at `i`, after its optional source."""
    return i + 1 + MUXED_ACCOUNT[w[i + 1]] if w[i] else i + 1


def walk_operations(w: Words[int], i: int) -> tuple[int, list[int]]:
    """Walks an array of operations: the position after it, and where each operation begins."""
    starts = []
    count, i = w[i], i + 1
    for _ in range(count):
        starts.append(i)
        has_source, i = w[i], i + FLAG[w[i]]
        if has_source:
            i += MUXED_ACCOUNT[w[i]]
        kind = w[i]
        size = _OPERATION[kind]
        i = i + size if size else _VARIABLE[kind](w, i + 1)
    return i, starts


def _payment(w: Words[int], i: int) -> int:
    i += MUXED_ACCOUNT[w[i]]
    return i + ASSET[w[i]] + 2


def _path_payment(w: Words[int], i: int) -> int:
    i += ASSET[w[i]] + 2
    i += MUXED_ACCOUNT[w[i]]
    i += ASSET[w[i]] + 2
    count, i = w[i], i + 1
    for _ in range(count):
        i += ASSET[w[i]]
    return i


def _manage_offer(w: Words[int], i: int) -> int:
    return _passive_offer(w, i) + 2  # offer id


def _passive_offer(w: Words[int], i: int) -> int:
    i += ASSET[w[i]]
    return i + ASSET[w[i]] + 4  # amount, price


def _set_options(w: Words[int], i: int) -> int:
    i += OPTIONAL_ACCOUNT[w[i]]
    for _ in range(6):  # flags to clear and to set, master weight, three thresholds
        i += _OPTIONAL_WORD[w[i]]
    has_domain, i = w[i], i + FLAG[w[i]]
    if has_domain:
        i = skip_opaque(w, i)
    has_signer, i = w[i], i + FLAG[w[i]]
    return skip_signer_key(w, i) + 1 if has_signer else i


def _change_trust(w: Words[int], i: int) -> int:
    if w[i] == _CHANGE_TRUST_POOL:
        i += 1
        i += VOID[w[i]]
        i += ASSET[w[i]]
        return i + ASSET[w[i]] + 3  # fee, limit
    return i + ASSET[w[i]] + 2


def _allow_trust(w: Words[int], i: int) -> int:
    i += ACCOUNT
    return i + _ASSET_CODE[w[i]] + 1


def _account_merge(w: Words[int], i: int) -> int:
    return i + MUXED_ACCOUNT[w[i]]


def _manage_data(w: Words[int], i: int) -> int:
    i = skip_opaque(w, i)
    has_value, i = w[i], i + FLAG[w[i]]
    return skip_opaque(w, i) if has_value else i


def _create_claimable_balance(w: Words[int], i: int) -> int:
    return skip_claimants(w, i + ASSET[w[i]] + 2)


def _revoke_sponsorship(w: Words[int], i: int) -> int:
    of_signer, i = w[i], i + FLAG[w[i]]
    return skip_signer_key(w, i + ACCOUNT) if of_signer else skip_ledger_key(w, i)


def _clawback(w: Words[int], i: int) -> int:
    i += ASSET[w[i]]
    return i + MUXED_ACCOUNT[w[i]] + 2


def _set_trustline_flags(w: Words[int], i: int) -> int:
    i += ACCOUNT
    return i + ASSET[w[i]] + 2


def _invoke_host_function(w: Words[int], i: int) -> int:
    i = skip_opaque(w, i + 1) if w[i] == _UPLOAD else _skip_function(w, i, _HOST_FUNCTION)
    count, i = w[i], i + 1
    for _ in range(count):
        i = _authorization(w, i)
    return i


def _extend_footprint(w: Words[int], i: int) -> int:
    return i + VOID[w[i]] + 1


def _restore_footprint(w: Words[int], i: int) -> int:
    return i + VOID[w[i]]


_INVOKE, _CREATE, _CREATE_WITH_ARGUMENTS, _UPLOAD = "invoke", "create", "create with arguments", 2
_HOST_FUNCTION = {0: _INVOKE, 1: _CREATE, 3: _CREATE_WITH_ARGUMENTS}
_AUTHORIZED_FUNCTION = {0: _INVOKE, 1: _CREATE, 2: _CREATE_WITH_ARGUMENTS}


def _skip_function(w: Words[int], i: int, kinds: dict[int, str]) -> int:
    """A call or a creation, as an operation names it and as an authorisation does; only the numbers differ."""
    kind, i = kinds[w[i]], i + 1
    if kind == _INVOKE:
        i = skip_opaque(w, i + ADDRESS[w[i]])
        return skip_scvals(w, i + 1, w[i])
    from_asset, i = w[i], i + FLAG[w[i]]
    i = i + ASSET[w[i]] if from_asset else i + ADDRESS[w[i]] + HASH
    i = skip_executable(w, i)
    return skip_scvals(w, i + 1, w[i]) if kind == _CREATE_WITH_ARGUMENTS else i


def _authorization(w: Words[int], i: int) -> int:
    credentials, i = w[i], i + 1
    has_address, has_delegates = _CREDENTIALS[credentials]
    if has_address:
        i += ADDRESS[w[i]] + 3  # nonce, last ledger
        i = skip_scvals(w, i, 1)
    if has_delegates:
        pending, i = w[i], i + 1
        while pending:
            i = skip_scvals(w, i + ADDRESS[w[i]], 1)
            pending, i = pending - 1 + w[i], i + 1
    pending = 1  # invocations; those inside one follow it
    while pending:
        i = _skip_function(w, i, _AUTHORIZED_FUNCTION)
        pending, i = pending - 1 + w[i], i + 1
    return i


# of the source account, of an address, of an address (version 2), of an address with delegates
_CREDENTIALS = ((False, False), (True, False), (True, False), (True, True))

_VARIABLE: dict[int, Callable[[Words[int], int], int]] = {
    1: _payment,
    2: _path_payment,
    3: _manage_offer,
    4: _passive_offer,
    5: _set_options,
    6: _change_trust,
    7: _allow_trust,
    8: _account_merge,
    10: _manage_data,
    12: _manage_offer,
    13: _path_payment,
    14: _create_claimable_balance,
    18: _revoke_sponsorship,
    19: _clawback,
    21: _set_trustline_flags,
    24: _invoke_host_function,
    25: _extend_footprint,
    26: _restore_footprint,
}
