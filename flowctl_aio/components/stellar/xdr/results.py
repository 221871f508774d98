"""Transaction results: whether it succeeded, and where the result of each operation is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .entries import skip_offer
from .values import ACCOUNT, ASSET, HASH
from .words import VOID, StrangeValueError, Words, new_tuple

_SUCCESS, _FAILED = 0, 0xFFFFFFFF
_FEE_BUMP_SUCCESS, _FEE_BUMP_FAILED = 1, 0xFFFFFFF3
_FEE_BUMPS = (_FEE_BUMP_SUCCESS, _FEE_BUMP_FAILED)
_LOWEST_CODE = 0xFFFFFFEE  # txFROZEN_KEY_ACCESSED, -18
_LOWEST_OPERATION_CODE = 0xFFFFFFFA  # opTOO_MANY_SPONSORING, -6
_PATH_PAYMENTS = (2, 13)
_NO_ISSUER = 0xFFFFFFF7  # -9: the one failure of an operation that says more than its code

# The lowest (last) failure code of each operation type: 0 to 13, 14 to 26.
LOWEST_FAILURE: tuple[int, ...] = (-4, -9, -12, -12, -12, -10, -8, -6, -7, -1, -4, -1, -12, -12)
LOWEST_FAILURE += (-5, -6, -3, -1, -5, -4, -3, -5, -8, -6, -5, -3, -3)

# Words before the first asset of a claim: old form of an offer, offer, pool.
CLAIM_HEAD = (11, 12, 9)

_IS_DELETED = (False, False, True)  # effect on an offer: created, updated, deleted


class Result(NamedTuple):
    """Word indexes inside one TransactionResultPair.

    Attributes:
        pair: its beginning: the transaction hash, then the fee charged (int64), then the code.
        success: whether the transaction took effect.
        operations: the array of OperationResult; 0 where the result has none.
    """

    pair: int
    success: bool
    operations: int


def read_result(w: Words[int], i: int) -> Result:
    """What is inside the pair at `i`, which was walked."""
    at = i + HASH + 2
    inner = code = w[at]
    if code in _FEE_BUMPS:
        at += 1 + HASH + 2
        inner = w[at]
    operations = at + 1 if inner in (_SUCCESS, _FAILED) else 0
    return new_tuple(Result, (i, code in (_SUCCESS, _FEE_BUMP_SUCCESS), operations))


def skip_result_pair(w: Words[int], i: int) -> int:
    i += HASH + 2
    code, i = w[i], i + 1
    if code in _FEE_BUMPS:
        i += HASH + 2
        inner, i = w[i], i + 1
        i = _skip_operation_results(w, i, inner)
        i += VOID[w[i]]
    else:
        i = _skip_operation_results(w, i, code)
    return i + VOID[w[i]]


def _skip_operation_results(w: Words[int], i: int, code: int) -> int:
    if code in (_SUCCESS, _FAILED):
        return walk_operation_results(w, i)[0]
    # Every other code stands alone, but -13, which is a fee bump and cannot be inside one.
    if code < _LOWEST_CODE or code == _FEE_BUMP_FAILED:
        raise StrangeValueError("unknown transaction result code")
    return i


def walk_operation_results(w: Words[int], i: int) -> tuple[int, list[int]]:
    """Walks an array of OperationResult: the position after it, and where each begins.

    Only that of a failure may be shorter than three words.
    """
    starts = []
    count, i = w[i], i + 1
    for _ in range(count):
        starts.append(i)
        if w[i]:
            if w[i] < _LOWEST_OPERATION_CODE:
                raise StrangeValueError("unknown operation result code")
            i += 1
            continue
        kind, code, i = w[i + 1], w[i + 2], i + 3
        if code:
            if code - (1 << 32) < LOWEST_FAILURE[kind]:
                raise StrangeValueError("unknown failure code of an operation")
            if code == _NO_ISSUER and kind in _PATH_PAYMENTS:
                i += ASSET[w[i]]
        else:
            skip = _SUCCESS_RESULT[kind]
            if skip:
                i = skip(w, i)
    return i, starts


def skip_claims(w: Words[int], i: int) -> int:
    """An array of ClaimAtom: offers and pools that were traded with."""
    count, i = w[i], i + 1
    for _ in range(count):
        i += CLAIM_HEAD[w[i]]
        i += ASSET[w[i]] + 2
        i += ASSET[w[i]] + 2
    return i


def _path_payment(w: Words[int], i: int) -> int:
    i = skip_claims(w, i) + ACCOUNT
    return i + ASSET[w[i]] + 2


def _manage_offer(w: Words[int], i: int) -> int:
    i = skip_claims(w, i)
    effect, i = w[i], i + 1
    return i if _IS_DELETED[effect] else skip_offer(w, i)


def _account_merge(w: Words[int], i: int) -> int:
    return i + 2  # the balance


def _inflation(w: Words[int], i: int) -> int:
    count, i = w[i], i + 1
    for _ in range(count):
        i += VOID[w[i]] + HASH + 2
    return i


def _create_claimable_balance(w: Words[int], i: int) -> int:
    return i + VOID[w[i]] + HASH


def _invoke_host_function(w: Words[int], i: int) -> int:
    return i + HASH


# What follows the code of a successful operation, by type; None where nothing does.
_SUCCESS_RESULT: tuple[Callable[[Words[int], int], int] | None, ...] = (
    None,
    None,
    _path_payment,
    _manage_offer,
    _manage_offer,
    None,
    None,
    None,
    _account_merge,
    _inflation,
    None,
    None,
    _manage_offer,
    _path_payment,
    _create_claimable_balance,
    *(None,) * 9,
    _invoke_host_function,
    None,
    None,
)
