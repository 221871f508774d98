"""The bookkeeping of a ring: slots never overlap, and what is free is found."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.streams.shared.slots import ALIGNMENT, Slots

START, END, MARKS = 4096, 4096 + 10_000, 5


def fresh() -> Slots:
    return Slots(START, END, MARKS)


@given(st.lists(st.tuples(st.integers(1, 6000), st.lists(st.integers(0, 20)))))
def test_slots_never_overlap_and_each_has_a_mark_of_its_own(steps):
    slots = fresh()
    turns = set()
    for length, gone in steps:
        slot = slots.take(length)
        if slot is not None:
            assert slot.length == length
            assert slot.turn not in turns
            turns.add(slot.turn)
        used = list(slots)
        assert all(slot.offset >= START and slot.end <= END and slot.offset % ALIGNMENT == 0 for slot in used)
        assert all(first.end <= second.offset for first, second in pairwise(used))
        assert len({slot.mark for slot in used}) == len(used) <= MARKS
        slots.sweep(lambda slot, gone=gone: slot.turn % 21 in gone)


def test_the_lowest_gap_is_used_again_while_a_slot_behind_it_is_kept():
    slots = fresh()
    first, kept = slots.take(4000), slots.take(4000)
    assert slots.take(4000) is None
    slots.free(first)
    assert [slots.take(4000).offset, len(slots), list(slots)[-1]] == [first.offset, 2, kept]


def test_without_a_free_mark_there_is_no_slot():
    slots = fresh()
    assert all(slots.take(1) for _ in range(MARKS))
    assert slots.take(1) is None
    slots.sweep(lambda slot: slot.turn == 1)
    assert slots.take(1) is not None


def test_nothing_is_given_out_behind_a_limit():
    slots = fresh()
    slots.limit(START + 100)
    assert slots.take(101) is None
    assert slots.take(100) is not None
