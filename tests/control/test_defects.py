"""The defects of the first controller and of its monitor, one by one, and which test shows that ours has them not.

C-01  registers once for ever           session/test_planes.py, scenarios/test_acceptance.py (01, 04), test_soak.py
C-02  beats whose answer nobody reads   control/test_registration.py; jitter: scenarios/test_soak.py
C-03  getters wait for the register     here
C-04  a provider that asks deadlocks    here
C-05  ends once, starts once            session/test_drain.py, test_leaving.py, test_entering.py
C-06  nothing known and no plane        here
C-07  simulated ids collide             here, control/test_registration.py
C-08  unsynchronised reads              here
C-09  a provider stalls the beats       here, session/test_health.py, tests/test_provider.py
C-10  connected means nothing           control/test_lifecycle.py, session/test_health_pages.py
C-11  asks for a service without an id  session/test_questions.py
C-12  guesses endpoints                 session/test_questions.py, test_peers.py
C-13  topics and connections of the ack here
C-14  watches without snapshot or diff  control/test_watch.py, session/test_questions.py; a slow reader: here
C-15  back-pressure of one process      session/test_flow.py
C-16  load without a limit              control/test_flow.py
C-17  a signal reaches one of several   session/test_flow.py, control/test_signals.py; the order: here
C-18  reads numbers that nobody sends   here, session/test_flow.py
C-19  insecure only                     session/test_secured.py, security/
C-20  prints                            here
C-21  registers before it listens       session/test_entering.py; what it registers: here

M-01  never created                     session/test_health_pages.py
M-02  two lists and more per look       here
M-03  series of the gone                session/test_health_pages.py, observe/test_meter.py
M-04  nobody is healthy, and NaN        session/test_questions.py, control/test_report.py
M-05  constants for measurements        here
M-06  steals the signals                session/test_flow.py
M-07  one failure fails the report      control/test_report.py, session/test_questions.py
M-08  stops once, waits under a lock    session/test_drain.py, test_cancelled.py
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from flowctl_aio import FlowctlConfig, FlowctlSession, Health, ServiceInfo, ServiceType, Source, State
from flowctl_aio.control.discovery.watch import Snapshot
from flowctl_aio.control.flow.control import FlowControl
from flowctl_aio.control.numbers import error_rate_of, inflight_of, number_of
from flowctl_aio.errors import ConfigError
from flowctl_aio.testing import EchoProcessor, PlaneUnderTest, RecordingSink, config_for

pytestmark = pytest.mark.anyio
INFO = ServiceInfo("svc", ServiceType.PROCESSOR, input_event_types=("L",), output_event_types=("E",))
GETTERS = {
    "state": lambda session: session.state,
    "service_id": lambda session: session.service_id,
    "endpoint": lambda session: session.endpoint,
    "health_endpoint": lambda session: session.health_endpoint,
    "dialect": lambda session: session.dialect,
    "health": lambda session: session.health,
    "read_health": lambda session: session.read_health(),
    "metrics": lambda session: session.metrics(),
    "info": lambda session: session.info,
    "flow": lambda session: session.flow.state(),
    "repr": repr,
}


@pytest.fixture
async def moody():
    async with PlaneUnderTest() as plane:
        yield plane


class Idle(Source):
    component_id, outputs = "idle", ("L",)

    async def stream(self, request):
        for batch in ():
            yield batch


async def test_c03_while_the_plane_keeps_it_waiting_every_getter_answers(moody):
    session = FlowctlSession(INFO, config_for(moody))
    async with moody.hanging(methods=["RegisterComponent"]) as fault, anyio.create_task_group() as group:
        group.start_soon(session.__aenter__)
        await fault.wait_hits(1)
        for get in GETTERS.values():
            get(session)
        session.health = Health.DEGRADED
        assert (session.state, session.read_health()) == (State.CONNECTING, Health.DEGRADED)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_c04_a_provider_may_ask_its_session_for_anything_also_while_it_stops(plane, config, kind):
    asked: list[State] = []

    def plain():
        for get in GETTERS.values():
            get(session)
        asked.append(session.state)
        return {"asked": len(asked)}

    async def questions():
        await session.list_services()
        await session.get_service_status()
        await session.health_report()
        return plain()

    session = FlowctlSession(Idle(), replace(config, query_max_age=0), plain if kind == "plain" else questions)
    with anyio.fail_after(5):
        async with session:
            await plane.wait_until(lambda: plane.services()[0].metrics.get("asked", 0) >= 2)
            session.stop()
            await plane.wait_for_service("idle", Health.STOPPING)
            while State.DRAINING not in asked:  # noqa: ASYNC110 - nobody sets an event for it
                await anyio.sleep(0.005)
    assert plane.services() == []


async def test_c04_a_provider_that_hangs_does_not_hold_up_the_end(plane, config):
    released, begun = threading.Event(), threading.Event()

    def hang():
        begun.set()
        released.wait(10)
        return {}

    try:
        with anyio.fail_after(5):
            async with FlowctlSession(INFO, replace(config, metrics_timeout=30), hang):
                await to_thread.run_sync(begun.wait)
        assert plane.services() == []
    finally:
        released.set()


async def test_c06_with_the_least_that_can_be_known_and_no_plane_it_lives(free_port):
    config = FlowctlConfig(endpoint=f"127.0.0.1:{free_port}")
    async with FlowctlSession(ServiceInfo("x", ServiceType.UNSPECIFIED), config) as session:
        assert session.state is State.DEGRADED
        assert session.service_id.startswith("sim-SERVICE_TYPE_UNSPECIFIED-")
    with pytest.raises(ConfigError, match="component_id"):
        FlowctlSession(ServiceInfo("", ServiceType.UNSPECIFIED), config)


async def test_c07_replicas_that_degrade_in_one_second_have_ids_of_their_own_in_utc(free_port):
    config = FlowctlConfig(endpoint=f"127.0.0.1:{free_port}")
    began = datetime.now(UTC).replace(microsecond=0)
    found = []
    for _ in range(5):
        async with FlowctlSession(INFO, config) as session:
            found.append(session.service_id)
    assert len(set(found)) == 5
    for service_id in found:
        told = re.fullmatch(r"sim-SERVICE_TYPE_PROCESSOR-(\d{14})-[0-9a-f]{8}", service_id)
        assert told is not None
        at = datetime.strptime(told[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        assert began <= at <= began + timedelta(minutes=1)


async def test_c08_reads_from_another_thread_are_answered_from_the_first_to_the_last_moment(moody):
    session = FlowctlSession(Idle(), replace(config_for(moody), health_bind="127.0.0.1:0"))
    over = threading.Event()

    def read() -> int:
        count = 0
        while not over.is_set():
            for get in GETTERS.values():
                get(session)
            count += 1
        return count

    async def read_on() -> None:
        assert await to_thread.run_sync(read) > 0

    async with anyio.create_task_group() as group:
        group.start_soon(read_on)
        try:
            async with session:
                moody.forget()
                await moody.wait_registered("idle")
                await moody.restart()
                await session.wait_for(State.REGISTERED, timeout=5)
            assert session.state is State.CLOSED
        finally:
            over.set()


async def test_c08_the_thread_that_beats_reads_while_streams_come_and_go(plane, config):
    over, switch = threading.Event(), sys.getswitchinterval()
    async with FlowctlSession(Idle(), config) as session, FlowctlSession(INFO, config) as reader:

        def read() -> None:
            _, beat = session._life.plane.beat_to_wire("idle", Health.HEALTHY, {})
            while not over.is_set():
                session._life.pulse.freshen(beat)

        async with reader.source(session.endpoint) as source, anyio.create_task_group() as group:
            group.start_soon(to_thread.run_sync, read)
            group.start_soon(to_thread.run_sync, read)
            sys.setswitchinterval(1e-6)
            try:
                for _ in range(150):
                    async with source.stream(1, 2) as stream, source.stream(1, 2) as other:
                        assert [batch async for batch in stream] == [batch async for batch in other] == []
                    session.metrics()
            finally:
                over.set()
                sys.setswitchinterval(switch)


async def cancelled():
    raise asyncio.CancelledError


async def hanging():
    await anyio.sleep_forever()


def stopping():
    raise StopIteration


@pytest.mark.parametrize("provider", [cancelled, hanging, stopping])
async def test_c09_whatever_a_provider_does_the_beats_go_on(plane, config, provider):
    config = replace(config, metrics_timeout=0.05)
    async with FlowctlSession(INFO, config, provider) as session:
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= 4)
        assert session.state is State.REGISTERED


@pytest.mark.parametrize("broken", ["health", "metrics"])
async def test_c09_whatever_the_components_own_answers_do_the_beats_go_on(plane, config, broken):
    class Broken(Idle):
        def health(self):
            if broken == "health":
                raise asyncio.CancelledError
            return Health.HEALTHY

        def metrics(self):
            if broken == "metrics":
                raise asyncio.CancelledError
            return {}

    async with FlowctlSession(Broken(), config) as session:
        with anyio.fail_after(5):
            await plane.wait_until(lambda: session.metrics()["heartbeats_total"] >= 4)
            await plane.wait_for_service("idle", Health.UNHEALTHY if broken == "health" else Health.HEALTHY)


@pytest.mark.parametrize("dialect", ["v1", "classic"])
async def test_c13_what_the_acknowledgement_makes_up_is_not_believed(dialect):
    # A flowctl acknowledges with topics that do not exist and with an address that is not its own.
    async with (
        PlaneUnderTest(quirks="flowctl") as plane,
        FlowctlSession(Idle(), config_for(plane, dialect=dialect)) as source,
        FlowctlSession(INFO, config_for(plane, dialect=dialect)) as session,
    ):
        await plane.wait_registered("idle")
        assert (session.endpoint, session.info.output_event_types) == ("", ("E",))
        assert "8080" not in repr(session)
        [found] = await session.upstream() if dialect == "v1" else [await _listed(session, "idle")]
        assert source.endpoint in repr(found)


async def _listed(session, service_id):
    return next(status for status in await session.list_services() if status.service_id == service_id)


async def test_c14_a_reader_of_a_watch_that_is_slow_holds_up_nobody(moody):
    config = config_for(moody)
    async with (
        FlowctlSession(INFO, config) as session,
        session.watch(interval=0.05) as slow,
        session.watch(interval=0.05) as quick,
    ):
        await moody.wait_registered("svc")
        assert isinstance(await anext(slow), Snapshot)  # and reads no further
        with anyio.fail_after(5):
            assert isinstance(await anext(quick), Snapshot)
            for number in range(3):
                async with FlowctlSession(replace(INFO, component_id=f"late-{number}"), config):
                    await anext(quick)
                await anext(quick)
        assert session.state is State.REGISTERED
        assert session.metrics()["heartbeats_missed_total"] == 0


async def test_c17_signals_come_in_the_order_in_which_it_happened():
    flow = FlowControl("svc")
    flow.set_limit("a", 10)
    async with flow.subscribe() as first, flow.subscribe() as second:
        for count in (9, 0, 10, 3):
            flow.set_inflight("a", count)
        for signals in (first, second):
            told = [await anext(signals) for _ in range(4)]
            assert [(one.is_active, one.load) for one in told] == [(True, 0.9), (False, 0), (True, 1), (False, 0.3)]


@pytest.mark.parametrize("component", [Idle, EchoProcessor, RecordingSink])
async def test_c18_every_kind_sends_the_numbers_that_the_roll_up_reads(plane, config, component):
    async with FlowctlSession(component(), config) as session:
        with anyio.fail_after(5):
            await plane.wait_until(lambda: "events_processed_total" in plane.services()[0].metrics)
        [status] = await session.list_services()
    for name in ("queue_depth", "errors_total", "events_processed_total", "events_per_second", "uptime_seconds"):
        assert number_of(status, name) is not None, name
    assert inflight_of(status) is not None
    assert error_rate_of(status) is None  # of no events yet


async def test_c20_nothing_is_printed(moody, capfd):
    capfd.readouterr()
    async with FlowctlSession(Idle(), replace(config_for(moody), health_bind="127.0.0.1:0")) as session:
        await moody.wait_registered("idle")
        watch = session.watch(interval=0.05)
        await anext(watch)
        moody.forget()
        await moody.wait_registered("idle")
        async with moody.outage():
            await session.wait_for(State.DEGRADED, timeout=5)
        await session.wait_for(State.REGISTERED, timeout=5)
        await session.health_report()
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("dialect", ["v1", "classic"])
async def test_c21_what_is_registered_can_be_dialled_and_is_no_page(plane, config, dialect):
    config = replace(config, dialect=dialect, health_bind="127.0.0.1:0")
    async with FlowctlSession(Idle(), config) as session:
        with anyio.fail_after(5):
            status = await plane.wait_for_service("idle", Health.HEALTHY)
        assert status.info.endpoint == session.endpoint
        assert status.info.endpoint != session.health_endpoint
        async with await anyio.connect_tcp(*_split(status.info.endpoint)):
            pass


def _split(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host, int(port)


async def test_m02_a_report_asks_the_plane_once(moody):
    async with FlowctlSession(INFO, config_for(moody)) as session:
        for number in range(5):
            await moody.plane.wait_for_service("svc")
            before = moody.calls["ListComponents"]
            report = await session.health_report()
            assert report["pipeline_health"]["total_services"] == 1, number
            assert moody.calls["ListComponents"] == before + 1


async def test_m05_what_the_report_says_of_a_service_was_measured(moody):
    config = config_for(moody)
    told = {"processing_latency_ms": 20, "errors_total": 3}
    async with FlowctlSession(INFO, config, lambda: told) as session:
        moody.forget()
        with anyio.fail_after(5):
            await moody.wait_until(lambda: session.metrics()["registrations_total"] == 2)
            await moody.wait_until(
                lambda: bool(moody.services()) and moody.services()[0].metrics.get("registrations_total") == 2
            )
        [summary] = (await session.health_report())["service_summary"]
    assert (summary["reconnect_count"], summary["error_count"], summary["response_time"]) == (1, 3, 0.02)
    assert datetime.fromisoformat(summary["last_heartbeat"]) <= datetime.now(UTC)
