"""The verdict on a service, from what is measured of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.control.vitals import Limits, Vitals, assess
from flowctl_aio.types import Health

LIMITS = Limits(loop_lag=5, stall=60, error_rate=0.5)


@pytest.mark.parametrize(
    ("vitals", "health", "reason"),
    [
        (Vitals(), Health.HEALTHY, None),
        (Vitals(loop_lag=5), Health.HEALTHY, None),
        (Vitals(loop_lag=5.1), Health.DEGRADED, "event loop was blocked for 5.1 s"),
        (Vitals(stalled_for=61), Health.DEGRADED, "under way for 61 s"),
        (Vitals(attempts=10, faults=6), Health.DEGRADED, "6 of the last 10 batches failed"),
        (Vitals(attempts=9, faults=9), Health.HEALTHY, None),
        (Vitals(attempts=100, faults=50), Health.HEALTHY, None),
        (Vitals(said=Health.DEGRADED), Health.DEGRADED, "the component says DEGRADED"),
        (Vitals(said=Health.UNHEALTHY, loop_lag=9), Health.UNHEALTHY, "the component says UNHEALTHY"),
        (Vitals(said=Health.STARTING), Health.STARTING, "the component says STARTING"),
        (Vitals(said=Health.STARTING, loop_lag=9), Health.DEGRADED, "blocked"),
    ],
)
def test_each_thing_that_is_wrong_is_named(vitals, health, reason):
    verdict = assess(vitals, LIMITS)
    assert verdict.health is health
    assert reason is None or any(reason in sentence for sentence in verdict.reasons)
    assert bool(verdict.reasons) == (health is not Health.HEALTHY)


@given(
    st.builds(
        Vitals,
        said=st.sampled_from(Health),
        loop_lag=st.floats(0, 1e6),
        stalled_for=st.floats(0, 1e6),
        attempts=st.floats(0, 1e6),
        faults=st.floats(0, 1e6),
    )
)
def test_a_verdict_is_never_better_than_what_the_component_says(vitals):
    nothing = Limits(loop_lag=None, stall=None, error_rate=None)
    assert assess(vitals, nothing).health is vitals.said
    if assess(vitals, LIMITS).health is Health.HEALTHY:
        assert vitals.said is Health.HEALTHY
