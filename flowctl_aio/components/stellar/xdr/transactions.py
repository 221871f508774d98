"""Transactions as they were applied: of each its result, the changes of its fee, and its meta."""

from __future__ import annotations

from typing import NamedTuple

from .entries import skip_changes
from .meta import Meta, failed_v4, walk_meta, walk_operations_v4
from .results import Result, read_result, skip_result_pair
from .usual_transactions import usual_start
from .words import VOID, Words, new_tuple


class Transaction(NamedTuple):
    """One transaction as it was applied, by word index.

    Attributes:
        result: its result.
        fee_changes: the entry changes of charging its fee.
        meta: what applying it changed.
        post_fee_changes: the entry changes of a refund after all transactions; 0 before LedgerCloseMeta version 2.
    """

    result: Result
    fee_changes: int
    meta: Meta
    post_fee_changes: int


def walk_transactions(w: Words[int], i: int, version: int, found: list[Transaction]) -> int:
    """Walks the array of a LedgerCloseMeta of this version, appends to `found`, returns the position after it."""
    count, i = w[i], i + 1
    usual_at = usual_start()
    post_fee_changes = 0
    for _ in range(count):
        if version == 2:
            i += VOID[w[i]]
        pair = i
        usual = usual_at(w, 4 * i)
        if usual is not None:
            fee_changes, before = usual.start("fee") >> 2, usual.start("before") >> 2
            events, i = usual.start("events") >> 2, usual.end() >> 2
            if events > 0:
                meta = failed_v4(w, before, events)
            else:
                i, meta = walk_operations_v4(w, i, before)
        else:
            fee_changes = skip_result_pair(w, i)
            i, meta = walk_meta(w, skip_changes(w, fee_changes))
        if version == 2:
            post_fee_changes, i = i, skip_changes(w, i)
        found.append(new_tuple(Transaction, (read_result(w, pair), fee_changes, meta, post_fee_changes)))
    return i
