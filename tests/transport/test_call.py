"""Calls as a client sees them: every failure is one of our errors, and a cancellation is only what it says."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.errors import DeadlineExceededError, PeerError, PeerUnavailableError, StreamCancelledError, UsageError
from flowctl_aio.transport.call import call_unary, open_call, settle
from flowctl_aio.transport.channel import open_data_channel
from flowctl_aio.transport.server import BidiMethod, ClientStreamMethod, UnaryMethod, open_server
from flowctl_aio.transport.status import Refused

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


async def hang(*_):
    await anyio.sleep_forever()


async def echo(call):
    while (message := await call.read()) is not None:
        await call.write(message)


async def count(call):
    seen = 0
    while await call.read() is not None:
        seen += 1
    return wire.Pong(version=str(seen))


async def refuse_first(call):
    await call.read()
    raise Refused("RESOURCE_EXHAUSTED", "the disk is full")


@pytest.fixture
async def channel():
    services = {
        "svc": {
            "Hang": UnaryMethod(hang, wire.Empty),
            "HangBoth": BidiMethod(hang),
            "Echo": BidiMethod(echo),
            "Count": ClientStreamMethod(count),
            "Refuse": ClientStreamMethod(refuse_first),
            "RefuseBoth": BidiMethod(refuse_first),
        }
    }
    async with (
        open_server(services) as server,
        open_data_channel(server.endpoint, max_message_bytes=8 * MIB) as channel,
    ):
        yield channel


async def test_messages_go_out_and_come_back_in_order(channel):
    async with open_call(channel, "/svc/Echo", answers=True) as call:
        for number in range(10):
            await call.write(b"%d" % number)
        await call.done_writing()
        assert [await call.read() for _ in range(11)] == [*(b"%d" % number for number in range(10)), None]


async def test_a_client_stream_gets_its_one_answer(channel):
    async with open_call(channel, "/svc/Count", answers=False) as call:
        for _ in range(3):
            await call.write(b"")
        await call.done_writing()
        assert wire.Pong.FromString(await call.result()).version == "3"


@pytest.mark.parametrize(("method", "answers"), [("Refuse", False), ("RefuseBoth", True)])
async def test_a_write_that_fails_tells_why_the_peer_ended_the_call(channel, method, answers):
    async def write_for_ever():
        async with open_call(channel, f"/svc/{method}", answers=answers) as call:
            while True:
                await call.write(b"x" * MIB)

    for _ in range(10):
        with pytest.raises(PeerError, match="the disk is full"):
            await write_for_ever()


async def test_a_read_whose_call_is_ended_by_a_sibling_is_a_typed_error(channel):
    async with open_call(channel, "/svc/HangBoth", answers=True) as call, anyio.create_task_group() as group:

        async def cancel() -> None:
            await anyio.wait_all_tasks_blocked()
            call._call.cancel()

        group.start_soon(cancel)
        with pytest.raises(StreamCancelledError):
            await call.read()
        with pytest.raises(StreamCancelledError):
            await call.write(b"")
        assert call.is_over()
    assert asyncio.current_task().cancelling() == 0


async def test_a_task_that_is_cancelled_while_it_reads_is_cancelled(channel):
    async with open_call(channel, "/svc/HangBoth", answers=True) as call:
        task = asyncio.create_task(call.read())
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_a_scope_around_a_read_ends_it_in_a_timeout(channel):
    for limit in (0.0, 0.02):
        async with open_call(channel, "/svc/HangBoth", answers=True) as call:
            with pytest.raises(TimeoutError), anyio.fail_after(limit):
                await call.read()


async def test_the_limit_of_a_call_and_the_limit_of_a_scope_are_told_apart(channel):
    with pytest.raises(TimeoutError, match="no answer in time"):
        await call_unary(channel, "/svc/Hang", wire.Empty(), wire.Empty, timeout=0.05)
    for _ in range(10):
        with anyio.move_on_after(0.01) as scope:
            await call_unary(channel, "/svc/Hang", wire.Empty(), wire.Empty, timeout=5)
        assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await call_unary(channel, "/svc/Hang", wire.Empty(), wire.Empty, timeout=None)


async def test_nobody_at_the_address_is_a_connection_error_at_once():
    async with open_data_channel("127.0.0.1:1", max_message_bytes=MIB) as channel:
        with pytest.raises(ConnectionError), anyio.fail_after(5):
            await call_unary(channel, "/svc/Hang", wire.Empty(), wire.Empty, timeout=None)
        async with open_call(channel, "/svc/Echo", answers=True) as call:
            with pytest.raises(PeerUnavailableError):
                await call.read()


async def test_who_waited_for_a_peer_in_vain_is_told_why_there_is_no_connection():
    async with open_data_channel("127.0.0.1:1", max_message_bytes=MIB) as channel:
        with pytest.raises(DeadlineExceededError, match=r"no answer in time; .*Connection refused"):
            await call_unary(channel, "/svc/Hang", wire.Empty(), wire.Empty, timeout=0.1, wait_for_ready=True)


async def test_who_waited_for_an_answer_in_vain_is_told_nothing_of_connections(channel):
    with pytest.raises(DeadlineExceededError, match=r"no answer in time$"):
        await call_unary(channel, "/svc/Hang", wire.Empty(), wire.Empty, timeout=0.1, wait_for_ready=True)


async def test_a_half_close_that_fails_tells_why_there_is_no_connection():
    async with (
        open_data_channel("127.0.0.1:1", max_message_bytes=MIB) as channel,
        open_call(channel, "/svc/Count", answers=False) as call,
    ):
        with pytest.raises(PeerUnavailableError, match="Connection refused"):
            await call.done_writing()


async def test_a_closed_channel_is_a_usage_error(channel):
    async with open_data_channel(channel.peer, max_message_bytes=MIB) as closed:
        pass
    with pytest.raises(UsageError, match="is closed"):
        await call_unary(closed, "/svc/Hang", wire.Empty(), wire.Empty, timeout=5)
    for request, answers in ((b"", True), (None, True), (None, False)):
        with pytest.raises(UsageError, match="is closed"):
            async with open_call(closed, "/svc/Echo", request, answers=answers):
                pass


async def test_settle_passes_results_on():
    async def answer():
        return 7

    assert await settle(answer(), "peer") == 7
