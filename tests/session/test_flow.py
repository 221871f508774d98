"""Flow control and health as they come out of real streams: who is behind says so, and nothing is lost by it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

import anyio
import pytest

from flowctl_aio import Event, EventBatch, FlowctlSession, Processor, ServiceInfo, ServiceType, Sink, Source
from flowctl_aio.batches import LedgerBatch
from flowctl_aio.errors import PeerError
from flowctl_aio.types import Dialect, Health, RawLedger

from .conftest import INFO, Numbers

pytestmark = pytest.mark.anyio
ROOM = 4  # batches that may wait, in these tests


def events(number: int, rows: int = 1) -> EventBatch:
    return EventBatch.from_events([Event("E", b"%d" % number)] * rows)


class Gate:
    """What a component stands before: opened once, or for one batch after the other."""

    def __init__(self) -> None:
        self.is_open = anyio.Event()
        self.reached = anyio.Event()

    async def passed(self) -> None:
        self.reached.set()
        await self.is_open.wait()


class SlowSink(Sink):
    component_id, inputs = "slow", ("E",)

    def __init__(self) -> None:
        self.gate, self.got = Gate(), []

    async def consume(self, batch, epoch):
        await self.gate.passed()
        self.got += [event.payload for event in batch]


class SlowProcessor(Processor):
    component_id, inputs, outputs = "slow", ("E",), ("E",)

    def __init__(self, fault: Exception | None = None) -> None:
        self.gate, self.fault = Gate(), fault

    async def process(self, batch):
        await self.gate.passed()
        if self.fault is not None:
            raise self.fault
        return batch


class Ledgers(Source):
    component_id, outputs = "ledgers", ("L",)

    async def stream(self, request):
        for sequence in range(request.start, request.end + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"xdr")] * 10)


@pytest.fixture
def narrow(config):
    return replace(config, max_inflight=ROOM)


async def listen(session: FlowctlSession, heard: list[bool], *, listening: anyio.Event) -> None:
    """Note each signal until back-pressure has begun and ended."""
    async with session.flow.subscribe() as signals:
        listening.set()
        async for signal in signals:
            assert signal.service_id == session.info.component_id
            heard.append(signal.is_active)
            if not signal.is_active:
                return


async def test_a_sink_that_is_behind_says_so_to_everybody_and_takes_all_in_order(narrow, driver, until):
    component = SlowSink()
    heard: list[list[bool]] = [[], []]
    async with FlowctlSession(component, narrow) as session, anyio.create_task_group() as group:
        for one in heard:
            listening = anyio.Event()
            group.start_soon(lambda one=one, told=listening: listen(session, one, listening=told))
            await listening.wait()
        async with driver.sink(session.endpoint) as sink:
            for number in range(30):
                await sink.send(events(number))
            await until(lambda: session.flow.load > 0.8)
            assert session.flow.is_backpressure_active
            numbers = session.metrics()
            assert numbers["inflight"] > 0.8 * numbers["max_inflight"]
            assert numbers["inflight_utilization"] > 0.8
            component.gate.is_open.set()
            await sink.flush()
        assert component.got == [b"%d" % number for number in range(30)]
        await until(lambda: session.flow.inflight("slow") == 0)
    assert heard == [[True, False], [True, False]]


@pytest.mark.parametrize("dialect", ["v1", "classic"])
async def test_a_processor_that_is_behind_says_so_and_nothing_is_lost_or_overtaken(narrow, driver, until, dialect):
    component = SlowProcessor()
    heard: list[bool] = []

    async def inputs():
        for number in range(50):
            yield events(number)

    async with FlowctlSession(component, narrow) as session, anyio.create_task_group() as group:
        listening = anyio.Event()
        group.start_soon(lambda: listen(session, heard, listening=listening))
        await listening.wait()
        async with (
            driver.processor(session.endpoint, dialect=Dialect(dialect)) as processor,
            processor.stream(inputs()) as stream,
        ):
            await until(lambda: session.flow.is_backpressure_active)
            component.gate.is_open.set()
            got = [event.payload async for batch in stream for event in batch]
        assert got == [b"%d" % number for number in range(50)]
        await until(lambda: session.flow.inflight("slow") == 0)
    assert heard == [True, False]


async def test_a_plane_outage_does_not_hide_back_pressure(plane, narrow, driver, until):
    component = SlowSink()
    async with FlowctlSession(component, narrow) as session, driver.sink(session.endpoint) as sink:
        await plane.aclose()
        for number in range(10):
            await sink.send(events(number))
        await until(lambda: session.flow.is_backpressure_active)
        component.gate.is_open.set()
        await sink.flush()
        await until(lambda: not session.flow.is_backpressure_active)


@pytest.mark.parametrize("end", ["it ends", "it fails", "it is cancelled", "the client is gone"])
async def test_however_a_stream_ends_nothing_of_it_stays_in_flight(narrow, driver, until, end):
    component = SlowProcessor(ValueError("no") if end == "it fails" else None)

    async def inputs():
        for number in range(10):
            yield events(number)
        if end != "it ends":
            await anyio.sleep_forever()

    async with FlowctlSession(component, narrow) as session, driver.processor(session.endpoint) as processor:
        with suppress(PeerError):
            async with processor.stream(inputs()) as stream:
                await component.gate.reached.wait()
                await until(lambda: session.metrics()["inflight"] == ROOM)
                assert session.flow.inflight("slow") == session.metrics()["inflight"]
                if end == "it is cancelled":
                    with anyio.move_on_after(0):
                        await anext(stream)
                elif end != "the client is gone":
                    component.gate.is_open.set()
                    assert [batch async for batch in stream]
        await until(lambda: session.metrics()["streams"] == 0)
        numbers = session.metrics()
        assert (numbers["inflight"], numbers["queue_depth"], session.flow.inflight("slow")) == (0, 0, 0)
        assert not session.flow.is_backpressure_active


async def test_a_source_under_back_pressure_gives_all_in_order(config, driver):
    async with FlowctlSession(Numbers(), config) as session, driver.source(session.endpoint) as source:
        session.flow.set_limit("somebody else", 10)
        session.flow.set_inflight("somebody else", 10)
        assert session.flow.throttle_rate == 0.5
        got: list[int] = []
        async with source.stream(1, 100) as stream:
            async for batch in stream:
                got += [ledger.sequence for ledger in batch]
                if len(got) % 20 == 0:  # it comes and goes while the stream is under way
                    session.flow.set_inflight("somebody else", 10 - session.flow.inflight("somebody else"))
        assert got == [*range(1, 101)]


async def test_the_load_of_the_pipeline_is_that_of_all_whose_beats_tell_it(plane, config, until):
    told = {"inflight": 95, "max_inflight": 100}
    other = ServiceInfo("other", ServiceType.SINK, input_event_types=("E",))
    wide = replace(config, flow_scope="pipeline", watch_interval=0.05, query_max_age=0)
    async with (
        FlowctlSession(INFO, wide) as session,
        FlowctlSession(INFO, replace(config, component_id="alone")) as alone,
        FlowctlSession(other, config, metrics=lambda: told),
    ):
        async with session.flow.subscribe() as signals:
            with anyio.fail_after(5):
                begin = await anext(signals)
                assert (begin.is_active, begin.load, begin.rate) == (True, 0.95, 0.5)
                assert session.flow.service_loads() == {"other": 0.95}
                told["inflight"] = 5
                end = await anext(signals)
                assert (end.is_active, end.load, end.rate) == (False, 0.05, 1.0)
        assert alone.flow.service_loads() == {}


async def test_who_leaves_the_pipeline_takes_its_load_along(plane, config, until):
    other = ServiceInfo("other", ServiceType.SINK)
    wide = replace(config, flow_scope="pipeline", watch_interval=0.05, query_max_age=0)
    async with FlowctlSession(INFO, wide) as session:
        async with FlowctlSession(other, config, metrics=lambda: {"inflight": 95, "max_inflight": 100}):
            await until(lambda: session.flow.is_backpressure_active)
        await until(lambda: not session.flow.is_backpressure_active)
        assert session.flow.service_loads() == {}


# What the measurements say of the health


async def test_a_component_that_is_stuck_at_a_batch_degrades_and_heals(plane, config, driver):
    component = SlowSink()
    config = replace(config, stall_timeout=0.2)
    async with FlowctlSession(component, config) as session, driver.sink(session.endpoint) as sink:
        await sink.send(events(1))
        with anyio.fail_after(5):
            await plane.wait_for_service("slow", Health.DEGRADED)
            [reason] = session._life.sight.view.why_not()
            assert reason.startswith("one batch has been under way for ")
            component.gate.is_open.set()
            await sink.flush()
            await plane.wait_for_service("slow", Health.HEALTHY)


async def test_a_component_that_fails_at_most_batches_degrades_and_heals(plane, config, driver):
    component = SlowProcessor(ValueError("no"))
    component.gate.is_open.set()

    async def one():
        yield events(1)

    async def work(processor, times: int) -> None:
        for _ in range(times):
            with suppress(PeerError):
                async with processor.stream(one()) as stream:
                    assert [batch async for batch in stream]

    async with FlowctlSession(component, config) as session, driver.processor(session.endpoint) as processor:
        await work(processor, 9)
        assert session.read_health() is Health.HEALTHY  # too few to say
        await work(processor, 3)
        with anyio.fail_after(5):
            await plane.wait_for_service("slow", Health.DEGRADED)
            [reason] = session._life.sight.view.why_not()
            assert reason == "12 of the last 12 batches failed"
            component.fault = None
            await work(processor, 20)
            await plane.wait_for_service("slow", Health.HEALTHY)
        assert session.metrics()["errors_total"] == 12


async def test_a_loop_that_was_blocked_degrades_and_heals(plane, config):
    async with FlowctlSession(INFO, replace(config, loop_lag_timeout=0.3)) as session:
        session._life.pulse.lag._window = 1.0  # else it is remembered for ten seconds
        with anyio.fail_after(5):
            await plane.wait_for_service("svc", Health.HEALTHY)
            time.sleep(1)  # noqa: ASYNC251 - the fault under test
            await plane.wait_for_service("svc", Health.DEGRADED)
            [reason] = session._life.sight.view.why_not()
            assert reason.startswith("the event loop was blocked for ")
            await plane.wait_for_service("svc", Health.HEALTHY)


# The standard metrics of each kind


async def test_before_anything_is_served_little_is_known(config):
    async with FlowctlSession(Ledgers(), config) as session:
        numbers = session.metrics()
        assert numbers["uptime_seconds"] > 0
        assert numbers["service_status"] == 1
        assert numbers["memory_usage_bytes"] > 1_000_000
        assert numbers["events_per_second"] == numbers["processing_duration_seconds"] == 0
        assert not {"seconds_since_last_processed", "processing_latency_ms"} & set(numbers)


@pytest.mark.parametrize(("health", "status"), [(Health.DEGRADED, 1), (Health.UNHEALTHY, 0)])
async def test_the_status_is_that_of_the_probe(config, health, status):
    class Probed(Ledgers):
        def health(self):
            return health

    async with FlowctlSession(Probed(), config) as session:
        assert session.metrics()["service_status"] == status


async def test_who_stops_is_not_up(config):
    async with FlowctlSession(Ledgers(), config) as session:
        await session.drain()
        assert session.metrics()["service_status"] == 0


async def test_the_numbers_of_a_source_reach_the_plane(plane, config, driver):
    async with FlowctlSession(Ledgers(), config) as session, driver.source(session.endpoint) as source:
        session.metrics()
        async with source.stream(1, 20) as stream:
            assert len([batch async for batch in stream]) == 20
        with anyio.fail_after(5):
            await plane.wait_until(lambda: plane.services()[0].metrics.get("streams_total") == 1)
            await plane.wait_until(lambda: plane.services()[0].metrics.get("events_per_second", 0) > 0)
        numbers = plane.services()[0].metrics
    assert numbers["ledgers_processed_total"] == numbers["events_processed_total"] == 200
    assert numbers["ledgers_per_second"] == numbers["events_per_second"]
    assert (numbers["rpc_requests_total"], numbers["streams"], numbers["errors_total"]) == (1, 0, 0)
    assert (numbers["batches_out_total"], numbers["rows_out_total"]) == (20, 200)
    assert numbers["processing_duration_seconds"] > 0
    assert 0 <= numbers["seconds_since_last_processed"] < 60


async def test_what_waits_and_what_is_worked_on_is_in_flight(plane, config, driver, until):
    component = SlowProcessor()

    async def inputs():
        for number in range(4):
            yield events(number, rows=2)

    async with FlowctlSession(component, config) as session, driver.processor(session.endpoint) as processor:
        async with processor.stream(inputs()) as stream:
            # One is worked on; three and the end marker wait.
            await until(lambda: session.metrics()["queue_depth"] == 4)
            numbers = session.metrics()
            assert (numbers["inflight"], numbers["current_inflight"], numbers["max_inflight"]) == (5, 5, 16)
            component.gate.is_open.set()
            assert len([batch async for batch in stream]) == 4
        await until(lambda: session.metrics()["streams"] == 0)
        with anyio.fail_after(5):
            await plane.wait_until(lambda: plane.services()[0].metrics.get("events_processed_total") == 8)
            await plane.wait_until(lambda: plane.services()[0].metrics.get("inflight") == 0)
        numbers = plane.services()[0].metrics
    assert numbers["compute_operations_total"] == 4
    assert numbers["queue_depth"] == numbers["inflight"] == numbers["current_inflight"] == 0
    assert 0 < numbers["processing_latency_ms"] < 60_000
    assert numbers["processing_duration_seconds"] > 0
    assert 0 <= numbers["seconds_since_last_processed"] < 60
    assert numbers["events_per_second"] > 0


async def test_what_a_sink_wrote_only_the_sink_knows(config, driver, until):
    class Table(SlowSink):
        own: dict[str, float] = {}  # noqa: RUF012 - replaced, not changed

        def metrics(self):
            return self.own

    component = Table()
    component.gate.is_open.set()
    async with FlowctlSession(component, config) as session, driver.sink(session.endpoint) as sink:
        await sink.send(events(1, rows=3))
        await sink.flush()
        assert session.metrics()["events_processed_total"] == 3
        assert not {"files_written_total", "bytes_written_total", "compression_ratio"} & set(session.metrics())
        component.own = {"files_written_total": 1, "bytes_written_total": 100, "websocket_connections": 2}
        numbers = session.metrics()
        assert (numbers["files_written_total"], numbers["websocket_connections"]) == (1, 2)
        assert numbers["compression_ratio"] == numbers["bytes_in_total"] / 100
