"""The usual shapes of transaction envelopes as a regular expression: classic operations, few of them, few signatures.

For who needs nothing of an envelope but its end. As in `usual`, it matches a value whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from .patterns import choice, several, sized, text, word, words
from .values import ACCOUNT, ASSET, HASH
from .words import Words

_MOST_OPERATIONS = 3
_MOST_SIGNATURES = 3
_MOST_HOPS = 5
_VOID = word(0)
_ASSET = sized(ASSET)
_MUXED_ACCOUNT = choice({0: words(8), 256: words(10)})


@cache
def usual_envelope() -> Callable[[Words[int], int], re.Match[bytes] | None]:
    """Matches, from a position in bytes, one envelope of a usual shape. Made when first needed."""
    signatures = several(words(1) + word(64) + words(16), _MOST_SIGNATURES)
    inner = _transaction() + signatures
    fee_bump = _MUXED_ACCOUNT + words(2) + word(2) + inner + _VOID + signatures
    return re.compile(choice({2: inner, 5: fee_bump}), re.DOTALL).match


def _transaction() -> bytes:
    preconditions = choice({1: words(4), 0: b"", 2: _preconditions()})
    memo = choice({0: b"", 1: text(), 2: words(2), 3: words(HASH), 4: words(HASH)})
    operations = several(choice({0: b"", 1: _MUXED_ACCOUNT}) + _operation(), _MOST_OPERATIONS)
    return _MUXED_ACCOUNT + words(3) + preconditions + memo + operations + _VOID


def _preconditions() -> bytes:
    """Time bounds, ledger bounds, lowest sequence number; lowest age and gap; no extra signers."""
    optional = choice({0: b"", 1: words(4)}) + choice({0: b"", 1: words(2)}) + choice({0: b"", 1: words(2)})
    return optional + words(3) + _VOID


def _operation() -> bytes:
    offer = _ASSET + _ASSET
    path_payment = _ASSET + words(2) + _MUXED_ACCOUNT + _ASSET + words(2) + several(_ASSET, _MOST_HOPS)
    return choice(
        {
            1: _MUXED_ACCOUNT + _ASSET + words(2),
            3: offer + words(6),
            12: offer + words(6),
            13: path_payment,
            2: path_payment,
            4: offer + words(4),
            0: words(11),
            6: choice({value: words(size + 1) for value, size in enumerate(ASSET)}),
            8: _MUXED_ACCOUNT,
            15: words(ACCOUNT),
        }
    )
