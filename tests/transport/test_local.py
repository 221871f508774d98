"""A server of the same loop is called in memory: the same objects, the same errors and ends as over the network."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from contextvars import ContextVar
from weakref import ref

import anyio
import anyio.to_thread
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.errors import (
    DeadlineExceededError,
    PeerError,
    PeerUnavailableError,
    StreamCancelledError,
)
from flowctl_aio.security import Admission
from flowctl_aio.transport.call import call_unary, open_call
from flowctl_aio.transport.channel import open_data_channel
from flowctl_aio.transport.local import find
from flowctl_aio.transport.local_call import MAX_WAITING
from flowctl_aio.transport.pool import ConnectionPool
from flowctl_aio.transport.server import BidiMethod, ClientStreamMethod, ServerStreamMethod, UnaryMethod, open_server
from flowctl_aio.transport.status import Refused

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


def all_kinds(handle):
    return {
        "Unary": UnaryMethod(handle, wire.Empty),
        "Down": ServerStreamMethod(handle, wire.Empty),
        "Up": ClientStreamMethod(handle),
        "Both": BidiMethod(handle),
    }


@asynccontextmanager
async def served(handle, **methods):
    """A server of this loop, and the way to it."""
    methods = methods or {"Both": BidiMethod(handle)}
    async with open_server({"svc": methods}, is_near=True) as server, way_to(server) as channel:
        yield server, channel


@asynccontextmanager
async def way_to(server):
    """Without the network: every connection is refused."""
    pool = ConnectionPool(refuse_to_dial, near=find)
    async with pool.borrow(server.endpoint) as lease:
        yield lease
    await pool.aclose()


def refuse_to_dial(endpoint: str):
    raise ConnectionRefusedError(endpoint)


async def echo(call):
    while (message := await call.read()) is not None:
        await call.write(message)


async def never(*_):
    await anyio.sleep_forever()


async def test_the_very_objects_arrive_in_their_order_and_the_end_behind_them():
    sent = [object() for _ in range(20)]
    got = []
    async with served(echo) as (_, channel), open_call(channel, "/svc/Both", answers=True) as call:
        assert call.is_local

        async def write() -> None:
            for message in sent:
                await call.write(message)
            await call.done_writing()

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            while (message := await call.read()) is not None:
                got.append(message)
        assert await call.read() is None
        assert call.is_over()
    assert [id(one) for one in got] == [id(one) for one in sent]


async def test_an_answer_comes_with_what_the_server_says_of_itself():
    async def ping(request):
        return wire.Pong(version="1.2.3")

    heard: dict[str, str] = {}
    async with served(None, Ping=UnaryMethod(ping, wire.Empty, (("flowctl-aio", "arrow"),))) as (_, channel):
        answer = await call_unary(channel, "/svc/Ping", wire.Empty(), wire.Pong, timeout=5, heard=heard)
    assert (answer.version, heard) == ("1.2.3", {"flowctl-aio": "arrow"})


async def ask(channel, name: str) -> None:
    if name == "Unary":
        await call_unary(channel, "/svc/Unary", wire.Empty(), wire.Empty, timeout=5)
    elif name == "Up":
        async with open_call(channel, "/svc/Up", answers=False) as call:
            await call.result()
    else:
        async with open_call(channel, f"/svc/{name}", b"" if name == "Down" else None, answers=True) as call:
            await call.read()


@pytest.mark.parametrize("name", ["Unary", "Down", "Up", "Both", "Unknown"])
@pytest.mark.parametrize("fault", [Refused("OUT_OF_RANGE", "no further"), ValueError("password=hunter2")], ids=repr)
async def test_a_failure_is_told_as_over_the_network(name, fault):
    async def fail(*_):
        raise fault

    told = []
    async with (
        served(None, **all_kinds(fail)) as (server, near),
        open_data_channel(server.endpoint, max_message_bytes=MIB) as far,
    ):
        for channel in (near, far):
            with pytest.raises(PeerError) as caught:
                await ask(channel, name)
            told.append((type(caught.value), caught.value.code, caught.value.details, str(caught.value)))
    assert told[0] == told[1]
    assert "hunter2" not in str(told)


async def test_what_was_written_before_a_failure_comes_before_it():
    async def fail(call):
        await call.write("one")
        await call.write("two")
        raise Refused("DATA_LOSS", "no more")

    async with served(fail) as (_, channel), open_call(channel, "/svc/Both", answers=True) as call:
        assert [await call.read(), await call.read()] == ["one", "two"]
        for _ in range(2):
            with pytest.raises(PeerError, match="no more"):
                await call.read()
        with pytest.raises(PeerError, match="no more"):
            await call.write("late")
        with pytest.raises(PeerError, match="no more"):
            await call.done_writing()


async def test_an_answer_that_takes_too_long_is_given_up_and_its_handler_cancelled():
    cancelled = anyio.Event()

    async def hang(request):
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with served(None, Unary=UnaryMethod(hang, wire.Empty)) as (server, channel):
        with pytest.raises(DeadlineExceededError, match=server.endpoint):
            await call_unary(channel, "/svc/Unary", wire.Empty(), wire.Empty, timeout=0.02)
        with anyio.fail_after(5):
            await cancelled.wait()
        # A scope ends the waiting in its own way.
        with anyio.move_on_after(0.02) as scope:
            await call_unary(channel, "/svc/Unary", wire.Empty(), wire.Empty, timeout=None)
        assert scope.cancelled_caught


async def test_a_client_that_leaves_cancels_the_handler_whose_cleanup_may_await():
    begun, cleaned = anyio.Event(), anyio.Event()

    async def handle(call):
        begun.set()
        try:
            await call.read()
        finally:
            await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.001)
            cleaned.set()

    async with served(handle) as (_, channel):
        async with open_call(channel, "/svc/Both", answers=True) as call:
            await begun.wait()
        with anyio.fail_after(5):
            await cleaned.wait()
        with pytest.raises(StreamCancelledError):
            await call.read()


async def test_a_call_that_is_left_at_once_never_begins():
    begun = False

    async def handle(call):
        nonlocal begun
        begun = True

    async with served(handle) as (_, channel), open_call(channel, "/svc/Both", answers=True):
        pass
    assert not begun


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_writer_is_no_further_ahead_than_the_bound(side, until):
    wrote = 0

    async def write(write):
        nonlocal wrote
        while True:
            await write(wrote)
            wrote += 1

    handle = never if side == "client" else lambda call: write(call.write)
    async with (
        served(handle) as (_, channel),
        open_call(channel, "/svc/Both", answers=True) as call,
        anyio.create_task_group() as group,
    ):
        if side == "client":
            group.start_soon(write, call.write)
        await until(lambda: wrote == MAX_WAITING)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert wrote == MAX_WAITING
        group.cancel_scope.cancel()


async def test_a_read_that_is_cancelled_loses_nothing():
    async with served(echo) as (_, channel), open_call(channel, "/svc/Both", answers=True) as call:
        with anyio.move_on_after(0.01):
            await call.read()
        await call.write("kept")
        assert await call.read() == "kept"


async def test_draining_refuses_new_calls_and_lets_those_under_way_end():
    async with served(echo) as (server, channel), open_call(channel, "/svc/Both", answers=True) as call:
        await call.write("before")
        assert await call.read() == "before"
        async with anyio.create_task_group() as group:
            group.start_soon(server.drain, 10)
            await anyio.lowlevel.checkpoint()
            assert find(server.endpoint) is None
            with pytest.raises(PeerUnavailableError, match="stopping"):
                server.local.start("/svc/Both", None, ())
            await call.write("during")
            assert await call.read() == "during"
            await call.done_writing()
            assert await call.read() is None


async def test_a_call_that_outlasts_the_draining_is_cut_off_as_unavailable():
    async with served(never) as (server, channel), open_call(channel, "/svc/Both", answers=True) as call:
        await server.drain(0.02)
        with pytest.raises(PeerUnavailableError, match="stopping"):
            await call.read()


async def test_a_server_is_left_only_when_its_handlers_have_cleaned_up():
    begun, cleaned = anyio.Event(), False

    async def handle(call):
        nonlocal cleaned
        try:
            begun.set()
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(0.02)
            cleaned = True

    async with anyio.create_task_group() as group, served(handle) as (_, channel):

        async def call() -> None:
            with pytest.raises(PeerUnavailableError):
                await ask(channel, "Both")

        group.start_soon(call)
        await begun.wait()
    assert cleaned


async def test_handlers_do_not_see_the_context_of_their_callers():
    variable: ContextVar[str] = ContextVar("variable", default="none")
    variable.set("of the server")

    async def tell(call):
        await call.write(variable.get())

    async with served(tell) as (_, channel):
        variable.set("of the client")
        async with open_call(channel, "/svc/Both", answers=True) as call:
            assert await call.read() == "of the server"


async def test_calls_in_memory_need_no_connection_and_are_counted_all_the_same():
    async with open_server({"svc": {"Both": BidiMethod(echo)}}, is_near=True) as server:
        pool = ConnectionPool(refuse_to_dial, near=find)
        async with pool.borrow(server.endpoint) as lease:
            assert lease.is_up
            async with open_call(lease, "/svc/Both", answers=True):
                stats = pool.stats()[server.endpoint]
                assert (stats.total, stats.streams, pool.in_use(server.endpoint)) == (0, 1, 2)
            assert pool.stats()[server.endpoint].streams == 0
    with pytest.raises(ConnectionRefusedError, match=server.endpoint):
        async with pool.borrow(server.endpoint) as lease:
            await ask(lease, "Both")


async def test_a_server_is_found_in_its_own_loop_alone():
    async def look(endpoint: str) -> bool:
        return find(endpoint) is None

    async with served(echo) as (server, _):
        assert find(server.endpoint) is server.local
        assert await anyio.to_thread.run_sync(anyio.run, look, server.endpoint)


async def test_a_server_that_has_gone_is_kept_by_nobody():
    async with open_server({"svc": {"Both": BidiMethod(echo)}}, is_near=True) as server:
        async with way_to(server) as channel, open_call(channel, "/svc/Both", answers=True) as call:
            await call.write("one")
            assert await call.read() == "one"
        known = ref(server.local)
    del server, channel, call
    gc.collect()
    assert known() is None


async def test_a_server_that_wants_to_know_its_callers_is_not_found(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-sixteen-characters\n")
    methods = {"svc": all_kinds(never)}
    async with (
        open_server(methods) as plain,
        open_server(methods, is_near=True, admission=Admission(tokens_file=str(tokens))) as guarded,
    ):
        assert find(plain.endpoint) is find(guarded.endpoint) is None


async def test_the_calls_of_a_server_with_grace_may_go_on_after_its_block(until):
    begun = anyio.Event()

    async def go_on(server) -> None:
        async with way_to(server) as channel, open_call(channel, "/svc/Both", answers=True) as call:
            begun.set()
            await until(lambda: server.local.is_stopping)
            await call.write("late")
            assert await call.read() == "late"
            await call.done_writing()
            assert await call.read() is None

    server_with_grace = open_server({"svc": {"Both": BidiMethod(echo)}}, is_near=True, grace=5)
    async with anyio.create_task_group() as group, server_with_grace as server:
        group.start_soon(go_on, server)
        await begun.wait()
