"""A Processor → `EventProcessor` and `ProcessorService`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from flowctl_aio.batches import Batch
from flowctl_aio.component import Order, Processor
from flowctl_aio.driven import driven
from flowctl_aio.errors import ConfigError
from flowctl_aio.serving.identity import classic_identity, v1_identity
from flowctl_aio.serving.lanes import Lanes
from flowctl_aio.serving.outputs import as_batches, outputs_of
from flowctl_aio.serving.processes import processes_of
from flowctl_aio.serving.served import Served, ServedStream
from flowctl_aio.streams.handshake import Role
from flowctl_aio.transport.server import BidiMethod, ServerCall, Services
from flowctl_aio.types import Dialect


def processor_services(served: Served[Processor]) -> Services:
    """The services of a processor, in both dialects.

    Raises:
        ConfigError: if the processor asks for a concurrency or an order that there is not.
    """
    width = _width_of(served.component)

    async def process_classic(call: ServerCall) -> None:
        await _serve(served, call, Dialect.CLASSIC, width)

    async def process_v1(call: ServerCall) -> None:
        await _serve(served, call, Dialect.V1, width)

    return {
        "flowctl.EventProcessor": {"Process": BidiMethod(process_classic), **classic_identity(served)},
        "flowctl.v1.ProcessorService": {"Process": BidiMethod(process_v1), **v1_identity(served)},
    }


def _width_of(component: Processor) -> int:
    name, problems = type(component).__name__, []
    if not isinstance(component.concurrency, int) or component.concurrency < 1:
        problems.append(f"the concurrency of {name} is a whole number from 1, not {component.concurrency!r}")
    if component.order not in get_args(Order):
        problems.append(f"the order of {name} is one of {', '.join(get_args(Order))}, not {component.order!r}")
    if problems:
        raise ConfigError(*problems)
    return max(component.concurrency, processes_of(component))


async def _serve(served: Served[Processor], call: ServerCall, dialect: Dialect, width: int) -> None:
    async with served.stream(call, Role.PROCESSOR, dialect) as stream, stream.receiving() as reader:
        if width > 1:
            await Lanes(served, stream, width=width).run(reader)
        else:
            while (batch := await reader.next()) is not None:
                with stream.working("process", batch):
                    await _process(served, batch, stream)
        with served.guard():
            rest = as_batches(await served.component.flush())
        for output in rest:
            await stream.writer.send(output)
        await stream.writer.end()


async def _process(served: Served[Processor], batch: Batch, stream: ServedStream) -> None:
    made = await outputs_of(served, batch)
    if isinstance(made, Sequence):
        for output in made:
            await stream.writer.send(output)
        return
    async with driven(made) as outputs:
        async for output in outputs:
            await stream.writer.send(output)
