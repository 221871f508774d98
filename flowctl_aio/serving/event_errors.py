"""A component on one batch, under its error policy: what it made of the rows that it could take.

The rest is counted, told, and where the policy wants it posted, before whoever called hears of the results.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from flowctl_aio.batches import Batch
from flowctl_aio.component import Component
from flowctl_aio.errors import ComponentError
from flowctl_aio.owner import is_cancelled
from flowctl_aio.serving.dead_letters import post
from flowctl_aio.serving.policy import Policy, SetAside, Trial
from flowctl_aio.serving.served import Served

C = TypeVar("C", bound=Component)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one batch.

    Attributes:
        results: what the attempts that succeeded returned, in the order of the rows.
        failed: how many rows were set aside.
        errors: one sentence for each kind of failure; fit for peers.
    """

    results: Sequence[T]
    failed: int = 0
    errors: Sequence[str] = ()


async def under_policy(served: Served[C], batch: Batch, attempt: Callable[[Batch], Awaitable[T]]) -> Outcome[T]:
    """Give `batch` to the component as often, and in as many parts, as the policy wants.

    Args:
        attempt: has the component take a batch as a whole, or raises and has done nothing of it.

    Raises:
        ComponentError: if the component fails and the policy is to fail, or if dead letters cannot be written.

    Cancellation: cancels the component at what it is doing. Letters may have been written, and will be again.
    """
    policy = Policy.of(served.config)
    with served.guard():
        if policy.is_plain:
            return Outcome([await attempt(batch)])
        trial = Trial(policy, _caught(attempt, served.info.component_id))
        is_done = False
        try:
            await trial.run(batch)
            is_done = True
        finally:
            _count(served, trial, is_lost=is_done and bool(trial.aside) and not trial.results)
        if trial.aside and policy.on_event_error == "dead-letter":
            await post(trial.aside, served.info.component_id, served.config)
    _tell(served, trial.aside)
    return Outcome(trial.results, len(trial.aside), _sentences(trial.aside, served.info.component_id))


def _caught(attempt: Callable[[Batch], Awaitable[T]], component_id: str) -> Callable[[Batch], Awaitable[T]]:
    """`attempt`, with a CancelledError that nobody asked for as an error like any other."""

    async def caught(batch: Batch) -> T:
        try:
            return await attempt(batch)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise ComponentError(f"CancelledError out of nowhere in {component_id}") from error

    return caught


def _count(served: Served[C], trial: Trial[T], *, is_lost: bool) -> None:
    invalid = sum(row.is_invalid for row in trial.aside)
    served.count_trial(failed=len(trial.aside), invalid=invalid, retries=trial.retries, is_lost=is_lost)


def _tell(served: Served[C], aside: Sequence[SetAside]) -> None:
    if not aside:
        return
    first = aside[0]
    done = "put among the dead letters" if served.config.on_event_error == "dead-letter" else "skipped"
    served.repeats.failed(
        "set aside",
        "%s: rows of a batch %s: %d; the first%s: %s: %s",
        served.info.component_id,
        done,
        len(aside),
        f" at {first.row.first_cursor}" if first.row.first_cursor is not None else "",
        first.kind,
        first.reason,
    )


def _sentences(aside: Sequence[SetAside], component_id: str) -> list[str]:
    counts = Counter(row.kind for row in aside)
    return [f"{kind} in {component_id}, rows: {count}" for kind, count in counts.items()]
