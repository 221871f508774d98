"""Calls from threads: the same errors as on the loop, also while the loop is blocked or the channel goes away."""

from __future__ import annotations

import subprocess
import sys
from threading import Event, Thread

import anyio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.errors import (
    ConfigError,
    DeadlineExceededError,
    PeerError,
    PeerUnavailableError,
    StreamCancelledError,
    UsageError,
)
from flowctl_aio.transport.blocking import BlockingChannel
from flowctl_aio.transport.server import UnaryMethod, open_server
from flowctl_aio.transport.status import Refused

pytestmark = pytest.mark.anyio
PLANE = """
import asyncio
from flowctl_aio import EmbeddedControlPlane

async def main():
    async with EmbeddedControlPlane() as plane:
        print(plane.endpoint, flush=True)
        await asyncio.to_thread(input)

asyncio.run(main())
"""


async def hang(_):
    await anyio.sleep_forever()


async def refuse(_):
    raise Refused("NOT_FOUND", "who?")


async def answer(_):
    return wire.Pong(version="7")


SERVICES = {
    "svc": {
        "Hang": UnaryMethod(hang, wire.Empty),
        "Refuse": UnaryMethod(refuse, wire.Empty),
        "Answer": UnaryMethod(answer, wire.Empty),
    }
}


def call(channel: BlockingChannel, name: str = "Answer", timeout: float = 5.0, *, patient: bool = False) -> str:
    method = f"/svc/{name}"
    return channel.call(method, wire.Empty(), wire.Pong, timeout=timeout, wait_for_ready=patient).version


@pytest.fixture
async def server():
    async with open_server(SERVICES) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("Refuse", PeerError, "NOT_FOUND"),
        ("Missing", PeerError, "UNIMPLEMENTED"),
        ("Hang", DeadlineExceededError, "no answer in time"),
    ],
)
async def test_failures_are_the_same_errors_as_on_the_loop(server, name, kind, text):
    with BlockingChannel(server.endpoint) as channel:
        assert await anyio.to_thread.run_sync(call, channel) == "7"
        with pytest.raises(kind, match=text):
            await anyio.to_thread.run_sync(call, channel, name, 0.1 if name == "Hang" else 5.0)


def test_nobody_at_the_address_is_a_connection_error_at_once_or_at_the_end_of_the_wait():
    with BlockingChannel("127.0.0.1:1") as channel:
        with pytest.raises(PeerUnavailableError):
            call(channel)
        with pytest.raises(TimeoutError):
            call(channel, timeout=0.1, patient=True)


def test_calls_go_on_while_the_loop_of_this_process_is_blocked():
    with subprocess.Popen(
        [sys.executable, "-c", PLANE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as plane:
        endpoint = plane.stdout.readline().strip()
        heard = Event()

        def beat() -> None:
            with BlockingChannel(endpoint) as channel:
                channel.call("/flowctl.ControlPlane/ListServices", wire.Empty(), wire.ServiceList, timeout=5)
            heard.set()

        async def main() -> None:
            Thread(target=beat, daemon=True).start()
            assert heard.wait(5)  # the loop stands still meanwhile

        anyio.run(main)
        plane.communicate("\n", timeout=10)
    assert plane.returncode == 0


async def test_a_close_from_another_thread_ends_the_calls_and_the_channel(server):
    channel = BlockingChannel(server.endpoint)
    outcomes: list[BaseException] = []
    started = anyio.Event()

    async def wait() -> None:
        started.set()
        with pytest.raises(StreamCancelledError) as caught:
            await anyio.to_thread.run_sync(call, channel, "Hang")
        outcomes.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await started.wait()
        while not channel._renewal._newest.calls:  # noqa: ASYNC110 - nobody announces that a thread has called
            await anyio.sleep(0.005)
        await anyio.to_thread.run_sync(channel.close)
    assert len(outcomes) == 1
    channel.close()
    with pytest.raises(UsageError, match="is closed"):
        call(channel)


async def test_calls_and_a_close_that_meet_end_in_answers_or_typed_errors(server):
    """However the two fall: no foreign error, no hang."""
    for delay in (0.0, 0.001, 0.003, 0.01):
        channel = BlockingChannel(server.endpoint)

        def many(channel: BlockingChannel = channel) -> None:
            while True:
                try:
                    call(channel)
                except StreamCancelledError:
                    continue
                except UsageError:
                    return

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(anyio.to_thread.run_sync, many)
            await anyio.sleep(delay)
            await anyio.to_thread.run_sync(channel.close)


def test_a_channel_is_opened_under_the_same_conditions_as_on_the_loop():
    with pytest.raises(ConfigError, match="insecure=True"):
        BlockingChannel("plane.example:1")
    with pytest.raises(ConfigError, match="not an endpoint"):
        BlockingChannel("http://plane.example")
    with BlockingChannel("plane.example:1", insecure=True) as channel:
        assert repr(channel) == "<BlockingChannel to plane.example:1>"


async def test_a_peer_that_comes_back_is_found_again(server):
    address = server.endpoint
    with BlockingChannel(address) as channel:
        await anyio.to_thread.run_sync(call, channel)
        await server.drain(0)
        with pytest.raises(PeerUnavailableError):
            await anyio.to_thread.run_sync(call, channel)
        async with open_server(SERVICES, address):
            assert await anyio.to_thread.run_sync(lambda: call(channel, patient=True)) == "7"
