"""The usual contract values as pieces of regular expressions: scalars, and lists and maps of a few of them."""

from __future__ import annotations

from .patterns import choice, several, text, word, words
from .values import HASH

_MOST_IN_VEC, _MOST_IN_MAP = 4, 4

_ADDRESS = choice({0: words(9), 1: words(HASH)})
# In the order in which they are frequent: address, symbol, i128, u64, u32, void, string, bytes, bool, u128, i32.
_SIZES = {10: words(4), 5: words(2), 3: words(1), 1: b"", 14: text(), 13: text(), 0: words(1), 9: words(4), 4: words(1)}
SCALAR = choice({18: _ADDRESS, 15: text(), **_SIZES})


def usual_value() -> bytes:
    """A scalar, or a list or map of them."""
    some = word(1) + several(SCALAR, _MOST_IN_VEC)
    pairs = word(1) + several(SCALAR + SCALAR, _MOST_IN_MAP)
    return b"(?:" + SCALAR + b"|" + choice({17: pairs, 16: some}) + b")"
