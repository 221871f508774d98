"""The usual results of transactions as a regular expression: those of one operation at most, with few trades.

As in `usual`, it matches a value whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .patterns import choice, negative, several, sized, word, words
from .values import ACCOUNT, ASSET, HASH
from .words import Words

_MOST_CLAIMS = 4
_SUCCESS, _FAILED, _FEE_BUMP_SUCCESS, _FEE_BUMP_FAILED = 0, 0xFFFFFFFF, 1, 0xFFFFFFF3
_VOID = word(0)
_ASSET = sized(ASSET)
_PAIR = words(HASH + 2)  # a hash and the fee


def usual_result(
    lowest: tuple[int, ...], claim_head: tuple[int, ...]
) -> Callable[[Words[int], int], re.Match[bytes] | None]:
    """Matches, from a position in bytes, one TransactionResultPair of a usual shape.

    Args:
        lowest: the last failure code of each type of operation.
        claim_head: words before the first asset of a claim, by its kind, which is counted.
    """
    claim = choice({kind: words(size - 1) for kind, size in enumerate(claim_head)})
    claims = several(claim + (_ASSET + words(2)) * 2, _MOST_CLAIMS)
    of_one = word(1) + _operation_result(lowest, claims)
    alone = b"(?:" + negative(-12, -2) + b"|" + negative(-18, -14) + b")"
    inner = b"(?:" + choice({_SUCCESS: of_one, _FAILED: of_one}) + b"|" + alone + b")"
    fee_bump = choice({_FEE_BUMP_SUCCESS: b"", _FEE_BUMP_FAILED: b""}) + _PAIR + inner + _VOID
    return re.compile(_PAIR + b"(?:" + inner + b"|" + fee_bump + b")" + _VOID, re.DOTALL).match


def first_operation(w: Words[int], i: int) -> list[int]:
    """Where the result of the operation is in the usual pair at `i`; empty if there is none."""
    i += HASH + 2
    if w[i] == _FEE_BUMP_SUCCESS or w[i] == _FEE_BUMP_FAILED:
        i += 1 + HASH + 2
    return [i + 2] if w[i] == _SUCCESS or w[i] == _FAILED else []


def _operation_result(lowest: tuple[int, ...], claims: bytes) -> bytes:
    offer = _VOID + words(HASH + 2) + _ASSET + _ASSET + words(5) + _VOID
    trades = claims + choice({2: b"", 0: offer, 1: offer})
    path = claims + words(ACCOUNT) + _ASSET + words(2)
    success = {2: path, 13: path, 3: trades, 4: trades, 12: trades, 8: words(2), 14: _VOID + words(HASH)}
    success[24] = words(HASH)
    arms = {}
    for kind, low in enumerate(lowest):
        if kind == 9:
            continue  # inflation, which has ended
        # A path payment that failed with -9 says more.
        failure = negative(-8, -1) + b"|" + negative(low, -10) if kind in (2, 13) else negative(low, -1)
        arms[kind] = b"(?:" + _VOID + success.get(kind, b"") + b"|" + failure + b")"
    return b"(?:" + _VOID + choice(arms) + b"|" + negative(-6, -1) + b")"
