"""The usual shapes of changed entries as a regular expression, which passes them in C.

An expression over words knows fixed fields, choices and short lists; that covers accounts, trustlines, offers and pools
as they nearly always are. It matches a value whole, and then ends where the walk would, or it does not match,
and then the walk looks: at what is rare, longer, or wrong. So the walk alone says what is wrong, and where.
"""

from __future__ import annotations

import re
from functools import cache

from .patterns import Matching, any_of, choice, counted, one_of, several, sized, text, word, words
from .values import ASSET, HASH, TRUSTLINE_ASSET

_MOST_SIGNERS = _MOST_SPONSORS = 20  # as many as an account can have
_MOST_CLAIMANTS = 2
_COUNT_BITS = 5
_OFTEN = (6, 5, 4)  # changes of an operation


@cache
def usual_changes() -> Matching:
    """Matches, from a position in bytes, a list of changes if all have usual shapes. Made when first needed."""
    return re.compile(some_changes("changes"), re.DOTALL).match


@cache
def usual_change_alone() -> Matching:
    """Matches, from a position in bytes, one change of a usual shape. Made when first needed."""
    return re.compile(usual_change(), re.DOTALL).match


def some_changes(name: str) -> bytes:
    """A list of changes. The name is that of its groups."""
    return counted(usual_change(), _COUNT_BITS, name, often=_OFTEN)


_VOID = word(0)
_ASSET, _TRUSTLINE_ASSET = sized(ASSET), sized(TRUSTLINE_ASSET)
_OPTIONAL_ACCOUNT = choice({0: b"", 1: words(9)})


@cache
def usual_change() -> bytes:
    """A change with the whole new value, or of a key that is removed."""
    entry = choice(
        {0: _account(), 1: _trustline(), 2: _offer(), 9: words(HASH + 1), 4: _claimable_balance(), 5: _pool()}
    )
    extension = choice({0: b"", 1: _OPTIONAL_ACCOUNT + _VOID})
    whole = any_of((3, 1, 0, 4)) + words(1) + entry + extension
    removed = word(2) + choice({2: words(11), 1: words(9) + _TRUSTLINE_ASSET, 0: words(9), 4: words(9), 9: words(HASH)})
    return b"(?:" + whole + b"|" + removed + b")"


def _account() -> bytes:
    version_2 = words(2) + several(_OPTIONAL_ACCOUNT, _MOST_SPONSORS) + choice({3: words(4), 0: b""})
    version_1 = words(4) + choice({2: version_2, 0: b""})
    signers = several(one_of(0, 2) + words(HASH + 1), _MOST_SIGNERS)
    # Key, balance, sequence number, number of entries; inflation destination, flags; home domain, thresholds.
    start = _VOID + words(HASH + 5) + _OPTIONAL_ACCOUNT + words(1) + text() + words(1)
    return start + signers + choice({1: version_1, 0: b""})


def _trustline() -> bytes:
    version_1 = words(4) + choice({0: b"", 2: words(2)})
    return _VOID + words(HASH) + _TRUSTLINE_ASSET + words(5) + choice({1: version_1, 0: b""})


def _offer() -> bytes:
    return _VOID + words(HASH + 2) + _ASSET + _ASSET + words(5) + _VOID


def usual_claimants() -> bytes:
    """The claimants of a claimable balance."""
    moments = {0: b"", 4: words(2), 5: words(2)}  # always, before a time, before a time since creation
    predicate = choice({**moments, 3: word(1) + choice(moments)})
    return several(_VOID + words(9) + predicate, _MOST_CLAIMANTS)


def _claimable_balance() -> bytes:
    return _VOID + words(HASH) + usual_claimants() + _ASSET + words(2) + choice({1: _VOID + words(1), 0: b""})


def _pool() -> bytes:
    return words(HASH) + _VOID + _ASSET + _ASSET + words(9)
