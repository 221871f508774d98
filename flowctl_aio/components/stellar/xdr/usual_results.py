"""The usual results of transactions as a piece of a regular expression: those whose operations have few trades.

As in `usual`, it matches a value whole or not at all.
"""

from __future__ import annotations

from collections import defaultdict

from .patterns import any_of, choice, counted, negative, several, sized, word, words
from .results import CLAIM_HEAD, LOWEST_FAILURE
from .values import ACCOUNT, ASSET, HASH

_MOST_CLAIMS = 8
_COUNT_BITS = 5
_SUCCESS, _FAILED, _FEE_BUMP_SUCCESS, _FEE_BUMP_FAILED = 0, 0xFFFFFFFF, 1, 0xFFFFFFF3
_VOID = word(0)
_ASSET = sized(ASSET)
_PAIR = words(HASH + 2)  # a hash and the fee


def usual_result_pair() -> bytes:
    """One TransactionResultPair."""
    results = choice({_SUCCESS: b"", _FAILED: b""}) + counted(_operation_result(), _COUNT_BITS, "results", often=(1,))
    alone = negative(-12, -2) + b"|" + negative(-18, -14)
    fee_bump = b"(?P<bump>" + choice({_FEE_BUMP_SUCCESS: b"", _FEE_BUMP_FAILED: b""}) + _PAIR + b")?"
    # The results stand once in the expression, with or without the head of a fee bump, whose own end follows theirs.
    return _PAIR + fee_bump + b"(?:" + results + b"|" + alone + b")" + _VOID + b"(?(bump)" + _VOID + b")"


def _operation_result() -> bytes:
    offer = _VOID + words(HASH + 2) + _ASSET + _ASSET + words(5) + _VOID
    claim = choice({kind: words(size - 1) for kind, size in enumerate(CLAIM_HEAD)}) + (_ASSET + words(2)) * 2
    claims = several(claim, _MOST_CLAIMS)
    trades = claims + choice({2: b"", 0: offer, 1: offer})
    path = claims + words(ACCOUNT) + _ASSET + words(2)
    success = {2: path, 13: path, 3: trades, 4: trades, 12: trades, 8: words(2), 14: _VOID + words(HASH)}
    success[24] = words(HASH)
    kinds_of = defaultdict(list)
    for kind, low in enumerate(LOWEST_FAILURE):
        if kind == 9:
            continue  # inflation, which has ended
        # A path payment that failed with -9 says more.
        failure = negative(-8, -1) + b"|" + negative(low, -10) if kind in (2, 13) else negative(low, -1)
        kinds_of[b"(?:" + _VOID + success.get(kind, b"") + b"|" + failure + b")"].append(kind)
    arms = b"|".join(any_of(kinds) + arm for arm, kinds in kinds_of.items())
    return b"(?:" + _VOID + b"(?:" + arms + b")|" + negative(-6, -1) + b")"
