"""The usual transaction as three regular expressions, for what was applied in protocols that write meta version 4.

Its start is everything before its operations, its end everything after them but diagnostic events.
So a failed transaction takes one match, and another two and one for each operation: what takes time is not to match,
but to call.
As in `usual`, each matches whole or not at all.
"""

from __future__ import annotations

import re
from functools import cache

from .patterns import Matching, choice, repeated, word, words
from .usual import some_changes, usual_change
from .usual_events import SHORT_EVENTS, TRANSFER
from .usual_results import usual_result_pair
from .usual_values import usual_value

_VERSION = word(4)
_VOID = word(0)


@cache
def usual_start() -> Matching:
    """Result, changes of the fee, and meta up to its operations, or all of it where it has none, as if it failed.

    Groups: `fee` and `before` begin lists of changes; `events` begins those of fees, if the match has all.
    """
    fee = b"(?P<fee>)" + _changes(2)
    before = b"(?P<before>)" + _changes(2, 4)
    # No operations, no changes after them, nothing of Soroban; no diagnostic events.
    rest = b"(?:" + _VOID + _VOID + _VOID + b"(?P<events>)" + SHORT_EVENTS + _VOID + b")?"
    return re.compile(usual_result_pair() + fee + _VERSION + _VOID + before + rest, re.DOTALL).match


@cache
def usual_operation() -> Matching:
    """The meta of an operation with one event at most; with more, up to the `events`, where that group begins."""
    events = b"(?P<events>)" + b"(?:" + choice({0: b"", 1: TRANSFER}) + b")?"
    return re.compile(_VOID + some_changes("changes") + events, re.DOTALL).match


@cache
def usual_end() -> Matching:
    """The meta from behind its operations up to its diagnostic events. The group `events` begins those of fees."""
    fees = choice({0: b"", 1: words(7)})
    soroban = choice({0: b"", 1: fees + choice({0: b"", 1: usual_value()})})
    return re.compile(_changes(0, 2) + soroban + b"(?P<events>)" + SHORT_EVENTS, re.DOTALL).match


def _changes(*counts: int) -> bytes:
    """A list of so many changes."""
    return choice({count: repeated(usual_change(), count) if count else b"" for count in counts})
