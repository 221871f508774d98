"""The life of a session: entering, being known, leaving, on every way."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from datetime import UTC, datetime

import anyio
import anyio.lowlevel
import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession
from flowctl_aio.batches import LedgerBatch
from flowctl_aio.component import Processor, Sink, Source
from flowctl_aio.control.lifecycle import State
from flowctl_aio.errors import (
    ConfigError,
    PeerNotFoundError,
    RegistrationError,
    SessionClosedError,
    StreamError,
    UsageError,
)
from flowctl_aio.plane.classic import SERVICE as CLASSIC_SERVICE
from flowctl_aio.plane.classic import ClassicControlPlane
from flowctl_aio.plane.registry import Registry
from flowctl_aio.plane.runs import Runs
from flowctl_aio.streams.handshake import Role, meet
from flowctl_aio.transport.channel import open_data_channel
from flowctl_aio.transport.server import open_server
from flowctl_aio.types import Dialect, Health, RawLedger, ServiceInfo, ServiceType

pytestmark = pytest.mark.anyio
INFO = ServiceInfo("svc", ServiceType.PROCESSOR, input_event_types=("L",), output_event_types=("E",))


def is_uncancelled() -> bool:
    return asyncio.current_task().cancelling() == 0


def tasks() -> set[asyncio.Task]:
    """All tasks; but a server that is still up waits for its next call in a task that is new after each one."""
    return {task for task in asyncio.all_tasks() if "_request_call" not in repr(task)}


def ids(plane) -> list[str]:
    return [status.service_id for status in plane.services()]


class Numbers(Source):
    component_id = "numbers"
    outputs = ("L",)

    async def stream(self, request):
        for sequence in range(request.start, request.end + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"")])


# Entering


async def test_a_service_is_registered_before_its_block(plane, config):
    async with FlowctlSession(INFO, config) as session:
        assert session.state is State.REGISTERED
        assert ids(plane) == ["svc"]
        assert session.service_id == "svc"
        known = plane.services()[0].info
        assert (known.input_event_types, known.output_event_types) == (("L",), ("E",))


async def test_the_first_beat_comes_at_once(plane, config):
    async with FlowctlSession(INFO, replace(config, heartbeat_interval=60.0)):
        with anyio.fail_after(5):
            await plane.wait_until(lambda: plane.services()[0].metrics)
        assert plane.services()[0].metrics["service_status"] == 1.0


async def test_an_endpoint_can_be_dialled_as_soon_as_it_is_registered(plane, config):
    dialled = []

    class Dialling(Numbers):
        def metrics(self):  # asked for the first beat, right after registering
            return {}

    async def dial() -> None:
        status = await plane.wait_for_service("numbers")
        async with open_data_channel(status.info.endpoint, max_message_bytes=1 << 20) as channel:
            dialled.append(await meet(channel, Role.SOURCE))

    async with anyio.create_task_group() as group:
        group.start_soon(dial)
        await anyio.wait_all_tasks_blocked()
        async with FlowctlSession(Dialling(), config) as session:
            assert plane.services()[0].info.endpoint == session.endpoint
            with anyio.fail_after(5):
                while not dialled:
                    await plane.wait_changed()
    assert dialled[0].marks_ends


async def test_a_refusal_comes_out_of_entering_as_itself(plane, config, until):
    before = tasks()
    with pytest.raises(RegistrationError, match="256"):
        async with FlowctlSession(replace(INFO, component_id="x" * 300), config):
            pytest.fail("entered")
    assert is_uncancelled()
    await until(lambda: tasks() <= before)


async def test_a_taken_port_comes_out_of_entering_as_itself(plane, config):
    async with FlowctlSession(Numbers(), config) as first:
        with pytest.raises(ConfigError, match="cannot listen on"):
            async with FlowctlSession(Numbers(), replace(config, bind=first.endpoint)):
                pytest.fail("entered")
        assert is_uncancelled()
    assert ids(plane) == []


async def test_a_lifespan_that_fails_comes_out_of_entering_as_itself(plane, config):
    class Failing(Numbers):
        def lifespan(self):
            raise LookupError("no lake")

    with pytest.raises(LookupError, match="no lake"):
        async with FlowctlSession(Failing(), config):
            pytest.fail("entered")
    assert is_uncancelled()


@pytest.mark.parametrize("endpoint", ["http://localhost:8080", "", "localhost", "localhost:99999", "10.0.0.1:8080"])
async def test_an_endpoint_that_cannot_be_is_a_config_error(endpoint):
    with pytest.raises(ConfigError):
        async with FlowctlSession(INFO, FlowctlConfig(endpoint=endpoint)):
            pytest.fail("entered")


async def test_entering_that_is_cancelled_leaves_nothing(plane, config, until):
    before = tasks()
    for delay in (0, 0.001, 0.003):
        with anyio.move_on_after(delay):
            async with FlowctlSession(INFO, config):
                await anyio.sleep_forever()
    with anyio.fail_after(5):
        await plane.wait_until(lambda: ids(plane) == [])
    await until(lambda: tasks() <= before)


async def test_a_session_is_used_once(plane, config):
    session = FlowctlSession(INFO, config)
    async with session:
        with pytest.raises(UsageError, match="before"):
            await session.__aenter__()
        assert session.state is State.REGISTERED
    with pytest.raises(UsageError, match="before"):
        async with session:
            pytest.fail("entered")


# Leaving


class Way(Exception):  # noqa: N818 - a way out, not a fault
    pass


async def by_return(session):
    pass


async def by_exception(session):
    raise Way


async def by_cancellation(session):
    asyncio.current_task().cancel()
    await anyio.sleep_forever()


async def by_stop(session):
    session.stop()
    await session.wait_stopped()


async def by_task_failure(session):
    async def fail():
        raise Way

    session.start_soon(fail)
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("way", "outcome"),
    [
        (by_return, None),
        (by_exception, Way),
        (by_cancellation, asyncio.CancelledError),
        (by_stop, None),
        (by_task_failure, Way),
    ],
)
async def test_every_way_out_unregisters(plane, config, way, outcome):
    seen = []

    async def live():
        async with FlowctlSession(Numbers(), config) as session:
            seen.append(session)
            assert ids(plane) == ["numbers"]
            await way(session)

    task = asyncio.create_task(live())
    await asyncio.wait([task])
    ended_by = asyncio.CancelledError if task.cancelled() else task.exception() and type(task.exception())
    assert ended_by is outcome
    assert ids(plane) == []
    assert seen[0].state is State.CLOSED


async def test_a_timeout_around_a_session_is_a_timeout(plane, config):
    with pytest.raises(TimeoutError), anyio.fail_after(0.05):
        async with FlowctlSession(INFO, config):
            await anyio.sleep_forever()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), FlowctlSession(INFO, config):
            await anyio.sleep_forever()
    assert ids(plane) == []
    assert is_uncancelled()


async def test_a_closed_session_says_so(plane, config):
    async with FlowctlSession(INFO, config) as session:
        pass
    with pytest.raises(SessionClosedError):
        await session.list_services()
    with pytest.raises(SessionClosedError):
        await session.wait_for(State.REGISTERED)
    with pytest.raises(SessionClosedError):
        async with session.source("localhost:1"):
            pass
    with pytest.raises(UsageError, match="not open"):
        session.start_soon(anyio.sleep, 1)
    await session.wait_stopped()
    await session.aclose()


async def test_five_lives_in_a_row_leave_no_task(plane, config, until):
    before = tasks()
    for _ in range(5):
        async with FlowctlSession(Numbers(), config):
            pass
    await until(lambda: tasks() <= before)


async def test_two_sessions_live_in_one_loop(plane, config):
    async with FlowctlSession(Numbers(), config) as one, FlowctlSession(INFO, config) as two:
        assert ids(plane) == ["numbers", "svc"]
        async with two.source() as source, source.stream(1, 3) as stream:
            assert [row.sequence async for batch in stream for row in batch] == [1, 2, 3]
        assert one.metrics()["rows_out_total"] == 3
    assert ids(plane) == []


async def test_its_repr_tells_who_where_and_how():
    session = FlowctlSession(Numbers(), FlowctlConfig(enabled=False))
    assert repr(session) == "<FlowctlSession numbers idle>"
    async with session:
        assert re.fullmatch(r"<FlowctlSession numbers degraded at 127\.0\.0\.1:\d+>", repr(session))
    assert "closed" in repr(session)


# Its tasks


async def test_a_failing_task_cancels_the_block_and_comes_out_alone(plane, config):
    boom = KeyError("mine")

    async def fail():
        await plane.wait_for_service("svc", Health.HEALTHY)
        raise boom

    where = []

    async def live():
        async with FlowctlSession(INFO, config) as session:
            session.start_soon(fail)
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                where.append("cancelled")
                raise

    with pytest.raises(KeyError) as caught, anyio.fail_after(5):
        await live()
    assert caught.value is boom
    assert where == ["cancelled"]
    assert is_uncancelled()
    await anyio.lowlevel.checkpoint()  # a cancellation that was not taken back would come out here


async def test_two_failing_tasks_come_out_as_a_group(plane, config):
    gate = anyio.Event()

    async def fail(error):
        await gate.wait()
        raise error

    async def live():
        async with FlowctlSession(INFO, config) as session:
            session.start_soon(fail, KeyError(1))
            session.start_soon(fail, IndexError(2))
            gate.set()
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await live()
    assert {type(error) for error in caught.value.exceptions} == {KeyError, IndexError}
    assert is_uncancelled()


async def test_the_blocks_own_error_wins_over_a_tasks(plane, config):
    async def fail():
        raise KeyError("task")

    async def live():
        async with FlowctlSession(INFO, config) as session:
            session.start_soon(fail)
            try:
                await anyio.sleep_forever()
            finally:
                raise Way

    with pytest.raises(Way):
        await live()
    assert is_uncancelled()


async def test_tasks_are_cancelled_when_the_session_ends(plane, config):
    ended = []

    async def work():
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with FlowctlSession(INFO, config) as session:
        session.start_soon(work)
        await anyio.wait_all_tasks_blocked()
    assert ended == [True]


async def test_a_task_that_closes_its_own_session_does_not_hang(plane, config):
    config = replace(config, drain_timeout=0.1, unregister_timeout=0.1)

    async with FlowctlSession(INFO, config) as session:
        session.start_soon(session.aclose)
        with anyio.fail_after(5):
            await session.wait_stopped()
    assert session.state is State.CLOSED


async def test_start_soon_needs_an_open_session(config):
    with pytest.raises(UsageError, match="not open"):
        FlowctlSession(INFO, config).start_soon(anyio.sleep, 1)


# Its health and its numbers


async def test_an_explicit_health_is_what_the_plane_hears(plane, config):
    async with FlowctlSession(INFO, config) as session:
        for health in (Health.DEGRADED, Health.UNHEALTHY, Health.HEALTHY):
            session.health = health
            with anyio.fail_after(5):
                await plane.wait_for_service("svc", health)


async def test_the_plane_hears_that_a_session_is_stopping(plane, config):
    async with FlowctlSession(INFO, config) as session:
        session.stop()
        with anyio.fail_after(5):
            await plane.wait_for_service("svc", Health.STOPPING)


async def test_a_health_probe_that_fails_is_unhealthy_and_the_session_goes_on(plane, config):
    class Probing(Numbers):
        broken = True

        def health(self):
            if self.broken:
                raise RuntimeError("probe")
            return Health.HEALTHY

    component = Probing()
    async with FlowctlSession(component, config):
        with anyio.fail_after(5):
            await plane.wait_for_service("numbers", Health.UNHEALTHY)
            component.broken = False
            await plane.wait_for_service("numbers", Health.HEALTHY)


@pytest.mark.parametrize(
    "provider", [lambda: 1 / 0, lambda: None, lambda: {"n": "many"}, lambda: {"n": [1]}, lambda: ["n"]]
)
async def test_a_metrics_provider_that_fails_sends_none_and_the_session_goes_on(plane, config, provider):
    async with FlowctlSession(INFO, config, metrics=provider) as session:
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= 3)
        assert "n" not in plane.services()[0].metrics


async def test_metrics_reach_the_plane_also_when_they_are_not_finite(plane, config):
    class Provider:
        def get_metrics(self):
            return {"lag": 2, "ok": True, "nan": float("nan"), "inf": float("inf")}

    async with FlowctlSession(INFO, config, metrics=Provider()):
        with anyio.fail_after(5):
            await plane.wait_until(lambda: plane.services()[0].metrics)
        metrics = plane.services()[0].metrics
    assert (metrics["lag"], metrics["ok"]) == (2.0, 1.0)
    assert not {"nan", "inf"} & set(metrics)


# Planes that are away, come back, forget, or speak one dialect


async def test_a_plane_that_is_away_degrades_and_the_service_registers_when_it_comes(config):
    async with EmbeddedControlPlane() as away:
        endpoint = away.endpoint
    config = replace(config, endpoint=endpoint)
    async with FlowctlSession(Numbers(), config) as session:
        assert session.state is State.DEGRADED
        assert re.fullmatch(r"sim-SERVICE_TYPE_SOURCE-\d{14}-[0-9a-f]{8}", session.service_id)
        async with EmbeddedControlPlane(endpoint) as plane:
            with anyio.fail_after(10):
                assert await session.wait_for(State.REGISTERED) is State.REGISTERED
                status = await plane.wait_for_service("numbers", Health.HEALTHY)
            # The simulated id was never sent.
            assert ids(plane) == ["numbers"]
            assert status.info.endpoint == session.endpoint
            assert session.service_id == "numbers"


async def test_a_plane_that_restarts_empty_gets_the_service_back(config):
    async with EmbeddedControlPlane() as first:
        config = replace(config, endpoint=first.endpoint)
        session = FlowctlSession(INFO, config)
        await session.__aenter__()
    try:
        with anyio.fail_after(10):
            await session.wait_for(State.DEGRADED)
            async with EmbeddedControlPlane(config.endpoint) as second:
                await second.wait_for_service("svc", Health.HEALTHY)
                await session.wait_for(State.REGISTERED)
                assert session.metrics()["registrations_total"] == 2
                await session.aclose()
                assert ids(second) == []
    finally:
        await session.aclose()


async def test_a_service_that_the_plane_forgot_registers_again_with_its_next_beat(plane, config):
    async with FlowctlSession(INFO, config) as session:
        with anyio.fail_after(5):
            await plane.wait_for_service("svc", Health.HEALTHY)
            await session._plane.unregister("svc")
            await plane.wait_for_service("svc", Health.HEALTHY)
            await plane.wait_until(lambda: session.metrics()["registrations_total"] == 2)
        assert session.state is State.REGISTERED


async def test_a_plane_outage_does_not_stop_data(config):
    async with EmbeddedControlPlane() as plane:
        config = replace(config, endpoint=plane.endpoint)
        source, reader = FlowctlSession(Numbers(), config), FlowctlSession(INFO, config)
        await source.__aenter__()
        await reader.__aenter__()
        client = reader.source()
        numbers = await client.__aenter__()
    with anyio.fail_after(10):
        await source.wait_for(State.DEGRADED)
        async with numbers.stream(1, 5) as stream:
            assert len([batch async for batch in stream]) == 5
        await client.__aexit__(None, None, None)
        await reader.aclose()
        await source.aclose()


class ClassicOnly:
    """A plane that knows nothing of v1."""

    def __init__(self) -> None:
        def now() -> datetime:
            return datetime.now(UTC)

        def changed(*_) -> None:
            pass

        self.registry = Registry(heartbeat_ttl=30, now=now, monotonic=time.monotonic, changed=changed)
        self.runs = Runs(now=now, changed=changed)

    def services(self):
        return {CLASSIC_SERVICE: ClassicControlPlane(self.registry, self.runs, lambda: "").methods()}


@pytest.mark.parametrize("dialect", ["auto", "classic"])
async def test_a_classic_plane_is_spoken_to_in_classic(config, until, dialect):
    plane = ClassicOnly()
    config = replace(config, dialect=dialect)
    async with (
        open_server(plane.services()) as server,
        FlowctlSession(INFO, replace(config, endpoint=server.endpoint)) as session,
    ):
        assert (session.state, session.dialect) == (State.REGISTERED, Dialect.CLASSIC)
        await until(lambda: session.metrics()["heartbeats_total"] >= 3)
        assert session.state is State.REGISTERED
        [status] = await session.list_services()
        assert (status.service_id, status.info.service_type) == ("svc", ServiceType.PROCESSOR)
        # Classic tells no endpoints, so nobody can be discovered.
        with pytest.raises(PeerNotFoundError):
            async with session.source():
                pass
    assert is_uncancelled()


async def test_a_classic_plane_refuses_who_insists_on_v1(config):
    async with open_server(ClassicOnly().services()) as server:
        with pytest.raises(RegistrationError, match="RegisterComponent"):
            async with FlowctlSession(INFO, replace(config, endpoint=server.endpoint, dialect="v1")):
                pytest.fail("entered")


@pytest.mark.parametrize(("choice", "spoken"), [("auto", Dialect.V1), ("v1", Dialect.V1), ("classic", Dialect.CLASSIC)])
async def test_the_dialect_is_the_one_that_was_chosen(plane, config, choice, spoken):
    async with FlowctlSession(INFO, replace(config, dialect=choice)) as session:
        assert session.dialect is spoken
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= 2)
        assert ids(plane) == ["svc"]
    assert ids(plane) == []


async def test_without_a_plane_streams_by_address_work():
    off = FlowctlConfig(enabled=False, endpoint="http://nowhere", drain_timeout=0.2)
    async with FlowctlSession(Numbers(), off) as source, FlowctlSession(INFO, off) as session:
        assert session.state is State.DEGRADED
        async with session.source(source.endpoint) as client, client.stream(1, 2) as stream:
            assert len([batch async for batch in stream]) == 2
        with pytest.raises(UsageError, match="no control plane"):
            await session.list_services()
        with pytest.raises(UsageError, match="no control plane"):
            async with session.source():
                pass


# Its peers


class Taker(Sink):
    async def consume(self, batch, epoch):
        pass


class Maker(Processor):
    async def process(self, batch):
        return batch


async def test_discovery_that_finds_nobody_says_what_was_looked_for(plane, config):
    async with FlowctlSession(INFO, config) as session:
        with pytest.raises(PeerNotFoundError, match="no healthy source for L"):
            async with session.source():
                pass
        with pytest.raises(PeerNotFoundError, match="no healthy sink for E"):
            async with session.sink():
                pass


async def test_discovery_takes_the_end_that_fits(plane, config):
    """A sink is chosen by what it takes, a source by what it gives; the wrong way round is nobody."""
    wrong = Numbers()
    wrong.component_id, wrong.inputs, wrong.outputs = "wrong", ("L",), ("X",)
    async with FlowctlSession(wrong, config), FlowctlSession(INFO, config) as session:
        with anyio.fail_after(5):
            await plane.wait_for_service("wrong", Health.HEALTHY)
        with pytest.raises(PeerNotFoundError, match="no healthy source for L"):
            async with session.source():
                pass
        async with FlowctlSession(Numbers(), config) as right:
            with anyio.fail_after(5):
                await plane.wait_for_service("numbers", Health.HEALTHY)
            async with session.source() as source:
                assert source.peer.address == right.endpoint


async def test_discovery_does_not_find_oneself(plane, config):
    async with FlowctlSession(Maker(), config) as session:
        with anyio.fail_after(5):
            await plane.wait_for_service("maker", Health.HEALTHY)
        with pytest.raises(PeerNotFoundError):
            async with session.processor():
                pass


async def test_discovery_passes_over_who_is_not_well(plane, config):
    async with FlowctlSession(Numbers(), config) as source, FlowctlSession(INFO, config) as session:
        source.health = Health.UNHEALTHY
        with anyio.fail_after(5):
            await plane.wait_for_service("numbers", Health.UNHEALTHY)
        with pytest.raises(PeerNotFoundError, match="only numbers"):
            async with session.source():
                pass


@pytest.mark.parametrize("address", ["http://localhost:1", "", "nohost", "192.0.2.1:50051", "example.org:50051"])
async def test_an_address_that_cannot_be_is_a_config_error(address):
    async with FlowctlSession(INFO, FlowctlConfig(enabled=False)) as session:
        for opening in (session.source, session.processor, session.sink):
            with pytest.raises(ConfigError):
                async with opening(address):
                    pass


async def test_an_address_where_nobody_is_gives_a_stream_error(plane, config):
    async with FlowctlSession(INFO, config) as session:
        with pytest.raises(ConnectionError):
            async with session.source("localhost:1"):
                pass
        with pytest.raises(StreamError, match="serves no source"):
            async with session.source(plane.endpoint):
                pass


async def test_a_client_does_not_work_after_its_block(plane, config):
    async with FlowctlSession(Numbers(), config) as served, FlowctlSession(INFO, config) as session:
        async with session.source(served.endpoint) as source:
            early = source.stream(1, 2)
        with pytest.raises(StreamError):
            await anext(early)
        with pytest.raises(UsageError):
            await anext(source.stream(1, 2))
        with pytest.raises(UsageError):
            await source.health()
