"""How long to hold back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.control.flow.pacing import IDLE, Pacer
from tests.control.statuses import quick


def run(pacer: Pacer, began: float, work: float, passes: int, *, rate: float, cost: float = 1.0) -> float:
    """Work and pass, again and again, by a clock that waits exactly as long as it is told to; give the end."""
    now = began
    for _ in range(passes):
        now = pacer.due(now + work)
        pacer.slow(now, cost, rate)
    return now


@quick
@given(st.floats(1e-4, 0.5), st.floats(0.1, 1.0), st.floats(1, 1000))
def test_the_rate_becomes_the_part_of_the_full_one_that_it_should(work, rate, cost):
    pacer = Pacer()
    for number in range(50):
        pacer.learn(number * work, cost)
    assert pacer.pace == pytest.approx(work / cost)
    began = 49 * work
    pacer.begin(began)
    took = run(pacer, began, work, 101, rate=rate, cost=cost) - began
    assert took == pytest.approx(work + 100 * work / rate)


def test_whoever_is_slow_already_is_not_held_back():
    pacer = Pacer()
    for number in range(50):
        pacer.learn(number * 0.1, 1)
    pacer.begin(5.0)
    assert run(pacer, 5.0, 0.3, 10, rate=0.5) == pytest.approx(8.0)


def test_without_a_known_pace_the_first_passes_show_it():
    pacer = Pacer()
    pacer.begin(0.0)
    for now in (0.0, 0.1):
        assert pacer.due(now) == now
        pacer.slow(now, 1, 0.5)
    assert pacer.pace == pytest.approx(0.1)
    assert pacer.due(0.2) == pytest.approx(0.3)


def test_a_pause_says_nothing_of_the_pace():
    pacer = Pacer()
    for now in (0.0, 0.1, 0.2, 0.2 + IDLE * 60, 60.3):
        pacer.learn(now, 1)
    assert pacer.pace == pytest.approx(0.1)


def test_what_passed_while_it_was_slow_teaches_nothing():
    pacer = Pacer()
    for now in (0.0, 0.1):
        pacer.learn(now, 1)
    pacer.begin(0.1)
    now = run(pacer, 0.1, 0.1, 5, rate=0.1)
    pacer.end()
    for late in (0.9, 1.0):
        pacer.learn(now + late, 1)
    assert pacer.pace == pytest.approx(0.1)
