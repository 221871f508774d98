"""A Sink → `EventSink` and `ConsumerService`. One call is one epoch: it is committed as a whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import anyio

from flowctl_aio import _wire as wire
from flowctl_aio.component import Epoch, Sink
from flowctl_aio.errors import FlowctlError
from flowctl_aio.owner import OwnerTask, Started
from flowctl_aio.serving.event_errors import under_policy
from flowctl_aio.serving.identity import classic_identity, v1_identity
from flowctl_aio.serving.served import Served
from flowctl_aio.streams.handshake import Role
from flowctl_aio.transport.server import ClientStreamMethod, ServerCall, Services
from flowctl_aio.types import NOTHING, Dialect

ABORT_TIMEOUT = 5.0
MAX_ERRORS = 100


def sink_services(served: Served[Sink]) -> Services:
    """The services of a sink, in both dialects."""

    async def ingest(call: ServerCall) -> wire.SinkAck:
        epoch, metadata = await _serve(served, call, Dialect.CLASSIC)
        counts = {"batches": str(epoch.batches), "rows": str(epoch.rows - epoch.failed), "failed": str(epoch.failed)}
        return wire.SinkAck(success=True, error="; ".join(epoch.errors[:10]), metadata={**metadata, **counts})

    async def consume(call: ServerCall) -> wire.v1.ConsumeResponse:
        epoch, _ = await _serve(served, call, Dialect.V1)
        return wire.v1.ConsumeResponse(
            events_consumed=epoch.rows - epoch.failed, events_failed=epoch.failed, errors=epoch.errors[:MAX_ERRORS]
        )

    return {
        "flowctl.EventSink": {"Ingest": ClientStreamMethod(ingest), **classic_identity(served)},
        "flowctl.v1.ConsumerService": {"Consume": ClientStreamMethod(consume), **v1_identity(served)},
    }


async def _serve(served: Served[Sink], call: ServerCall, dialect: Dialect) -> tuple[Epoch, Mapping[str, str]]:
    epoch = Epoch()
    sink = served.component
    async with served.stream(call, Role.SINK, dialect) as stream, stream.receiving() as reader:
        try:
            while (batch := await reader.next()) is not None:
                with stream.working("consume", batch), served.at_work():
                    outcome = await under_policy(served, batch, lambda part: sink.consume(part, epoch))
                epoch.note(batch)
                epoch.failed += outcome.failed
                epoch.errors += outcome.errors[: max(MAX_ERRORS - len(epoch.errors), 0)]
            with served.at_work(), served.guard():
                metadata = {str(key): str(value) for key, value in (await sink.commit(epoch) or NOTHING).items()}
        except BaseException:
            # No end marker, a fault, or a client that is gone: nothing of this epoch may stay.
            await _abort(served, epoch)
            raise
    return epoch, metadata


async def _abort(served: Served[Sink], epoch: Epoch) -> None:
    """Have the sink forget an epoch. Faults in that are reported; the client hears of what came before.

    In a task of its own: grpc may cancel a handler more than once, and a shielded scope does not hold that off.
    """

    async def abort(started: Started) -> None:
        with anyio.move_on_after(ABORT_TIMEOUT), suppress(FlowctlError), served.guard():
            await served.component.abort(epoch)

    task = OwnerTask(abort, name=f"flowctl_aio abort in {served.info.component_id}")
    task.start_nowait()
    with anyio.CancelScope(shield=True):
        while task.is_running():
            with suppress(asyncio.CancelledError):
                await task.join()
