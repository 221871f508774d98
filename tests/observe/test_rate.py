"""A growing count has a rate, over a window, with bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.observe.rate import SAMPLES, Rate


def test_the_rate_is_the_growth_over_the_window():
    rate = Rate(window=10)
    for second in range(31):
        rate.note(second * 5 if second < 20 else 100 + (second - 20) * 50, second)
    assert rate.per_second(30) == 50.0


def test_one_look_is_no_rate():
    rate = Rate()
    assert rate.per_second(5) == 0.0
    rate.note(1000, 5)
    assert rate.per_second(5) == 0.0


def test_a_rate_fades_when_nothing_comes():
    rate = Rate(window=10)
    rate.note(0, 0)
    rate.note(100, 1)
    assert rate.per_second(1) == 100.0
    assert rate.per_second(5) == 20.0
    assert rate.per_second(20) == 0.0


def test_a_count_that_was_begun_anew_begins_a_new_rate():
    rate = Rate()
    rate.note(1000, 0)
    rate.note(2000, 1)
    rate.note(3, 2)
    assert rate.per_second(2) == 0.0
    rate.note(5, 3)
    assert rate.per_second(3) == 2.0


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 100)), max_size=300))
def test_memory_is_bounded_and_a_rate_is_never_negative(steps):
    rate = Rate(window=5)
    now = total = 0.0
    for seconds, more in steps:
        now, total = now + seconds, total + more
        rate.note(total, now)
        assert rate.per_second(now) >= 0.0
        assert len(rate._samples) <= 2 * SAMPLES + 3
