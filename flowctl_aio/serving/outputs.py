"""What a processor makes of one batch: the one place where its `process` or `work` is called."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

from flowctl_aio.batches import Batch
from flowctl_aio.component import Outputs, Processor
from flowctl_aio.driven import driven
from flowctl_aio.serving.event_errors import under_policy
from flowctl_aio.serving.policy import Policy
from flowctl_aio.serving.served import END, Served, checked, next_of

# All outputs of a batch; or, where the component is a generator, a generator of them, to be closed by who takes it.
Made: TypeAlias = Sequence[Batch] | AsyncGenerator[Batch, None]


async def outputs_of(served: Served[Processor], batch: Batch) -> Made:
    """What the component makes of `batch`. Its code runs inside the guard, also that of a generator, at each step.

    Raises:
        ComponentError: if the component fails.

    Cancellation: cancels the component at what it is doing.
    """
    if not Policy.of(served.config).is_plain:
        # Nothing is sent before all is made: what a retry makes again must not be sent twice.
        with served.at_work():
            outcome = await under_policy(served, batch, partial(_all_of, served))
        return list(chain.from_iterable(outcome.results))
    if served.workers is not None:
        with served.at_work(), served.guard():
            return await _all_of(served, batch)
    with served.guard():
        answer: Any = served.component.process(batch)
    is_generator: bool = inspect.isasyncgen(answer)
    if is_generator:
        return _steps(served, answer)
    with served.at_work(), served.guard():
        return as_batches(await answer)


async def _all_of(served: Served[Processor], batch: Batch) -> Sequence[Batch]:
    """All that the component makes of `batch`, also where it is a generator."""
    if served.workers is not None:
        return as_batches(await served.component.worked(batch, await served.workers.run(batch)))
    answer: Any = served.component.process(batch)
    if not inspect.isasyncgen(answer):
        return as_batches(await answer)
    async with driven(answer) as outputs:
        return [checked(output) async for output in outputs]


async def _steps(served: Served[Processor], answer: AsyncGenerator[Batch, None]) -> AsyncGenerator[Batch, None]:
    async with driven(answer) as outputs:
        while True:
            with served.at_work():
                output = await next_of(served, outputs)
            if output is END:
                return
            yield output


def as_batches(outputs: Outputs) -> Sequence[Batch]:
    """What `process` or `flush` returned, as a sequence.

    Raises:
        TypeError: if there is something else than batches in it.
    """
    if outputs is None:
        return ()
    return [checked(output) for output in (outputs if isinstance(outputs, Sequence) else (outputs,))]
