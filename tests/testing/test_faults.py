"""Every fault of a plane, and what a session makes of it, in both dialects."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlSession, Health, State
from flowctl_aio.errors import RegistrationError, UsageError
from flowctl_aio.testing import PlaneUnderTest, assert_no_leaks, beats_of, config_for, open_link, wait_registered
from flowctl_aio.testing.faults import BEATING, REGISTERING

from .conftest import INFO

pytestmark = pytest.mark.anyio


async def test_down_at_the_start(plane, config):
    await plane.down()
    async with FlowctlSession(INFO, config) as session:
        assert session.state is State.DEGRADED
        await plane.up()
        await plane.wait_registered("svc")
        await wait_registered(session)


async def test_down_later_and_up_at_the_same_port(plane, config):
    endpoint = plane.endpoint
    async with FlowctlSession(INFO, config) as session:
        await plane.wait_registered("svc")
        await plane.down()
        await plane.down()
        assert not plane.is_running()
        assert [status.service_id for status in plane.services()] == ["svc"]  # it tells what it knew
        await session.wait_for(State.DEGRADED, timeout=5)
        await plane.up()
        await plane.up()
        assert plane.endpoint == endpoint
        await plane.wait_registered("svc")
        await wait_registered(session)
    assert plane.services() == []


async def test_whoever_waits_for_a_service_waits_over_an_outage(plane, config):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(plane.wait_registered, "svc")
        async with plane.outage():
            await anyio.lowlevel.checkpoint()
        async with FlowctlSession(INFO, config):
            await plane.wait_registered("svc")


async def test_slow_beyond_the_limit_of_a_beat(plane, config):
    config = replace(config, heartbeat_timeout=0.2)
    async with FlowctlSession(INFO, config) as session:
        await plane.wait_registered("svc")
        async with plane.slow(30, methods=BEATING) as fault:
            await session.wait_for(State.DEGRADED, timeout=5)
            assert fault.hits >= 1
        await wait_registered(session)


async def test_slow_within_the_limit_does_no_harm(plane, config):
    async with FlowctlSession(INFO, config) as session, plane.slow(0.05):
        beats = beats_of(plane, "svc")
        await beats.wait(3)
        assert session.state is State.REGISTERED
        assert session.metrics()["heartbeats_missed_total"] == 0


@pytest.mark.parametrize("code", ["UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED"])
async def test_rejecting_some_beats(plane, config, code):
    async with FlowctlSession(INFO, config) as session:
        await plane.wait_registered("svc")
        async with plane.rejecting(code, "not now", methods=BEATING, times=3) as fault:
            await fault.wait_hits(3)
            await session.wait_for(State.REGISTERED, timeout=5)
            beats = beats_of(plane, "svc")
            await beats.wait(2)
            assert fault.hits == 3
            assert session.state is State.REGISTERED


async def test_rejecting_every_beat_makes_the_session_say_so(plane, config):
    async with FlowctlSession(INFO, config) as session:
        await plane.wait_registered("svc")
        async with plane.rejecting("INTERNAL", methods=BEATING):
            await session.wait_for(State.DEGRADED, timeout=5)
        await wait_registered(session)


async def test_rejecting_the_registration_ends_the_session_in_one_clear_error(plane, config):
    async with plane.rejecting("PERMISSION_DENIED", "not you", methods=REGISTERING):
        with pytest.raises(RegistrationError, match="not you"):
            await FlowctlSession(INFO, config).__aenter__()
    assert plane.services() == []


async def test_a_registration_that_is_unavailable_comes_later(plane, config):
    refusal = plane.rejecting("UNAVAILABLE", methods=REGISTERING, times=2)
    async with refusal as fault, FlowctlSession(INFO, config) as session:
        assert session.state is State.DEGRADED
        await wait_registered(session)
        assert fault.hits == 2


async def test_forgetting_once(plane, config):
    async with FlowctlSession(INFO, config) as session:
        await plane.wait_registered("svc")
        plane.forget("somebody else")
        assert len(plane.services()) == 1
        plane.forget("svc")
        assert plane.services() == []
        await plane.wait_registered("svc")
        assert session.state is State.REGISTERED
        assert sum(plane.calls[name] for name in REGISTERING) == 2


async def test_forgetting_again_and_again(plane, config):
    async with FlowctlSession(INFO, config) as session:
        await plane.wait_registered("svc")
        async with plane.forgetting() as fault:
            await fault.wait_hits(6)
        await plane.wait_registered("svc")
        await wait_registered(session)


async def test_a_plane_that_forgets_at_once_is_asked_a_few_times_an_interval_and_not_in_a_loop(plane, config):
    async with FlowctlSession(INFO, config):
        await plane.wait_registered("svc")
        async with plane.forgetting() as fault:
            await fault.wait_hits()
            before = fault.hits
            await anyio.sleep(1)
            # Ten intervals of two tries each, and twice that for what a backoff may be shortened by.
            assert fault.hits - before <= 40
        await plane.wait_registered("svc")


async def test_restarting_without_memory(plane, config):
    async with FlowctlSession(INFO, config) as session:
        await plane.wait_registered("svc")
        await plane.restart()
        assert plane.services() == []
        await plane.wait_registered("svc")
        await wait_registered(session)


async def test_restarting_with_memory(plane, config):
    async with FlowctlSession(INFO, config) as session:
        await plane.wait_registered("svc")
        await plane.restart(forget=False)
        assert [status.service_id for status in plane.services()] == ["svc"]
        await beats_of(plane, "svc").wait(2)
        await plane.wait_registered("svc")
        await wait_registered(session)


@pytest.mark.parametrize("dialect", ["v1", "classic"])
async def test_with_the_quirks_of_flowctl_the_same_faults_are_healed(dialect):
    async with (
        PlaneUnderTest(quirks="flowctl") as plane,
        FlowctlSession(INFO, config_for(plane, dialect=dialect)) as session,
    ):
        await plane.wait_registered("svc")
        plane.forget()
        await plane.wait_registered("svc")
        for forget in (True, False):
            await plane.restart(forget=forget)
            await beats_of(plane, "svc").wait(2)
            await plane.wait_registered("svc")
            await wait_registered(session)
        async with plane.rejecting("UNKNOWN", "rpc error", methods=BEATING, times=2) as fault:
            await fault.wait_hits(2)
            await beats_of(plane, "svc").wait(2)
            await wait_registered(session)


async def test_a_file_of_the_users_own_stays_and_is_remembered(tmp_path, config):
    db = tmp_path / "mine.db"
    async with PlaneUnderTest(db=db) as plane:
        session = await FlowctlSession(INFO, config_for(plane)).__aenter__()
        await plane.wait_registered("svc")
        await plane.down()
        await session.aclose()
    async with PlaneUnderTest(db=db) as plane:
        assert [status.service_id for status in plane.services()] == ["svc"]
        await plane.restart()
        assert plane.services() == []


async def test_hanging_calls_are_answered_when_it_is_over(plane, config):
    async with FlowctlSession(INFO, config) as session, anyio.create_task_group() as tasks:
        await plane.wait_registered("svc")
        answers = []

        async def ask():
            answers.append(await session.list_services())

        async with plane.hanging(methods=["ListComponents", "ListServices"]) as fault:
            tasks.start_soon(ask)
            await fault.wait_hits()
            await beats_of(plane, "svc").wait(2)  # what hangs is that one call
            assert answers == []
        with anyio.fail_after(5):
            while not answers:  # noqa: ASYNC110 - nobody announces it
                await anyio.sleep(0.01)
        assert [status.service_id for status in answers[0]] == ["svc"]


async def test_hanging_altogether(plane, config):
    async with FlowctlSession(INFO, replace(config, heartbeat_timeout=0.2)) as session:
        await plane.wait_registered("svc")
        async with plane.hanging():
            await session.wait_for(State.DEGRADED, timeout=5)
        await wait_registered(session)


async def test_a_black_hole_degrades_within_the_limit_of_a_beat_and_heals(plane, config):
    async with open_link(plane.endpoint) as link:
        config = replace(config, endpoint=link.endpoint, heartbeat_timeout=0.5)
        async with FlowctlSession(INFO, config) as session:
            await plane.wait_registered("svc")
            link.black_hole()
            await session.wait_for(State.DEGRADED, timeout=5)
            assert link.connections == 1
            link.heal()
            await wait_registered(session)


async def test_a_trickle_is_enough_for_beats(plane, config):
    async with open_link(plane.endpoint) as link:
        config = replace(config, endpoint=link.endpoint)
        async with FlowctlSession(INFO, config) as session:
            await plane.wait_registered("svc")
            link.trickle(20_000)
            await beats_of(plane, "svc").wait(5)
            assert session.state is State.REGISTERED


async def test_a_cut_is_healed_by_another_connection(plane, config):
    async with open_link(plane.endpoint) as link:
        config = replace(config, endpoint=link.endpoint)
        async with FlowctlSession(INFO, config) as session:
            await plane.wait_registered("svc")
            link.cut()
            await beats_of(plane, "svc").wait(3)
            await wait_registered(session)
            assert link.accepted >= 2


async def test_a_link_that_refuses_is_a_plane_that_is_away(plane, config):
    async with open_link(plane.endpoint) as link:
        config = replace(config, endpoint=link.endpoint)
        async with FlowctlSession(INFO, config) as session:
            await plane.wait_registered("svc")
            link.refuse()
            link.cut()
            await session.wait_for(State.DEGRADED, timeout=5)
            link.heal()
            await wait_registered(session)


async def test_faults_add_up_and_end_each_by_itself(plane, config):
    async with FlowctlSession(INFO, config):
        async with plane.slow(0.01) as slow, plane.rejecting(methods=BEATING, times=1) as rejecting:
            await rejecting.wait_hits()
            assert slow.hits >= 1
            assert repr(rejecting) == "<Fault for Heartbeat, 1 hit>"
        await plane.wait_registered("svc")


async def test_a_fault_that_nobody_meets_is_an_assertion(plane):
    async with plane.rejecting(methods=["StopPipelineRun"]) as fault:
        with pytest.raises(AssertionError, match=r"0 of 2 calls met the fault within 0\.01 s"):
            await fault.wait_hits(2, timeout=0.01)


async def test_wrong_faults_are_clear_errors(plane):
    with pytest.raises(UsageError, match="'NOPE' is no status to refuse with"):
        await plane.rejecting("NOPE").__aenter__()
    with pytest.raises(UsageError, match=r"methods is a list of names, such as \['Heartbeat'\]"):
        await plane.slow(1, methods="Heartbeat").__aenter__()


async def test_a_port_that_somebody_took_while_the_plane_was_down_is_a_clear_error(plane):
    await plane.down()
    async with EmbeddedControlPlane(plane.endpoint):
        with pytest.raises(Exception, match="cannot listen on"):
            await plane.up()
    await plane.up()
    assert plane.is_running()


async def test_nothing_is_left_whatever_state_it_ends_in():
    async with assert_no_leaks():
        for end in ("up", "down", "hanging"):
            async with PlaneUnderTest() as plane:
                session = await FlowctlSession(INFO, config_for(plane)).__aenter__()
                await plane.wait_registered("svc")
                if end == "down":
                    await plane.down()
                if end == "hanging":
                    await plane.hanging().__aenter__()
            await session.aclose()


async def test_whoever_waits_when_it_ends_hears_so():
    async with PlaneUnderTest() as plane:
        pass
    with pytest.raises(UsageError, match="the plane has ended"):
        await plane.wait_registered("svc")


async def test_the_lease_is_a_setting():
    async with PlaneUnderTest(heartbeat_ttl=0.1, janitor_interval=0.02) as plane:
        config = config_for(plane, heartbeat_interval=30.0)
        async with FlowctlSession(INFO, config):
            await plane.wait_registered("svc", Health.UNHEALTHY)
