"""Never run: mypy reads it as a user's strictly typed program would be written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import assert_type

from flowctl_aio import (
    Ack,
    Added,
    Admission,
    Batch,
    Changed,
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
    Removed,
    ServerTls,
    ServiceInfo,
    ServiceStatus,
    ServiceType,
    Sink,
    Snapshot,
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


class Keyed(Returns):
    concurrency, order = 4, "completion"

    def key(self, batch: Batch) -> str:
        return batch.event_type


class Computes(Processor):
    processes = 2

    def work(self, batch: Batch) -> tuple[EventBatch, int]:
        return EventBatch.from_events([]), len(batch)

    async def worked(self, batch: Batch, answer: tuple[EventBatch, int]) -> EventBatch:
        return answer[0]


class Table(Sink):
    async def consume(self, batch: Batch, epoch: Epoch) -> None:
        assert_type(epoch.rows, int)

    async def commit(self, epoch: Epoch) -> Mapping[str, str] | None:
        return {"rows": str(epoch.rows)}


class Numbers:
    def get_metrics(self) -> Mapping[str, float]:
        return {"queue_depth": 3}


class AsyncNumbers:
    async def get_metrics(self) -> Mapping[str, float]:
        return {"queue_depth": 3}


async def numbers() -> Mapping[str, float]:
    return {"a": 1.0}


async def report(every: float) -> None: ...


async def look_around(session: FlowctlSession) -> None:
    assert_type(await session.get_service_status(), ServiceStatus)
    for candidate in await session.discover(ServiceType.SOURCE, event_type="example.Ledger"):
        assert_type(candidate.status, ServiceStatus)
    async with session.watch(interval=5) as watch:
        async for news in watch:
            match news:
                case Snapshot(services):
                    assert_type(services, tuple[ServiceStatus, ...])
                case Added(status) | Removed(status):
                    assert_type(status, ServiceStatus)
                case Changed(_, after, fields):
                    assert_type(after, ServiceStatus)
                    assert_type(fields, tuple[str, ...])
    assert_type((await session.topology()).to_mermaid(), str)
    async for change in session.changes():
        assert_type(change.after, State)
    async with session.run("ledgers", config="") as run, session.chunk(1, 2) as chunk:
        run.counts.events_processed += 1
        await chunk.phase("extract")
    async with session.flow.subscribe() as signals:
        async for signal in signals:
            assert_type(signal.load, float)
    await session.drain()
    await session.aclose()


async def guarded() -> None:
    tls, admission = ServerTls("cert.pem", "key.pem"), Admission(frozenset({"token"}))
    async with EmbeddedControlPlane(tls=tls, admission=admission, db="plane.db") as plane:
        config = FlowctlConfig.load("ttp_arrow_processor", endpoint=plane.endpoint, tls_ca="ca.pem", token="token")
        async with FlowctlSession(Ledgers(), config, metrics=numbers) as session:
            await look_around(session)
        async with FlowctlSession(Ledgers(), config, metrics=AsyncNumbers()):
            pass


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
