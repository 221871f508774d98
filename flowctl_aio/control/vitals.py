"""How a service is, judged by what can be measured of it. Pure: takes numbers, gives a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowctl_aio.types import Health

# From good to bad, as far as one can be compared with another.
_SEVERITY = (Health.HEALTHY, Health.UNKNOWN, Health.STARTING, Health.DEGRADED, Health.UNHEALTHY, Health.STOPPING)
# An error rate says nothing until so many things were tried.
FEWEST_ATTEMPTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What is measured.

    Attributes:
        said: what the component's own probe says.
        loop_lag: by how much the event loop was late lately, in seconds.
        stalled_for: how long the component has been at one and the same batch, in seconds.
        attempts, faults: batches that the component was given lately, and how many of them it failed at.
    """

    said: Health = Health.HEALTHY
    loop_lag: float = 0.0
    stalled_for: float = 0.0
    attempts: float = 0.0
    faults: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is still healthy; `None` never judges."""

    loop_lag: float | None = 5.0
    stall: float | None = 60.0
    error_rate: float | None = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """A health, and a sentence for each thing that speaks against a better one."""

    health: Health
    reasons: Sequence[str] = ()


def assess(vitals: Vitals, limits: Limits) -> Verdict:
    """The worse of what the component says and what is measured. Measurements degrade; only a probe says UNHEALTHY."""
    reasons = []
    if vitals.said is not Health.HEALTHY:
        reasons.append(f"the component says {vitals.said.name}")
    measured = Health.HEALTHY
    if limits.loop_lag is not None and vitals.loop_lag > limits.loop_lag:
        reasons.append(f"the event loop was blocked for {vitals.loop_lag:.1f} s")
    if limits.stall is not None and vitals.stalled_for > limits.stall:
        reasons.append(f"one batch has been under way for {vitals.stalled_for:.0f} s")
    if (
        limits.error_rate is not None
        and vitals.attempts >= FEWEST_ATTEMPTS
        and vitals.faults / vitals.attempts > limits.error_rate
    ):
        reasons.append(f"{vitals.faults:.0f} of the last {vitals.attempts:.0f} batches failed")
    if len(reasons) > (vitals.said is not Health.HEALTHY):
        measured = Health.DEGRADED
    return Verdict(max(vitals.said, measured, key=_SEVERITY.index), tuple(reasons))


__all__ = ["Limits", "Verdict", "Vitals", "assess"]
