"""The bookkeeping of concurrency, driven with values: whatever happens in whatever order, nobody waits for ever."""

from __future__ import annotations

import random

import pytest

from flowctl_aio.batches import EventBatch
from flowctl_aio.serving.line import Entry, Line

pytestmark = pytest.mark.anyio
BATCH = EventBatch.from_events([])


async def entry(key=None) -> Entry:
    return Entry(BATCH, key)


async def test_a_free_lane_goes_to_the_first_that_may_have_it():
    line = Line(2, "input")
    one, two, three, four = [await entry(key) for key in ("a", "a", "b", "c")]
    for each in (one, two, three, four):
        line.enter(each)
    assert [each.may_begin.is_set() for each in (one, two, three, four)] == [True, False, True, False]
    line.finish(one)
    assert (two.may_begin.is_set(), four.may_begin.is_set()) == (True, False)


async def test_in_the_order_of_completion_a_key_is_free_when_its_outputs_were_sent():
    line = Line(2, "completion")
    one, two = await entry("a"), await entry("a")
    line.enter(one)
    line.enter(two)
    line.finish(one)
    assert not two.may_begin.is_set()
    line.leave(one)
    assert two.may_begin.is_set()


async def test_what_leaves_gives_back_its_own_key_and_not_that_of_the_next():
    line = Line(3, "input")
    one, two, three = [await entry("a") for _ in range(3)]
    for each in (one, two, three):
        line.enter(each)
    line.finish(one)
    line.leave(one)
    assert (two.may_begin.is_set(), three.may_begin.is_set()) == (True, False)


@pytest.mark.parametrize("order", ["input", "completion"])
async def test_everybody_gets_through_and_no_bound_is_passed(order):
    for seed in range(300):
        await through(order, random.Random(seed))


async def through(order, chance: random.Random) -> None:
    """Take batches through a line in one of all possible orders."""
    width, waiting = chance.randint(2, 4), 0

    def count(more: int) -> None:
        nonlocal waiting
        waiting += more

    line = Line(width, order, counted=count)
    coming = [await entry(chance.choice([None, None, "a", "b"])) for _ in range(chance.randrange(20))]
    inside: list[Entry] = []
    while coming or inside:
        begun = [each for each in inside if each.is_at_work]
        keys = [each.key for each in begun if each.key]
        assert len(begun) <= width
        assert len(keys) == len(set(keys))
        assert waiting == sum(not each.may_begin.is_set() for each in inside)
        # Generators keep their lane until it is their turn: the worst that others can have to wait for.
        leaving = [each for each in inside if each.may_begin.is_set() and (order != "input" or each.may_send.is_set())]
        can_enter = bool(coming) and len(inside) < 2 * width
        assert leaving or can_enter, "nobody can go on"
        if can_enter and (not leaving or chance.random() < 0.5):
            inside.append(coming.pop(0))
            line.enter(inside[-1])
            continue
        gone = chance.choice(leaving)
        assert order != "input" or gone is inside[0]
        if chance.random() < 0.5:
            line.finish(gone)
        line.leave(gone)
        inside.remove(gone)
    assert len(line) == waiting == 0
