"""Entering a session: what is true before its block, and errors that come out as themselves."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from flowctl_aio import FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio.control.lifecycle import State
from flowctl_aio.errors import ConfigError, RegistrationError, UsageError
from flowctl_aio.streams.handshake import Role, meet
from flowctl_aio.transport.channel import open_data_channel

from .conftest import INFO, Numbers, ids, is_uncancelled, tasks

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize("endpoint", ["http://localhost:8080", "", "localhost", "localhost:99999", "10.0.0.1:8080"])
async def test_an_endpoint_that_cannot_be_is_a_config_error(endpoint):
    with pytest.raises(ConfigError):
        async with FlowctlSession(INFO, FlowctlConfig(endpoint=endpoint)):
            pytest.fail("entered")


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


async def test_a_lifespan_without_its_decorator_is_named(config):
    class Undecorated(Numbers):
        async def lifespan(self):
            yield

    with pytest.raises(UsageError, match="lifespan of Undecorated is an async context manager"):
        async with FlowctlSession(Undecorated(), config):
            pytest.fail("entered")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("outputs", "a.B", "the outputs of Odd are a list of event types, not 'a.B'"),
        ("inputs", ["a.B", 5], r"the inputs of Odd are a list of event types, not \['a.B', 5\]"),
        ("max_inflight", "16", "the max_inflight of Odd is a number of batches, not '16'"),
    ],
)
async def test_what_a_component_says_wrongly_of_itself_is_named(name, value, said):
    odd = type("Odd", (Numbers,), {name: value})
    with pytest.raises(ConfigError, match=said):
        FlowctlSession(odd())


async def test_event_types_of_a_service_that_are_one_text_are_named():
    with pytest.raises(ConfigError, match="the event types of odd are a list"):
        FlowctlSession(ServiceInfo("odd", ServiceType.SINK, input_event_types="a.B"))


async def test_a_lifespan_that_is_cancelled_out_of_nowhere_is_an_error_of_entering(plane, config):
    class Broken(Numbers):
        @asynccontextmanager
        async def lifespan(self):
            raise asyncio.CancelledError
            yield

    with pytest.raises(RuntimeError, match="CancelledError out of nowhere"):
        async with FlowctlSession(Broken(), config):
            pytest.fail("entered")
    assert ids(plane) == []


async def test_entering_that_is_cancelled_leaves_nothing(plane, config, until):
    before = tasks()
    for delay in (0, 0.001, 0.003):
        with anyio.move_on_after(delay):
            async with FlowctlSession(INFO, config):
                await anyio.sleep_forever()
    with anyio.fail_after(5):
        await plane.wait_until(lambda: ids(plane) == [])
    await until(lambda: tasks() <= before)


@pytest.mark.parametrize("kind", ["source", 1, None])
async def test_a_service_of_no_known_kind_is_named(kind):
    with pytest.raises(UsageError, match=f"the service_type of odd is a ServiceType, not {kind!r}"):
        FlowctlSession(ServiceInfo("odd", kind))


async def test_a_session_is_used_once(plane, config):
    session = FlowctlSession(INFO, config)
    async with session:
        with pytest.raises(UsageError, match="before"):
            await session.__aenter__()
        assert session.state is State.REGISTERED
    with pytest.raises(UsageError, match="before"):
        async with session:
            pytest.fail("entered")
