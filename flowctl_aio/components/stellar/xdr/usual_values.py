"""The usual contract values as pieces of regular expressions: scalars, and lists and maps of a few of them."""

from __future__ import annotations

from .patterns import any_of, choice, several, text, word, words
from .values import HASH

_MOST_IN_VEC, _MOST_IN_MAP = 4, 4

_ADDRESS = choice({0: words(9), 1: words(HASH)})
_TEXTS = any_of((13, 14, 15)) + text()  # bytes, string, symbol
_ONE, _TWO, _FOUR = any_of((0, 3, 4)) + words(1), any_of((5, 6, 7, 8)) + words(2), any_of((9, 10)) + words(4)
# In the order in which they are frequent.
SCALAR = b"(?:" + b"|".join((word(18) + _ADDRESS, _TEXTS, _FOUR, _TWO, _ONE, word(1))) + b")"


def usual_value() -> bytes:
    """A scalar, or a list or map of them."""
    some = word(1) + several(SCALAR, _MOST_IN_VEC)
    pairs = word(1) + several(SCALAR + SCALAR, _MOST_IN_MAP)
    return b"(?:" + SCALAR + b"|" + choice({17: pairs, 16: some}) + b")"
