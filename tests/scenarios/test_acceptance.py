"""The fifteen things that a service must stand at a real flowctl, at one with its quirks and at an ideal one."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import grpc
import grpc.aio
import pytest
from anyio import to_thread

from flowctl_aio import (
    EmbeddedControlPlane,
    Event,
    EventBatch,
    FlowctlConfig,
    FlowctlSession,
    Health,
    Processor,
    ServiceInfo,
    ServiceType,
    Sink,
    State,
)
from flowctl_aio import _wire as wire
from flowctl_aio.config.definition.durations import parse_duration
from flowctl_aio.errors import ConfigError
from flowctl_aio.transport.address import parse_endpoint
from flowctl_aio.transport.status import Refused

pytestmark = pytest.mark.anyio

INTERVAL = 1.0
INFO = ServiceInfo("svc", ServiceType.PROCESSOR, input_event_types=("L",), output_event_types=("E",))
BOTH = pytest.mark.parametrize("quirks", [None, "flowctl"], ids=["ideal", "quirks"])
DIALECTS = pytest.mark.parametrize("dialect", ["v1", "classic"])
QUICK = {"heartbeat_ttl": 0.3, "janitor_interval": 0.05}


def config_of(plane: EmbeddedControlPlane, **settings) -> FlowctlConfig:
    return FlowctlConfig(**{"endpoint": plane.endpoint, "heartbeat_interval": 0.1, "drain_timeout": 2.0, **settings})


def ids(plane: EmbeddedControlPlane) -> list[str]:
    return [status.service_id for status in plane.services()]


@asynccontextmanager
async def raw_channel(endpoint: str) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    big = [("grpc.max_receive_message_length", 50 << 20), ("grpc.max_send_message_length", 50 << 20)]
    async with grpc.aio.insecure_channel(endpoint, options=[*options, *big]) as channel:
        yield channel


@BOTH
@DIALECTS
async def test_01_a_plane_that_restarts_knows_the_service_again_within_an_interval(quirks, dialect):
    async with EmbeddedControlPlane(quirks=quirks) as first:
        session = FlowctlSession(INFO, config_of(first, heartbeat_interval=INTERVAL, dialect=dialect))
        await session.__aenter__()
        await first.wait_for_service("svc")
    try:
        async with EmbeddedControlPlane(first.endpoint, quirks=quirks) as second:
            # Within an interval, and the second that a connection may take to be tried again.
            with anyio.fail_after(INTERVAL + 1.0):
                await second.wait_for_service("svc", Health.HEALTHY)
            await session.wait_for(State.REGISTERED, timeout=5)
            await session.aclose()
            assert ids(second) == []
    finally:
        await session.aclose()


@BOTH
@DIALECTS
async def test_02_an_entry_that_the_janitor_marked_recovers(quirks, dialect, until):
    async with EmbeddedControlPlane(quirks=quirks, **QUICK) as plane:
        config = config_of(plane, dialect=dialect, lease_timeout=0.3, heartbeat_timeout=0.2)
        async with FlowctlSession(INFO, config):
            held = anyio.Event()

            async def hold(method, request):
                await held.wait()

            plane.gate = hold  # no beat comes through any more
            with anyio.fail_after(5):
                await plane.wait_for_service("svc", Health.UNHEALTHY)
                plane.gate = None
                held.set()
                await plane.wait_for_service("svc", Health.HEALTHY)


@DIALECTS
async def test_03_not_found_registers_again_and_any_other_unknown_does_not(dialect, until):
    async with (
        EmbeddedControlPlane(quirks="flowctl") as plane,
        FlowctlSession(INFO, config_of(plane, dialect=dialect)) as session,
    ):
        refusals = [Refused("UNKNOWN", "disk full")]

        async def refuse(method, request):
            if method.endswith("/Heartbeat") and refusals:
                raise refusals.pop()

        plane.gate = refuse
        await until(lambda: session.metrics()["heartbeats_rejected_total"] == 1)
        await until(lambda: session.metrics()["heartbeats_total"] >= 4)
        assert session.metrics()["registrations_total"] == 1
        plane.forget("svc")
        with anyio.fail_after(5):
            await plane.wait_for_service("svc")
        await until(lambda: session.metrics()["registrations_total"] == 2)
        assert session.state is State.REGISTERED


@BOTH
async def test_04_a_plane_that_comes_late_gets_the_service(quirks, free_port):
    config = FlowctlConfig(endpoint=f"127.0.0.1:{free_port}", heartbeat_interval=0.2)
    async with FlowctlSession(INFO, config) as session:
        assert session.state is State.DEGRADED
        assert session.service_id.startswith("sim-SERVICE_TYPE_PROCESSOR-")
        await anyio.sleep(3)  # long enough for the pauses between two attempts to have reached their longest
        async with EmbeddedControlPlane(config.endpoint, quirks=quirks) as plane:
            await session.wait_for(State.REGISTERED, timeout=2)
            assert (session.service_id, ids(plane)) == ("svc", ["svc"])
            await session.aclose()


@BOTH
@DIALECTS
async def test_05_after_the_end_no_entry_is_left(quirks, dialect):
    async with EmbeddedControlPlane(quirks=quirks) as plane:
        async with FlowctlSession(INFO, config_of(plane, dialect=dialect)):
            await plane.wait_for_service("svc")
        assert ids(plane) == []


@BOTH
async def test_06_and_15_a_double_signal_ends_cleanly_and_is_unregistered_in_two_seconds(cli, quirks):
    async with EmbeddedControlPlane(quirks=quirks) as plane:
        process = cli.start("processor", "--network", "testnet", "--plane", plane.endpoint)
        with anyio.fail_after(30):
            assert "ready" in json.loads(await to_thread.run_sync(process.stdout.readline))
            await plane.wait_for_service("ttp-arrow-processor")
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            with anyio.fail_after(2):
                await plane.wait_until(lambda: ids(plane) == [])
            assert await to_thread.run_sync(process.wait) == 0


class OneBad(Sink):
    """Takes all but one event, as a sink with an error policy of its own does."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def consume(self, batch, epoch):
        for event in batch:
            if event.payload == b"bad":
                epoch.failed += 1
                epoch.errors.append("bad: cannot be read")
            else:
                self.taken.append(event.payload)


async def test_07_a_sink_with_one_failing_event_counts_it_and_goes_on(serve):
    sink = OneBad()
    session = await serve(sink)
    events = [wire.v1.Event(id=str(n), type="E", payload=b"bad" if n == 2 else b"%d" % n) for n in range(5)]
    async with raw_channel(session.endpoint) as channel:
        answer = await wire.v1.ConsumerServiceStub(channel).Consume(iter(events))
    assert (answer.events_consumed, answer.events_failed, list(answer.errors)) == (4, 1, ["bad: cannot be read"])
    assert sink.taken == [b"0", b"1", b"3", b"4"]


class Dawdling(Processor):
    """Takes a random time for each batch, and keeps something back until the end."""

    inputs = outputs = ("E",)

    async def process(self, batch):
        await anyio.sleep(random.uniform(0, 0.003))
        return batch

    async def flush(self):
        return EventBatch.from_events([Event("E", b"flushed")])


async def test_08_and_10_a_processor_of_random_latency_keeps_the_order_and_flushes_at_half_close(serve):
    session = await serve(Dawdling())
    events = [wire.v1.Event(id=str(n), type="E", payload=b"%d" % n) for n in range(200)]
    async with raw_channel(session.endpoint) as channel:
        call = wire.v1.ProcessorServiceStub(channel).Process(iter(events))
        got = [event.payload async for event in call]
    assert got == [*(b"%d" % n for n in range(200)), b"flushed"]


async def test_09_an_event_of_six_megabytes_passes(serve):
    session = await serve(Dawdling(), stranger_message_bytes=50 << 20)
    payload = random.randbytes(6_000_000)
    async with raw_channel(session.endpoint) as channel:
        call = wire.v1.ProcessorServiceStub(channel).Process(iter([wire.v1.Event(id="1", type="E", payload=payload)]))
        got = [event.payload async for event in call]
    assert got == [payload, b"flushed"]


@BOTH
@DIALECTS
async def test_11_both_dialects_live_the_same_life(quirks, dialect, until):
    async with EmbeddedControlPlane(quirks=quirks) as plane:
        config = config_of(plane, dialect=dialect)
        async with FlowctlSession(INFO, config) as session, FlowctlSession(replace(INFO, component_id="b"), config):
            changes = session.changes()
            await plane.wait_for_service("b")
            status = await session.get_service_status()
            assert (status.service_id, status.info.output_event_types) == ("svc", ("E",))
            assert sorted(s.service_id for s in await session.list_services()) == ["b", "svc"]
            assert [s.service_id for s in await session.discover(event_type="E", metadata={})] != []
            plane.forget("svc")
            with anyio.fail_after(5):
                await plane.wait_for_service("svc")
            session.stop()
        assert ids(plane) == []
    assert [change.after async for change in changes][-2:] == [State.DRAINING, State.CLOSED]


@BOTH
async def test_12_a_registration_without_component_does_not_harm_the_plane(quirks):
    async with EmbeddedControlPlane(quirks=quirks) as plane, raw_channel(plane.endpoint) as channel:
        stub = wire.v1.ControlPlaneServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.RegisterComponent(wire.v1.RegisterRequest(component_id="x"))
        # The real one dies of it, and its clients see the connection close.
        assert caught.value.code() is (
            grpc.StatusCode.INVALID_ARGUMENT if quirks is None else grpc.StatusCode.UNAVAILABLE
        )
        component = wire.v1.ComponentInfo(id="y")
        answer = await stub.RegisterComponent(wire.v1.RegisterRequest(component=component))
        assert answer.service_id == "y"


@pytest.mark.parametrize("endpoint", ["http://localhost:8088/health", "https://x:1", "", "localhost", "host:70000"])
async def test_13_what_cannot_be_dialled_is_refused(endpoint):
    with pytest.raises(ConfigError):
        parse_endpoint(endpoint)
    with pytest.raises(ConfigError, match=re.escape(repr(endpoint))):
        async with FlowctlSession(INFO, FlowctlConfig(endpoint=endpoint)):
            pytest.fail("entered")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1m30s", 90), ("250ms", 0.25), ("1h", 3600), ("1.5s", 1.5), ("500us", 0.0005), (".5m", 30)],
)
def test_14_go_durations_are_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["10", "s", "10 s", "10x", "", "-1s", "1s 2s", "1,5s", "0x1s", "10S"])
def test_14_what_is_no_go_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        parse_duration(text)


async def test_15_unregistering_takes_less_than_two_seconds_though_a_stream_is_idle(cli):
    async with EmbeddedControlPlane() as plane:
        process = cli.start("processor", "--network", "testnet", "--plane", plane.endpoint, "--drain-timeout", "1")
        with anyio.fail_after(30):
            endpoint = json.loads(await to_thread.run_sync(process.stdout.readline))["endpoint"]
            async with raw_channel(endpoint) as channel:
                call = wire.v1.ProcessorServiceStub(channel).Process()
                await call.wait_for_connection()
                asked = time.monotonic()
                process.send_signal(signal.SIGTERM)
                await plane.wait_until(lambda: ids(plane) == [])
                assert time.monotonic() - asked < 2
                call.cancel()
            assert await to_thread.run_sync(process.wait) == 0
