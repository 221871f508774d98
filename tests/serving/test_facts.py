"""What a component did with real streams is told in the standard metrics, and what it did not do is not."""

from __future__ import annotations

import math

import anyio
import pytest

from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.component import Processor, Sink, Source
from flowctl_aio.observe.lag import LoopLag
from flowctl_aio.observe.standard import standard_metrics
from flowctl_aio.serving.facts import FactFinder
from flowctl_aio.types import Event, Health, RawLedger, ServiceType

pytestmark = pytest.mark.anyio


class Ledgers(Source):
    async def stream(self, request):
        for sequence in range(request.start, request.end + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"xdr")] * 10)


class Gated(Processor):
    """Works on a batch until its gate opens."""

    def __init__(self) -> None:
        self.gate, self.working = anyio.Event(), anyio.Event()

    async def process(self, batch):
        self.working.set()
        await self.gate.wait()
        return batch


class Table(Sink):
    async def consume(self, batch, epoch): ...


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def facts(clock) -> FactFinder:
    return FactFinder(lag=LoopLag("x"), clock=clock)


def events(rows: int) -> EventBatch:
    return EventBatch.from_events([Event("E", b"x")] * rows)


async def test_before_anything_is_served_little_is_known(facts, clock):
    clock.now += 5
    numbers = standard_metrics(ServiceType.SOURCE, facts.read(Health.HEALTHY))
    assert numbers["uptime_seconds"] == 5.0
    assert numbers["service_status"] == 1.0
    assert numbers["memory_usage_bytes"] > 1_000_000
    assert "seconds_since_last_processed" not in numbers
    assert "events_per_second" not in numbers


@pytest.mark.parametrize(("health", "status"), [(Health.DEGRADED, 1), (Health.UNHEALTHY, 0), (Health.STOPPING, 0)])
async def test_the_status_is_that_of_the_health(facts, health, status):
    assert standard_metrics(ServiceType.SINK, facts.read(health))["service_status"] == status


async def test_a_sources_pace_is_measured(serve, driver, facts, clock):
    session = await serve(Ledgers())
    facts.served = session._served
    facts.read(Health.HEALTHY)
    async with driver.source(session.endpoint) as source, source.stream(1, 20) as stream:
        assert len([batch async for batch in stream]) == 20
    clock.now += 10
    numbers = standard_metrics(ServiceType.SOURCE, facts.read(Health.HEALTHY))
    assert numbers["ledgers_processed_total"] == numbers["events_processed_total"] == 200
    assert numbers["ledgers_per_second"] == numbers["events_per_second"] == 20.0
    assert numbers["rpc_requests_total"] == 1
    assert numbers["processing_duration_seconds"] > 0
    assert 0 < numbers["processing_latency_ms"] < 60_000
    assert numbers["seconds_since_last_processed"] >= 0
    assert math.isclose(numbers["processing_latency_ms"] / 1000 * 20, numbers["processing_duration_seconds"])


async def test_what_waits_and_what_is_worked_on_is_in_flight(serve, driver, facts, until):
    component = Gated()
    session = await serve(component)
    facts.served = session._served

    async def inputs():
        for _ in range(4):
            yield events(2)

    async with driver.processor(session.endpoint) as processor, processor.stream(inputs()) as stream:

        async def read() -> None:
            assert len([batch async for batch in stream]) == 4

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await component.working.wait()
            # One is worked on; three and the end marker wait.
            await until(lambda: facts.read(Health.HEALTHY).queue_depth == 4)
            numbers = standard_metrics(ServiceType.PROCESSOR, facts.read(Health.HEALTHY))
            assert (numbers["inflight"], numbers["current_inflight"], numbers["max_inflight"]) == (5, 5, 16)
            component.gate.set()
    await until(lambda: session._served.traffic.streams == 0)
    numbers = standard_metrics(ServiceType.PROCESSOR, facts.read(Health.HEALTHY))
    assert (numbers["inflight"], numbers["queue_depth"]) == (0, 0)
    assert (numbers["compute_operations_total"], numbers["events_processed_total"]) == (4, 8)


async def test_what_a_sink_wrote_only_the_sink_knows(serve, driver, facts):
    session = await serve(Table())
    facts.served = session._served
    async with driver.sink(session.endpoint) as sink:
        await sink.send(events(3))
        await sink.flush()
    assert "files_written_total" not in standard_metrics(ServiceType.SINK, facts.read(Health.HEALTHY))
    own = {"files_written_total": 1.0, "bytes_written_total": 100.0}
    numbers = standard_metrics(ServiceType.SINK, facts.read(Health.HEALTHY, own))
    assert numbers["files_written_total"] == 1
    assert numbers["compression_ratio"] == numbers["bytes_in_total"] / 100
