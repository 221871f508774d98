"""The usual shapes of changed entries as a regular expression, which passes them in C.

An expression over words knows fixed fields, choices and short lists; that covers accounts, trustlines, offers and pools
as they nearly always are. It matches a value whole, and then ends where the walk would, or it does not match,
and then the walk looks: at what is rare, longer, or wrong. So the walk alone says what is wrong, and where.

The words lie in memory in the machine's own order, and so do the numbers in the expression.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from functools import cache

from .values import ASSET, HASH, TRUSTLINE_ASSET
from .words import Words

_MOST_SIGNERS = _MOST_SPONSORS = 5
_MOST_CLAIMANTS = 2


@cache
def usual_changes(count: int) -> Callable[[Words[int], int], re.Match[bytes] | None]:
    """Matches, from a position in bytes, exactly so many changes if all have usual shapes. Made when first needed."""
    return re.compile(b"(?:%b){%d}" % (_change(), count), re.DOTALL).match


def _word(value: int) -> bytes:
    return re.escape(value.to_bytes(4, sys.byteorder))


def _words(count: int) -> bytes:
    """So many words of any value."""
    return b".{%d}" % (4 * count) if count else b""


def _one_of(low: int, high: int) -> bytes:
    """One word of this range, up to 255."""
    byte = b"[" + re.escape(bytes((low,))) + b"-" + re.escape(bytes((high,))) + b"]"
    return byte + bytes(3) if sys.byteorder == "little" else bytes(3) + byte


def _choice(arms: Mapping[int, bytes]) -> bytes:
    """A union: each discriminant, tried in this order, with what belongs to it."""
    return b"(?:" + b"|".join(_word(value) + arm for value, arm in arms.items()) + b")"


def _sized(sizes: tuple[int, ...]) -> bytes:
    """A union by a table of sizes in words, the discriminant counted too."""
    return _choice({value: _words(size - 1) for value, size in enumerate(sizes)})


def _several(item: bytes, most: int) -> bytes:
    """An array of at most so many."""
    return _choice({count: item * count for count in range(most + 1)})


def _text() -> bytes:
    """A string of at most 32 bytes."""
    arms = [_one_of(length - 3, length) + _words(length // 4) for length in range(4, 33, 4)]
    return b"(?:" + b"|".join([_word(0), *arms]) + b")"


_VOID = _word(0)
_ASSET, _TRUSTLINE_ASSET = _sized(ASSET), _sized(TRUSTLINE_ASSET)
_OPTIONAL_ACCOUNT = _choice({0: b"", 1: _words(9)})


@cache
def _change() -> bytes:
    """A change with the whole new value, or of a key that is removed."""
    entry = _choice(
        {0: _account(), 1: _trustline(), 2: _offer(), 9: _words(HASH + 1), 4: _claimable_balance(), 5: _pool()}
    )
    extension = _choice({0: b"", 1: _OPTIONAL_ACCOUNT + _VOID})
    whole = b"(?:" + b"|".join(map(_word, (3, 1, 0, 4))) + b")" + _words(1) + entry + extension
    removed = _word(2) + _choice(
        {2: _words(11), 1: _words(9) + _TRUSTLINE_ASSET, 0: _words(9), 4: _words(9), 9: _words(HASH)}
    )
    return b"(?:" + whole + b"|" + removed + b")"


def _account() -> bytes:
    version_2 = _words(2) + _several(_OPTIONAL_ACCOUNT, _MOST_SPONSORS) + _choice({3: _words(4), 0: b""})
    version_1 = _words(4) + _choice({2: version_2, 0: b""})
    signers = _several(_one_of(0, 2) + _words(HASH + 1), _MOST_SIGNERS)
    # Key, balance, sequence number, number of entries; inflation destination, flags; home domain, thresholds.
    start = _VOID + _words(HASH + 5) + _OPTIONAL_ACCOUNT + _words(1) + _text() + _words(1)
    return start + signers + _choice({1: version_1, 0: b""})


def _trustline() -> bytes:
    version_1 = _words(4) + _choice({0: b"", 2: _words(2)})
    return _VOID + _words(HASH) + _TRUSTLINE_ASSET + _words(5) + _choice({1: version_1, 0: b""})


def _offer() -> bytes:
    return _VOID + _words(HASH + 2) + _ASSET + _ASSET + _words(5) + _VOID


def _claimable_balance() -> bytes:
    moments = {0: b"", 4: _words(2), 5: _words(2)}  # always, before a time, before a time since creation
    predicate = _choice({**moments, 3: _word(1) + _choice(moments)})
    claimants = _several(_VOID + _words(9) + predicate, _MOST_CLAIMANTS)
    return _VOID + _words(HASH) + claimants + _ASSET + _words(2) + _choice({1: _VOID + _words(1), 0: b""})


def _pool() -> bytes:
    return _words(HASH) + _VOID + _ASSET + _ASSET + _words(9)
