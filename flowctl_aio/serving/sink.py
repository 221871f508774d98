"""A Sink → `EventSink` and `ConsumerService`. One call is one epoch: it is committed as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from flowctl_aio import _wire as wire
from flowctl_aio.component import Epoch, Sink
from flowctl_aio.serving.identity import classic_identity, v1_identity
from flowctl_aio.serving.served import Served
from flowctl_aio.streams.handshake import Role
from flowctl_aio.transport.server import ClientStreamMethod, ServerCall, Services
from flowctl_aio.types import NOTHING, Dialect

ABORT_TIMEOUT = 5.0


def sink_services(served: Served[Sink]) -> Services:
    """The services of a sink, in both dialects."""

    async def ingest(call: ServerCall) -> wire.SinkAck:
        epoch, metadata = await _serve(served, call, Dialect.CLASSIC)
        counts = {"batches": str(epoch.batches), "rows": str(epoch.rows - epoch.failed), "failed": str(epoch.failed)}
        return wire.SinkAck(success=True, error="; ".join(epoch.errors[:10]), metadata={**metadata, **counts})

    async def consume(call: ServerCall) -> wire.v1.ConsumeResponse:
        epoch, _ = await _serve(served, call, Dialect.V1)
        return wire.v1.ConsumeResponse(
            events_consumed=epoch.rows - epoch.failed, events_failed=epoch.failed, errors=epoch.errors[:100]
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
                with served.guard():
                    await sink.consume(batch, epoch)
                epoch.note(batch)
            with served.guard():
                metadata = await sink.commit(epoch)
        except BaseException:
            # No end marker, a fault, or a client that is gone: nothing of this epoch may stay.
            with anyio.move_on_after(ABORT_TIMEOUT, shield=True), served.guard():
                await sink.abort(epoch)
            raise
    return epoch, metadata or NOTHING
