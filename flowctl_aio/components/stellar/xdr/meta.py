"""Transaction meta, versions 1 to 4: the lists of changes and of events that applying a transaction left behind."""

from __future__ import annotations

from typing import NamedTuple

from .entries import skip_changes
from .usual_events import FLAGGED_AT_ONCE, SHORT_EVENT, usual_event, usual_flagged_events, usual_transfer
from .usual_transactions import usual_end, usual_operation
from .values import skip_event, skip_scvals, walk_flagged_events
from .words import FLAG, VOID, StrangeValueError, Words, new_tuple

_SOROBAN_EXT = (1, 8)  # version 1: extension point, three fees
_STAGES = (1, 1, 1)


class Meta(NamedTuple):
    """Word indexes inside one TransactionMeta; 0 or an empty list where the version has no such part.

    Attributes:
        version: 1 to 4.
        before: changes before the operations.
        operations: per operation its changes, and where each of its events begins (version 4 only).
        after: changes after the operations.
        soroban_events: where each event of the invocation begins (version 3 only).
        events: where each transaction-level event begins, after its stage (version 4 only).
    """

    version: int
    before: int
    operations: list[tuple[int, list[int]]]
    after: int
    soroban_events: list[int]
    events: list[int]


def walk_meta(w: Words[int], i: int) -> tuple[int, Meta]:
    """Returns the position after the meta, and what is inside."""
    version, i = w[i], i + 1
    if version == 4:
        return _walk_v4(w, i)
    if version == 3:
        i += VOID[w[i]]
    elif version != 1 and version != 2:
        raise StrangeValueError(f"its transaction meta has version {version}; versions 1 to 4 are known")
    before, i = i, skip_changes(w, i)
    operations: list[tuple[int, list[int]]] = []
    count, i = w[i], i + 1
    for _ in range(count):
        operations.append((i, []))
        i = skip_changes(w, i)
    after = 0
    soroban_events: list[int] = []
    if version > 1:
        after, i = i, skip_changes(w, i)
    if version == 3:
        has_soroban, i = w[i], i + FLAG[w[i]]
        if has_soroban:
            i += _SOROBAN_EXT[w[i]]
            i, soroban_events = _walk_events(w, i)
            i = skip_scvals(w, i, 1)
            i = _skip_diagnostics(w, i)
    return i, Meta(version, before, operations, after, soroban_events, [])


def _walk_v4(w: Words[int], i: int) -> tuple[int, Meta]:
    i += VOID[w[i]]
    return walk_operations_v4(w, skip_changes(w, i), i)


def walk_operations_v4(w: Words[int], i: int, before: int) -> tuple[int, Meta]:
    """The rest of a meta of version 4, from its operations on."""
    operations = []
    count, i = w[i], i + 1
    usual_at = usual_operation()
    for _ in range(count):
        usual = usual_at(w, 4 * i)
        if usual is None:
            i, operation = _walk_operation_v4(w, i)
            operations.append(operation)
            continue
        changes, events, i = i + 1, usual.start("events") >> 2, usual.end() >> 2
        if i > events:
            operations.append((changes, [events + 1] if w[events] else []))
        else:
            i, starts = _walk_events(w, events)
            operations.append((changes, starts))
    after = i
    usual = usual_end()(w, 4 * i)
    if usual is not None:
        staged = _short_events(w, usual.start("events") >> 2)
        i = usual.end() >> 2
    else:
        i = skip_changes(w, i)
        has_soroban, i = w[i], i + FLAG[w[i]]
        if has_soroban:
            i += _SOROBAN_EXT[w[i]]
            has_value, i = w[i], i + FLAG[w[i]]
            i = skip_scvals(w, i, has_value)
        i, staged = walk_flagged_events(w, i, _STAGES)
    i = _skip_diagnostics(w, i) if w[i] else i + 1
    return i, new_tuple(Meta, (4, before, operations, after, [], staged))


def failed_v4(w: Words[int], before: int, events: int) -> Meta:
    """A meta of version 4 without operations: nothing after `before` but one or two events of fees at `events`."""
    after = events - 2  # and the flag of Soroban
    return new_tuple(Meta, (4, before, [], after, [], _short_events(w, events)))


def _walk_operation_v4(w: Words[int], i: int) -> tuple[int, tuple[int, list[int]]]:
    i += VOID[w[i]]
    changes, i = i, skip_changes(w, i)
    i, starts = _walk_events(w, i)
    return i, (changes, starts)


def _short_events(w: Words[int], i: int) -> list[int]:
    """Where each event of a usual array of one or two begins, after its stage."""
    return [i + 2] if w[i] == 1 else [i + 2, i + 3 + SHORT_EVENT]


def _walk_events(w: Words[int], i: int) -> tuple[int, list[int]]:
    """Walks an array of events: the position after it, and where each event begins."""
    starts = []
    count, i = w[i], i + 1
    for _ in range(count):
        starts.append(i)
        usual = usual_transfer(w, 4 * i) or usual_event()(w, 4 * i)
        i = usual.end() >> 2 if usual is not None else skip_event(w, i)
    return i, starts


def _skip_diagnostics(w: Words[int], i: int) -> int:
    """Skips an array of events that each follow a bool."""
    few_at, one_at = usual_flagged_events(), usual_event()
    count, i = w[i], i + 1
    while count:
        usual = few_at(w, 4 * i) if count >= FLAGGED_AT_ONCE else None
        if usual is not None:
            count -= FLAGGED_AT_ONCE
            i = usual.end() >> 2
            continue
        for _ in range(min(count, FLAGGED_AT_ONCE)):
            count -= 1
            i += FLAG[w[i]]
            usual = one_at(w, 4 * i)
            i = usual.end() >> 2 if usual is not None else skip_event(w, i)
    return i
