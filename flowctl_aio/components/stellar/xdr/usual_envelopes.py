"""The usual shape of a transaction envelope as a regular expression: classic operations.

As in `usual`, it matches a value whole or not at all.
"""

from __future__ import annotations

import re
from functools import cache

from .patterns import Matching, any_of, choice, counted, several, sized, text, word, words
from .usual import usual_claimants
from .values import ASSET, HASH

_COUNT_BITS = 5
_MOST_SIGNATURES = 20
_MOST_HOPS = 5
_VOID = word(0)
_ASSET = sized(ASSET)
_MUXED_ACCOUNT = choice({0: words(8), 256: words(10)})


@cache
def usual_envelope() -> Matching:
    """Matches, from a position in bytes, one envelope of a usual shape. Made when first needed.

    Groups: `bump` is the start of a fee bump, if it is one; `source`, `memo` and `operations` begin those;
    `end` begins the signatures of the inner transaction, `signatures` those of the whole.
    """
    signatures = several(words(1) + word(64) + words(16), _MOST_SIGNATURES)
    bump = b"(?P<bump>" + word(5) + _MUXED_ACCOUNT + words(2) + b")?" + word(2)
    outer = b"(?(bump)" + _VOID + b"(?P<outer>)" + signatures + b")"
    return re.compile(bump + _transaction() + b"(?P<inner>)" + signatures + outer, re.DOTALL).match


def _transaction() -> bytes:
    preconditions = choice({1: words(4), 0: b"", 2: _preconditions()})
    memo = b"(?P<memo>)" + choice({0: b"", 1: text(), 2: words(2), 3: words(HASH), 4: words(HASH)})
    operation = choice({0: b"", 1: _MUXED_ACCOUNT}) + _operation()
    operations = b"(?P<operations>)" + counted(operation, _COUNT_BITS, "count", often=(1,))
    return b"(?P<source>)" + _MUXED_ACCOUNT + words(3) + preconditions + memo + operations + _VOID


def _preconditions() -> bytes:
    """Time bounds, ledger bounds, lowest sequence number; lowest age and gap; no extra signers."""
    optional = choice({0: b"", 1: words(4)}) + choice({0: b"", 1: words(2)}) + choice({0: b"", 1: words(2)})
    return optional + words(3) + _VOID


def _operation() -> bytes:
    offer = _ASSET + _ASSET
    path_payment = _ASSET + words(2) + _MUXED_ACCOUNT + _ASSET + words(2) + several(_ASSET, _MOST_HOPS)
    change_trust = choice({value: words(size + 1) for value, size in enumerate(ASSET)})
    arms = (
        word(1) + _MUXED_ACCOUNT + _ASSET + words(2),
        any_of((3, 12)) + offer + words(6),
        any_of((2, 13)) + path_payment,
        word(14) + _ASSET + words(2) + usual_claimants(),
        word(4) + offer + words(4),
        word(6) + change_trust,
        word(8) + _MUXED_ACCOUNT,
        # Create an account, bump a sequence number, claim or claw back a balance, sponsor, trade with a pool.
        *(word(kind) + words(size) for kind, size in {0: 11, 11: 2, 15: 9, 16: 9, 20: 9, 22: 16, 23: 14}.items()),
        word(17),
    )
    return b"(?:" + b"|".join(arms) + b")"
