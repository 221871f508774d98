"""Claims about the embedded plane: leases, waiting for changes, and its own start and end."""

import logging

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flowctl_aio import _wire as wire
from flowctl_aio.errors import ConfigError, UsageError
from flowctl_aio.plane import EmbeddedControlPlane
from flowctl_aio.types import Health

from .calls import CLASSIC, PROCESSOR, QUICK, refused, served, stubs

pytestmark = pytest.mark.anyio


# Leases


async def test_the_janitor_ends_a_lease_and_an_explicit_beat_brings_it_back(caplog):
    caplog.set_level(logging.INFO, "flowctl_aio.plane")
    async with served(**QUICK) as (plane, _, v1):
        await v1.RegisterComponent(wire.v1.RegisterRequest(component=PROCESSOR))
        await plane.wait_for_service("ttp", health=Health.UNHEALTHY)
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="ttp"))
        assert plane.services()[0].health is Health.UNHEALTHY
        healthy = wire.v1.HealthStatus.HEALTH_STATUS_HEALTHY
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="ttp", status=healthy))
        # The log, because by now the lease may have lapsed again.
        assert "ttp went from UNHEALTHY to HEALTHY: by a heartbeat" in caplog.messages


async def test_a_classic_beat_brings_a_lapsed_service_back(caplog):
    caplog.set_level(logging.INFO, "flowctl_aio.plane")
    async with served(**QUICK) as (plane, classic, _):
        await classic.Register(CLASSIC)
        await plane.wait_for_service("src", health=Health.UNHEALTHY)
        await classic.Heartbeat(wire.ServiceHeartbeat(service_id="src"))
        assert "src went from UNHEALTHY to HEALTHY: by a heartbeat" in caplog.messages


# Waiting


async def test_waiting_for_a_service_ends_when_it_registers():
    async with served() as (plane, classic, _):
        seen = []

        async def wait():
            seen.append(await plane.wait_for_service("src"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await classic.Register(wire.ServiceInfo(service_id="other"))
            assert seen == []
            await classic.Register(CLASSIC)
        assert [status.service_id for status in seen] == ["src"]


async def test_a_beat_is_a_change_and_so_is_a_departure():
    async with served() as (plane, classic, v1):
        await classic.Register(CLASSIC)
        before = plane.services()[0].last_heartbeat
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(plane.wait_until, lambda: plane.services()[0].last_heartbeat > before)
            await classic.Heartbeat(wire.ServiceHeartbeat(service_id="src"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(plane.wait_until, lambda: not plane.services())
            await v1.UnregisterComponent(wire.v1.UnregisterRequest(service_id="src"))


async def test_a_wait_that_is_cancelled_leaves_nothing_behind():
    async with served() as (plane, classic, _):
        with anyio.move_on_after(0.01) as scope:
            await plane.wait_for_service("src")
        assert scope.cancelled_caught
        await classic.Register(CLASSIC)
        assert (await plane.wait_for_service("src")).health is Health.HEALTHY


async def test_who_waits_hears_of_the_end():
    plane = EmbeddedControlPlane()
    async with plane:
        outcome = []

        async def wait():
            with pytest.raises(UsageError, match="not running"):
                await plane.wait_for_service("never")
            outcome.append("told")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await checkpoint()
            await plane.__aexit__(None, None, None)
        assert outcome == ["told"]


# Start and end


async def test_a_stopped_plane_tells_what_it_knew():
    async with served() as (plane, classic, _):
        await classic.Register(CLASSIC)
        await classic.CreatePipelineRun(wire.CreatePipelineRunRequest(run_id="r1"))
    assert [status.service_id for status in plane.services()] == ["src"]
    assert [run.run_id for run in plane.runs()] == ["r1"]
    assert (await plane.wait_for_service("src")).service_id == "src"
    with pytest.raises(UsageError):
        await plane.wait_changed()


async def test_a_new_plane_takes_the_port_at_once_and_knows_nobody():
    async with EmbeddedControlPlane() as plane:
        port = plane.port
        async with stubs(plane) as (classic, _):
            await classic.Register(CLASSIC)
            for _ in range(5):
                await plane.__aexit__(None, None, None)
                plane = EmbeddedControlPlane(f"127.0.0.1:{port}")
                async with plane:
                    assert plane.port == port
                    beat = classic.Heartbeat(wire.ServiceHeartbeat(service_id="src"), wait_for_ready=True, timeout=30)
                    assert await refused(beat) == ("NOT_FOUND", "service src not found")
                    assert dict((await classic.Register(CLASSIC)).connection_info) == {
                        "control_plane_endpoint": f"127.0.0.1:{port}"
                    }


async def test_a_call_to_a_stopped_plane_finds_nobody():
    async with EmbeddedControlPlane() as plane, stubs(plane) as (classic, _):
        await classic.Register(CLASSIC)
        await plane.__aexit__(None, None, None)
        assert (await refused(classic.ListServices(wire.Empty())))[0] == "UNAVAILABLE"


async def test_a_port_that_is_taken_is_the_users_error():
    async with EmbeddedControlPlane() as plane:
        with pytest.raises(ConfigError, match="cannot listen on"):
            async with EmbeddedControlPlane(plane.endpoint):
                pass
        async with stubs(plane) as (classic, _):
            assert not (await classic.ListServices(wire.Empty())).services


async def test_other_machines_are_let_in_only_on_request():
    with pytest.raises(ConfigError, match="insecure=True"):
        async with EmbeddedControlPlane("0.0.0.0:0"):
            pass
    async with EmbeddedControlPlane("0.0.0.0:0", insecure=True) as plane:
        assert plane.port > 0


async def test_a_unix_socket_will_do(tmp_path):
    async with served(address=f"unix://{tmp_path}/plane.sock") as (plane, classic, _):
        await classic.Register(CLASSIC)
        assert plane.endpoint == f"unix://{tmp_path}/plane.sock"


async def test_a_unix_socket_has_no_port(tmp_path):
    async with EmbeddedControlPlane(f"unix://{tmp_path}/plane.sock") as plane:
        assert plane.port == 0


@pytest.mark.parametrize("setting", ["heartbeat_ttl", "janitor_interval"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_times_must_be_above_zero(setting, seconds):
    with pytest.raises(ConfigError, match=setting):
        EmbeddedControlPlane(**{setting: seconds})


async def test_a_plane_is_entered_once_and_has_no_endpoint_before():
    plane = EmbeddedControlPlane()
    with pytest.raises(UsageError):
        plane.endpoint  # noqa: B018 - asking is the test
    async with plane:
        assert repr(plane) == f"<EmbeddedControlPlane listening at {plane.endpoint}>"
        with pytest.raises(UsageError):
            await plane.__aenter__()
    assert repr(plane) == f"<EmbeddedControlPlane stopped at {plane.endpoint}>"
    with pytest.raises(UsageError):
        await plane.__aenter__()


async def test_a_plane_may_be_entered_in_one_task_and_left_in_another():
    plane = EmbeddedControlPlane()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(plane.__aenter__)
    async with stubs(plane) as (classic, _):
        await classic.Register(CLASSIC)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(plane.__aexit__, None, None, None)
    async with EmbeddedControlPlane(plane.endpoint):
        assert not plane.is_running()


async def test_an_error_in_the_block_comes_out_as_itself():
    with pytest.raises(KeyError, match="mine"):
        async with EmbeddedControlPlane():
            raise KeyError("mine")


async def test_leaving_under_cancellation_frees_the_port():
    with anyio.CancelScope() as scope:
        async with EmbeddedControlPlane() as plane:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    async with EmbeddedControlPlane(plane.endpoint) as successor:
        assert successor.port == plane.port


async def test_cancelling_the_start_leaves_no_server():
    plane = EmbeddedControlPlane()
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with plane:
            pytest.fail("it must not start")
    assert not plane.is_running()
