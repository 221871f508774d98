"""The usual events as regular expressions: a transfer that names an asset, and the fees of a transaction.

As in `usual`, they match a value whole or not at all. They know where things are, and not what they mean.
"""

from __future__ import annotations

import re
from functools import cache

from .patterns import Matching, choice, one_of, repeated, several, word, words
from .usual_values import SCALAR, larger_value, usual_value
from .values import HASH, SCV_ADDRESS, SCV_I128, SCV_STRING, SCV_SYMBOL

_MOST_TOPICS = 4
FLAGGED_AT_ONCE = 4
_VOID = word(0)
_CONTRACT = word(1)
_AMOUNT = word(SCV_I128) + words(4)
_ADDRESS = word(SCV_ADDRESS) + choice({0: words(9), 1: words(HASH), 4: words(HASH), 3: words(9)})


def _head(topics: int) -> bytes:
    """Extension, contract, type, version, number of topics."""
    return _VOID + word(1) + words(HASH) + _CONTRACT + _VOID + word(topics)


def _symbol(length: int) -> bytes:
    return word(SCV_SYMBOL) + word(length) + words((length + 3) // 4)


def _string(most: int) -> bytes:
    arms = [one_of(max(length - 3, 1), length) + words(length // 4) for length in range(4, most + 1, 4)]
    return word(SCV_STRING) + b"(?:" + b"|".join(arms) + b")"


# `native`, and codes of up to twelve letters with the address of an issuer.
_NAME = _string(72)
TRANSFER = _head(4) + _symbol(8) + _ADDRESS + _ADDRESS + _NAME + _AMOUNT
usual_transfer = re.compile(TRANSFER, re.DOTALL).match

# The words of an event with a symbol of three letters and an account, such as that of a fee; its stage is not counted.
SHORT_EVENT = 2 + HASH + 3 + 3 + 11 + 5
_SHORT_EVENT = _head(2) + _symbol(3) + word(SCV_ADDRESS) + word(0) + words(9) + _AMOUNT
_STAGED = one_of(0, 2) + _SHORT_EVENT
# One or two such events of the transaction.
SHORT_EVENTS = choice({1: _STAGED, 2: _STAGED + _STAGED})


@cache
def usual_event() -> Matching:
    """Matches, from a position in bytes, one event of any kind with simple values. Made when first needed."""
    return re.compile(_event(larger_value("data")), re.DOTALL).match


@cache
def usual_flagged_events() -> Matching:
    """Matches, from a position in bytes, `FLAGGED_AT_ONCE` events that each follow a bool. Made when first needed."""
    return re.compile(repeated(one_of(0, 1) + _event(usual_value()), FLAGGED_AT_ONCE), re.DOTALL).match


def _event(value: bytes) -> bytes:
    head = _VOID + choice({1: words(HASH), 0: b""}) + one_of(0, 2) + _VOID
    return head + several(SCALAR, _MOST_TOPICS) + value
