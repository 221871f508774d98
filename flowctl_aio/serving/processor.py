"""A Processor → `EventProcessor` and `ProcessorService`."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from flowctl_aio.batches import Batch
from flowctl_aio.component import Outputs, Processor
from flowctl_aio.driven import driven
from flowctl_aio.serving.event_errors import under_policy
from flowctl_aio.serving.identity import classic_identity, v1_identity
from flowctl_aio.serving.policy import Policy
from flowctl_aio.serving.served import END, Served, ServedStream, checked, next_of
from flowctl_aio.streams.handshake import Role
from flowctl_aio.transport.server import BidiMethod, ServerCall, Services
from flowctl_aio.types import Dialect


def processor_services(served: Served[Processor]) -> Services:
    """The services of a processor, in both dialects."""

    async def process_classic(call: ServerCall) -> None:
        await _serve(served, call, Dialect.CLASSIC)

    async def process_v1(call: ServerCall) -> None:
        await _serve(served, call, Dialect.V1)

    return {
        "flowctl.EventProcessor": {"Process": BidiMethod(process_classic), **classic_identity(served)},
        "flowctl.v1.ProcessorService": {"Process": BidiMethod(process_v1), **v1_identity(served)},
    }


async def _serve(served: Served[Processor], call: ServerCall, dialect: Dialect) -> None:
    async with served.stream(call, Role.PROCESSOR, dialect) as stream, stream.receiving() as reader:
        while (batch := await reader.next()) is not None:
            with stream.working("process", batch):
                await _process(served, batch, stream)
        with served.guard():
            rest = as_batches(await served.component.flush())
        for output in rest:
            await stream.writer.send(output)
        await stream.writer.end()


async def _process(served: Served[Processor], batch: Batch, stream: ServedStream) -> None:
    if not Policy.of(served.config).is_plain:
        # Nothing is sent before all is made: what a retry makes again must not be sent twice.
        with served.at_work():
            outcome = await under_policy(served, batch, partial(made_of, served.component))
        for output in chain.from_iterable(outcome.results):
            await stream.writer.send(output)
        return
    with served.guard():
        answer: Any = served.component.process(batch)
    is_generator: bool = inspect.isasyncgen(answer)
    if not is_generator:
        with served.at_work(), served.guard():
            returned = as_batches(await answer)
        for output in returned:
            await stream.writer.send(output)
        return
    outputs: AsyncIterator[Batch] = answer
    async with driven(outputs) as iterator:
        while True:
            with served.at_work():
                output = await next_of(served, iterator)
            if output is END:
                return
            await stream.writer.send(output)


async def made_of(component: Processor, batch: Batch) -> Sequence[Batch]:
    """All that `process` makes of a batch, also where it is a generator.

    Raises:
        Exception: whatever the component raises.

    Cancellation: cancels the component.
    """
    answer: Any = component.process(batch)
    if not inspect.isasyncgen(answer):
        return as_batches(await answer)
    async with driven(answer) as outputs:
        return [checked(output) async for output in outputs]


def as_batches(outputs: Outputs) -> Sequence[Batch]:
    """What `process` or `flush` returned, as a sequence.

    Raises:
        TypeError: if there is something else than batches in it.
    """
    if outputs is None:
        return ()
    return [checked(output) for output in (outputs if isinstance(outputs, Sequence) else (outputs,))]
