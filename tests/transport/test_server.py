"""A port is bound, methods are served, and what a handler raises is told without its secrets."""

from __future__ import annotations

import asyncio

import anyio
import grpc
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.errors import ConfigError, PeerError, PeerUnavailableError, StreamError
from flowctl_aio.transport.call import call_unary, open_call
from flowctl_aio.transport.channel import open_data_channel
from flowctl_aio.transport.server import (
    BidiMethod,
    ClientStreamMethod,
    ServerStreamMethod,
    UnaryMethod,
    open_server,
)
from flowctl_aio.transport.status import Refused

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


async def secret(*_):
    raise ValueError("password=hunter2")


async def secret_group(*_):
    async with anyio.create_task_group() as group:
        group.start_soon(secret)


async def refuse(*_):
    raise Refused("OUT_OF_RANGE", "no further")


def methods(handle):
    return {
        "svc": {
            "Unary": UnaryMethod(handle, wire.Empty),
            "Down": ServerStreamMethod(handle, wire.Empty),
            "Up": ClientStreamMethod(handle),
            "Both": BidiMethod(handle),
        }
    }


async def ask(channel, name: str) -> None:
    """Call a method, and take what it answers."""
    if name == "Unary":
        await call_unary(channel, "/svc/Unary", wire.Empty(), wire.Empty, timeout=5)
    elif name == "Up":
        async with open_call(channel, "/svc/Up", answers=False) as call:
            await call.result()
    else:
        async with open_call(channel, f"/svc/{name}", b"" if name == "Down" else None, answers=True) as call:
            await call.read()


@pytest.mark.parametrize("name", ["Unary", "Down", "Up", "Both"])
@pytest.mark.parametrize("handle", [secret, secret_group])
async def test_what_a_handler_raises_is_told_by_its_kind_alone(name, handle):
    async with open_server(methods(handle)) as server, open_data_channel(server.endpoint, max_message_bytes=MIB) as ch:
        with pytest.raises(PeerError) as caught:
            await ask(ch, name)
    assert (caught.value.code, caught.value.details) == ("INTERNAL", "ValueError in the component")


@pytest.mark.parametrize("name", ["Unary", "Down", "Up", "Both"])
async def test_a_refusal_arrives_as_it_was_given(name):
    async with open_server(methods(refuse)) as server, open_data_channel(server.endpoint, max_message_bytes=MIB) as ch:
        with pytest.raises(PeerError) as caught:
            await ask(ch, name)
    assert (caught.value.code, caught.value.details) == ("OUT_OF_RANGE", "no further")


async def test_metadata_goes_with_the_answer():
    async def answer(request):
        return wire.Pong(version="7")

    services = {"svc": {"Unary": UnaryMethod(answer, wire.Empty, (("key", "value"),))}}
    async with open_server(services) as server, open_data_channel(server.endpoint, max_message_bytes=MIB) as channel:
        metadata: dict[str, str] = {}
        pong = await call_unary(channel, "/svc/Unary", wire.Empty(), wire.Pong, timeout=5, heard=metadata)
    assert pong.version == "7"
    assert metadata["key"] == "value"


async def test_a_method_that_is_not_there_is_unimplemented():
    async with open_server({}) as server, open_data_channel(server.endpoint, max_message_bytes=MIB) as channel:
        with pytest.raises(PeerError, match="UNIMPLEMENTED"):
            await ask(channel, "Unary")


async def test_a_taken_port_is_a_config_error_and_the_first_server_goes_on():
    async with open_server(methods(refuse)) as server:
        with pytest.raises(ConfigError, match=f"cannot listen on {server.endpoint}"):
            async with open_server({}, server.endpoint):
                pass
        async with open_data_channel(server.endpoint, max_message_bytes=MIB) as channel:
            with pytest.raises(PeerError, match="no further"):
                await ask(channel, "Unary")


async def test_a_port_is_free_again_behind_the_block():
    async with open_server({}) as server:
        endpoint = server.endpoint
    async with open_server({}, endpoint) as again:
        assert (again.endpoint, again.port) == (endpoint, int(endpoint.rpartition(":")[2]))


async def test_a_unix_socket_is_served(tmp_path):
    address = f"unix://{tmp_path}/s"
    async with open_server(methods(refuse), address) as server:
        assert (server.endpoint, server.port) == (address, 0)
        async with open_data_channel(address, max_message_bytes=MIB) as channel:
            with pytest.raises(PeerError, match="no further"):
                await ask(channel, "Unary")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "http://localhost:1", ""])
async def test_a_server_is_not_opened_to_others_by_accident(address):
    with pytest.raises(ConfigError):
        async with open_server({}, address):
            pass


async def test_leaving_the_block_cancels_the_handlers():
    started, ended = anyio.Event(), anyio.Event()

    async def hang(call):
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with anyio.create_task_group() as group:
        async with open_server({"svc": {"Both": BidiMethod(hang)}}) as server:
            gone = []

            async def wait(endpoint: str) -> None:
                async with open_data_channel(endpoint, max_message_bytes=MIB) as channel:
                    try:
                        await ask(channel, "Both")
                    except StreamError as error:
                        gone.append(error)

            group.start_soon(wait, server.endpoint)
            await started.wait()
        assert ended.is_set()
    assert isinstance(gone[0], PeerUnavailableError)


async def test_a_drain_takes_no_new_call_and_lets_the_old_ones_end():
    started, go = anyio.Event(), anyio.Event()

    async def answer(request, call):
        started.set()
        await go.wait()
        await call.write(b"last words")

    services = {"svc": {"Down": ServerStreamMethod(answer, wire.Empty), "Unary": UnaryMethod(refuse, wire.Empty)}}
    async with (
        open_server(services) as server,
        open_data_channel(server.endpoint, max_message_bytes=MIB) as channel,
        open_call(channel, "/svc/Down", b"", answers=True) as call,
        anyio.create_task_group() as group,
    ):
        await started.wait()
        group.start_soon(server.drain, 5)
        await anyio.wait_all_tasks_blocked()
        async with open_data_channel(server.endpoint, max_message_bytes=MIB) as other:
            with pytest.raises(PeerUnavailableError):
                await ask(other, "Unary")
        go.set()
        assert await call.read() == b"last words"
        assert await call.read() is None


async def test_a_start_that_is_cancelled_leaves_the_port_free():
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with open_server({}):
            pytest.fail("entered")
    assert scope.cancelled_caught
    assert asyncio.current_task().cancelling() == 0


async def test_messages_above_the_limit_are_not_accepted():
    async def read(call):
        await call.read()
        return wire.Empty()

    services = {"svc": {"Up": ClientStreamMethod(read)}}
    async with (
        open_server(services, max_message_bytes=1000) as server,
        open_data_channel(server.endpoint, max_message_bytes=MIB) as channel,
        open_call(channel, "/svc/Up", answers=False) as call,
    ):
        await call.write(b"x" * 2000)
        with pytest.raises(StreamError) as caught:
            await call.result()
    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED.name
