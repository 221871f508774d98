"""The usual contract values as regular expressions: scalars, and lists and maps of them."""

from __future__ import annotations

import re
from functools import cache

from .patterns import Matching, any_of, choice, counted, one_of, repeated, several, text, word, words

_MOST_IN_VEC, _MOST_IN_MAP = 4, 4
_COUNT_BITS = 4
_OWN_BITS, _OWN_MAPS, _OWN_LISTS = 3, (10, 2, 3, 4), (1, 2)  # as contracts of exchanges have them
_LONGEST_TEXT = 72  # the code of an asset and its issuer

_VOID = word(0)
_HASH = words(8)
_ADDRESS = choice({0: words(9), 1: _HASH})
# In the order in which they are frequent: addresses; bytes, strings and symbols; and then by size in words.
SCALAR = b"(?:%b)" % b"|".join(
    (
        word(18) + _ADDRESS,
        any_of((13, 14, 15)) + text(_LONGEST_TEXT),
        any_of((9, 10)) + words(4),
        any_of((2, 5, 6, 7, 8, 21)) + words(2),
        any_of((0, 3, 4)) + words(1),
        any_of((1, 20)),
        any_of((11, 12)) + words(8),
    )
)


def usual_value() -> bytes:
    """A scalar, or a list or map of few of them."""
    some = word(1) + several(SCALAR, _MOST_IN_VEC)
    pairs = word(1) + several(SCALAR + SCALAR, _MOST_IN_MAP)
    return b"(?:" + SCALAR + b"|" + choice({17: pairs, 16: some}) + b")"


def larger_value(name: str) -> bytes:
    """A scalar, or a list or map of them. Not for use inside a repetition; the name is that of its groups."""
    some = word(1) + counted(SCALAR, _COUNT_BITS, name + "_list")
    pairs = word(1) + counted(SCALAR + SCALAR, _COUNT_BITS, name + "_map")
    return b"(?:" + SCALAR + b"|" + choice({17: pairs, 16: some}) + b")"


@cache
def usual_contract_data() -> Matching:
    """Matches, from a position in bytes, what a contract keeps under a key. Made when first needed."""
    value = b"(?:" + _instance() + b"|" + larger_value("kept") + b")"
    return re.compile(_VOID + _ADDRESS + usual_value() + one_of(0, 1) + value, re.DOTALL).match


def _instance() -> bytes:
    """A contract: its code, and a few entries of its own."""
    lists = word(16) + word(1) + choice({count: repeated(SCALAR, count) for count in _OWN_LISTS})
    maps = word(17) + word(1) + choice({count: repeated(SCALAR, 2 * count) for count in _OWN_MAPS})
    key, value = SCALAR + b"|" + lists, SCALAR + b"|" + lists + b"|" + maps
    entries = choice({0: b"", 1: counted(b"(?:" + key + b")(?:" + value + b")", _OWN_BITS, "own")})
    return word(19) + choice({0: _HASH, 1: b""}) + entries


@cache
def usual_scalars(most: int) -> Matching:
    """Matches as many scalars as stand there, up to `most`, each a group: the number of the last tells how many."""
    expression = b""
    for _ in range(most):
        expression = b"(?:(" + SCALAR + b")" + expression + b")?"
    return re.compile(expression, re.DOTALL).match
