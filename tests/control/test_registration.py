"""The loop that keeps a service known, against a plane that fails on command."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import anyio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.lifecycle import Lifecycle, State
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.control.registration import Registration, simulated_id
from flowctl_aio.errors import RegistrationError
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.transport.server import UnaryMethod, open_server
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import Health, ServiceInfo, ServiceType

pytestmark = pytest.mark.anyio
V1 = "flowctl.v1.ControlPlaneService"


class Moody:
    """A v1 plane whose answers are set by the test, and which notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refusals: dict[str, list[Refused]] = {"register": [], "beat": [], "unregister": []}
        self.hang = False
        self.asking = anyio.Event()

    async def _answer(self, what: str) -> None:
        self.asked.append(what)
        self.asking.set()
        if self.hang:
            await anyio.sleep_forever()
        if self.refusals[what]:
            raise self.refusals[what].pop(0)

    async def _register(self, request):
        await self._answer("register")
        return wire.v1.RegisterResponse(service_id=f"id-{request.component_id}")

    async def _beat(self, request):
        await self._answer("beat")
        assert request.service_id.startswith("id-")
        return wire.Empty()

    async def _unregister(self, request):
        await self._answer("unregister")
        self.asked[-1] = f"unregister {request.service_id}"
        return wire.Empty()

    def services(self):
        return {
            V1: {
                "RegisterComponent": UnaryMethod(self._register, wire.v1.RegisterRequest),
                "Heartbeat": UnaryMethod(self._beat, wire.v1.HeartbeatRequest),
                "UnregisterComponent": UnaryMethod(self._unregister, wire.v1.UnregisterRequest),
            }
        }


@pytest.fixture
async def moody():
    plane = Moody()
    config = FlowctlConfig(heartbeat_interval=0.02, register_timeout=1, heartbeat_timeout=3, unregister_timeout=0.5)
    lifecycle = Lifecycle("svc")
    lifecycle.move(State.CONNECTING)
    async with open_server(plane.services()) as server, open_control_channel(server.endpoint) as channel:
        registration = Registration(
            PlaneClient(channel, config),
            ServiceInfo("svc", ServiceType.SINK),
            config,
            lifecycle,
            pulse,
        )
        yield plane, registration, lifecycle


async def pulse():
    return Health.HEALTHY, {}


async def keep_until(registration, condition) -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(registration.keep_registered)
            while not condition():  # noqa: ASYNC110 - nobody sets an event for it
                await anyio.sleep(0.005)
            group.cancel_scope.cancel()


async def keep_asked(plane, beats) -> None:
    with anyio.fail_after(5):
        while plane.asked.count("beat") < beats:  # noqa: ASYNC110 - nobody sets an event for it
            await anyio.sleep(0.005)


async def test_the_id_that_the_plane_gives_is_the_one_used(moody):
    plane, registration, lifecycle = moody
    assert re.fullmatch(r"sim-SERVICE_TYPE_SINK-\d{14}-[0-9a-f]{8}", registration.service_id)
    await registration.attempt_first()
    assert (registration.service_id, lifecycle.state) == ("id-svc", State.REGISTERED)
    await keep_until(registration, lambda: plane.asked.count("beat") >= 3)
    await registration.unregister()
    assert plane.asked[-1] == "unregister id-svc"
    await registration.unregister()
    assert plane.asked.count("unregister id-svc") == 1


@pytest.mark.parametrize(
    "answer",
    [Refused("NOT_FOUND", "who?"), Refused("FAILED_PRECONDITION", "gone"), Refused("UNKNOWN", "service not found")],
)
async def test_a_beat_that_is_not_known_registers_at_once_and_beats_again(moody, answer):
    plane, registration, lifecycle = moody
    await registration.attempt_first()
    plane.refusals["beat"].append(answer)
    await keep_until(registration, lambda: plane.asked.count("beat") >= 2)
    assert plane.asked[:4] == ["register", "beat", "register", "beat"]
    assert lifecycle.state is State.REGISTERED
    assert registration.missed_beats == 0


async def test_some_refused_beats_are_borne(moody):
    plane, registration, lifecycle = moody
    await registration.attempt_first()
    plane.refusals["beat"] += [Refused("INTERNAL", "disk")] * 2
    await keep_until(registration, lambda: plane.asked.count("beat") >= 4)
    assert lifecycle.state is State.REGISTERED
    assert (registration.missed_beats, registration.rejected_beats, registration.registrations) == (2, 2, 1)


async def test_beats_refused_for_some_intervals_degrade_and_a_new_registration_heals(moody):
    plane, registration, lifecycle = moody
    changes = lifecycle.changes()
    await registration.attempt_first()
    plane.refusals["beat"] += [Refused("INTERNAL", "disk")] * 3
    await keep_until(registration, lambda: registration.registrations == 2 and lifecycle.state is State.REGISTERED)
    assert registration.rejected_beats == 3
    assert [(await anext(changes)).after for _ in range(3)] == [State.REGISTERED, State.DEGRADED, State.REGISTERED]
    assert plane.asked[:6] == ["register", "beat", "beat", "beat", "register", "beat"]


async def test_refused_beats_keep_to_the_grid_and_do_not_hammer_a_plane_that_answers(moody):
    plane, registration, _ = moody
    await registration.attempt_first()
    plane.refusals["beat"] += [Refused("INTERNAL", "disk")] * 100
    began = anyio.current_time()
    await keep_until(registration, lambda: registration.rejected_beats >= 10)
    assert registration.rejected_beats <= (anyio.current_time() - began) / 0.02 + 2


async def test_a_refusal_at_the_start_is_an_error_and_later_only_a_degradation(moody):
    plane, registration, lifecycle = moody
    plane.refusals["register"].append(Refused("INVALID_ARGUMENT", "a bad name"))
    with pytest.raises(RegistrationError, match=r"refused svc.*a bad name"):
        await registration.attempt_first()
    plane.refusals["register"] += [Refused("RESOURCE_EXHAUSTED", "full")] * 2
    await keep_until(registration, lambda: registration.missed_beats >= 2)
    await keep_until(registration, lambda: lifecycle.state is State.REGISTERED)


async def test_a_plane_that_hangs_at_the_start_degrades_within_the_limit(moody):
    plane, registration, lifecycle = moody
    plane.hang = True
    with anyio.fail_after(5):
        await registration.attempt_first()
    assert lifecycle.state is State.DEGRADED
    plane.hang = False
    await keep_until(registration, lambda: lifecycle.state is State.REGISTERED)


async def test_a_farewell_that_hangs_is_given_up(moody):
    plane, registration, _ = moody
    await registration.attempt_first()
    plane.hang = True
    with anyio.fail_after(5):
        await registration.unregister()
    assert not registration.is_registered


async def test_a_registration_that_is_cancelled_half_way_is_taken_back(moody):
    plane, registration, _ = moody
    plane.hang = True
    async with anyio.create_task_group() as group:
        group.start_soon(registration.attempt_first)
        await plane.asking.wait()
        group.cancel_scope.cancel()
    plane.hang = False
    await registration.unregister()
    assert plane.asked[-1] == "unregister svc"


async def test_a_registration_whose_answer_never_came_is_taken_back(moody):
    plane, registration, _ = moody
    plane.hang = True
    await registration.attempt_first()
    plane.hang = False
    await registration.unregister()
    assert plane.asked == ["register", "unregister svc"]


async def test_a_service_whose_beats_are_refused_takes_its_entry_back_all_the_same(moody):
    plane, registration, _ = moody
    await registration.attempt_first()
    plane.refusals["beat"] += [Refused("INTERNAL", "disk")] * 1000
    plane.refusals["register"] += [Refused("UNAUTHENTICATED", "whose token?")] * 1000
    await keep_until(registration, lambda: not registration.is_registered)
    await registration.unregister()
    assert plane.asked[-1] == "unregister id-svc"


async def test_a_service_that_was_refused_has_nothing_to_take_back(moody):
    plane, registration, _ = moody
    plane.refusals["register"].append(Refused("INVALID_ARGUMENT", "a bad name"))
    with pytest.raises(RegistrationError):
        await registration.attempt_first()
    await registration.unregister()
    assert plane.asked == ["register"]


async def test_a_loop_that_was_blocked_sends_one_beat_for_all_that_were_due(moody):
    plane, registration, _ = moody
    registration._config = replace(registration._config, heartbeat_interval=0.5)
    await registration.attempt_first()
    async with anyio.create_task_group() as group:
        group.start_soon(registration.keep_registered)
        await keep_asked(plane, beats=1)
        time.sleep(1.2)  # noqa: ASYNC251 - the fault under test
        await keep_asked(plane, beats=2)
        late = anyio.current_time()
        await keep_asked(plane, beats=3)
        assert anyio.current_time() - late >= 0.1
        group.cancel_scope.cancel()


async def test_missed_beats_are_among_those_that_were_due(moody):
    plane, registration, _ = moody
    plane.refusals["register"] += [Refused("RESOURCE_EXHAUSTED", "full")] * 2
    await keep_until(registration, lambda: plane.asked.count("beat") >= 2)
    assert registration.missed_beats == registration.rejected_beats == 2
    assert registration.beats >= 4


async def test_a_refused_service_leaves_the_thread_at_rest(moody):
    plane, registration, _ = moody
    expected = []

    class Thread:
        heard_at = 0.0
        expect = expected.append

        def rest(self):
            expected.clear()

    registration._standby = Thread()
    plane.refusals["register"] += [Refused("UNAUTHENTICATED", "whose token?")] * 1000
    await keep_until(registration, lambda: plane.asked.count("register") >= 2)
    assert expected == []


def test_simulated_ids_are_never_the_same():
    assert len({simulated_id(ServiceType.SOURCE) for _ in range(100)}) == 100
