"""Claims about what a test may do to a plane: hold or refuse calls before they are handled, and make it forget."""

import anyio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.transport.status import Refused

from .calls import CLASSIC, PROCESSOR, refused, served

pytestmark = pytest.mark.anyio


async def test_the_gate_sees_each_call_of_both_dialects_before_it_is_handled():
    async with served() as (plane, classic, v1):
        seen = []

        async def gate(method, request):
            seen.append((method, request.service_id, len(plane.services())))

        plane.gate = gate
        await classic.Register(CLASSIC)
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="src"))
        assert seen == [
            ("/flowctl.ControlPlane/Register", "src", 0),
            ("/flowctl.v1.ControlPlaneService/Heartbeat", "src", 1),
        ]


async def test_the_gate_may_answer_in_the_planes_place():
    async def gate(method, request):
        raise Refused("UNAVAILABLE", f"not now, {request.service_id}")

    async with served(gate=gate) as (plane, classic, _):
        assert await refused(classic.Register(CLASSIC)) == ("UNAVAILABLE", "not now, src")
        assert plane.services() == []
        plane.gate = None
        await classic.Register(CLASSIC)


async def test_a_call_that_the_gate_holds_does_not_hold_others_nor_the_end():
    held = anyio.Event()

    async def gate(method, request):
        if method.endswith("/Register"):
            held.set()
            await anyio.sleep_forever()

    async with served(gate=gate) as (plane, classic, _), anyio.create_task_group() as tasks:
        tasks.start_soon(refused, classic.Register(CLASSIC))
        await held.wait()
        assert not (await classic.ListServices(wire.Empty())).services
        await plane.aclose()


async def test_a_plane_may_forget_one_service_or_all():
    async with served() as (plane, classic, v1):
        await classic.Register(CLASSIC)
        await v1.RegisterComponent(wire.v1.RegisterRequest(component=PROCESSOR))
        await classic.CreatePipelineRun(wire.CreatePipelineRunRequest(run_id="r1"))
        plane.forget("src")
        plane.forget("src")
        assert (await refused(classic.Heartbeat(wire.ServiceHeartbeat(service_id="src"))))[0] == "NOT_FOUND"
        assert [status.service_id for status in plane.services()] == ["ttp"]
        plane.forget()
        assert plane.services() == []
        assert [run.run_id for run in plane.runs()] == ["r1"]
