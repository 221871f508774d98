"""Never run: mypy reads it as a user's strictly typed program would be written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import assert_type

from flowctl_aio import (
    Ack,
    Batch,
    EmbeddedControlPlane,
    Epoch,
    Event,
    EventBatch,
    FlowctlConfig,
    FlowctlSession,
    LedgerBatch,
    LedgerRange,
    Pipeline,
    Processor,
    Progress,
    RawLedger,
    ServiceInfo,
    ServiceStatus,
    ServiceType,
    Sink,
    Source,
    State,
    StreamRequest,
)


class Ledgers(Source):
    outputs = ("example.Ledger",)

    async def stream(self, request: StreamRequest) -> AsyncIterator[LedgerBatch]:
        yield LedgerBatch.from_ledgers([RawLedger(request.start or 2, b"")])


class Returns(Processor):
    async def process(self, batch: Batch) -> EventBatch | None:
        return EventBatch.from_events([Event("example.Event", b"")]) if len(batch) else None


class Yields(Processor):
    async def process(self, batch: Batch) -> AsyncIterator[EventBatch]:
        yield EventBatch.from_events([])


class Table(Sink):
    async def consume(self, batch: Batch, epoch: Epoch) -> None:
        assert_type(epoch.rows, int)

    async def commit(self, epoch: Epoch) -> Mapping[str, str] | None:
        return {"rows": str(epoch.rows)}


class Numbers:
    def get_metrics(self) -> Mapping[str, float]:
        return {"queue_depth": 3}


async def report(every: float) -> None: ...


async def main() -> None:
    async with EmbeddedControlPlane() as plane:
        config = FlowctlConfig(endpoint=plane.endpoint)
        async with FlowctlSession(Ledgers(), config, metrics=Numbers()) as session:
            assert_type(session, FlowctlSession)
            assert_type(session.state, State)
            session.start_soon(report, 1.0)
            assert_type(await session.list_services(), list[ServiceStatus])
            async with session.source() as source, session.sink("localhost:1") as sink:
                async for batch in source.stream(1, 2):
                    assert_type(batch, Batch)
                    await sink.send(batch)
                assert_type(await sink.flush(), Ack | None)
        info = ServiceInfo("driver", ServiceType.PIPELINE)
        async with FlowctlSession(info, config, metrics=lambda: {"a": 1.0}) as session:
            assert_type(await Pipeline(session).run(LedgerRange(1, 2)), Progress)
