"""Shared connections: how many there are, when they go, and what becomes of those that break."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, closing

import anyio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.errors import DeadlineExceededError, PeerUnavailableError, UsageError
from flowctl_aio.testing import assert_no_leaks, open_link
from flowctl_aio.transport.call import call_unary, open_call
from flowctl_aio.transport.channel import data_connection
from flowctl_aio.transport.pool import ConnectionPool
from flowctl_aio.transport.server import open_server
from flowctl_aio.transport.trunk import PoolRules, redial_pause

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def dial(endpoint):
    return data_connection(endpoint, max_message_bytes=1024, insecure=False, tls=None, credentials=None)


def pool_of(clock=None, *, max_endpoints=64, **rules) -> ConnectionPool:
    return ConnectionPool(dial, PoolRules(**rules), max_endpoints=max_endpoints, clock=clock or Clock())


@asynccontextmanager
async def open_link_to_server():
    async with open_server({}) as server, open_link(server.endpoint) as link:
        yield link


async def ask(channel, timeout=2.0):
    """A question that nobody serves; the answer says that somebody is there."""
    with pytest.raises(Exception, match="UNIMPLEMENTED"):
        await call_unary(channel, "/x.Y/Z", wire.Empty(), wire.Pong, timeout=timeout)


async def test_a_hundred_streams_share_ten_connections_and_the_rest_of_them_go_after_a_while():
    clock = Clock()
    async with assert_no_leaks(), open_link_to_server() as link, AsyncExitStack() as stack:
        pool = pool_of(clock, least=2, most=10, idle_timeout=60.0)
        async with AsyncExitStack() as streams:
            for _ in range(100):
                lease = await streams.enter_async_context(pool.borrow(link.endpoint))
                await streams.enter_async_context(lease.line())
            stats = pool.stats()[link.endpoint]
            assert (stats.total, stats.healthy, stats.idle, stats.streams, stats.uses) == (10, 10, 0, 100, 100)
            await streams.enter_async_context(lease.line())  # past the last one they are only fuller
            assert pool.stats()[link.endpoint].total == 10
        assert pool.stats()[link.endpoint].idle == 10
        clock.now = 59.0
        await pool.tidy()
        assert pool.stats()[link.endpoint].total == 10
        clock.now = 61.0
        await pool.tidy()
        assert pool.stats()[link.endpoint].total == 2
        stack.push_async_callback(pool.aclose)


async def test_a_stream_under_way_is_not_idle_however_long_it_is(until):
    clock = Clock()
    async with open_link_to_server() as link:
        pool = pool_of(clock, least=1, idle_timeout=10.0)
        async with pool.borrow(link.endpoint) as lease, lease.line(), lease.line():
            clock.now = 1000.0
            await pool.tidy()
            assert pool.stats()[link.endpoint].streams == 2
        await pool.aclose()


async def test_without_balancing_the_first_connection_is_filled_first():
    async with open_link_to_server() as link:
        pool = pool_of(least=1, spreads=False)
        async with AsyncExitStack() as stack:
            lease = stack.enter_context(closing(pool.lease(link.endpoint)))
            for _ in range(11):
                await stack.enter_async_context(lease.line())
            assert pool.stats()[link.endpoint].total == 2
        await pool.aclose()


async def test_nobody_waits_for_a_peer_that_is_away_to_be_dialled():
    async with open_link_to_server() as link, AsyncExitStack() as stack:
        pool = pool_of()
        away = stack.enter_context(closing(pool.lease("localhost:1")))
        async with away.line():  # nothing was sent, so nothing was dialled
            with pytest.raises(PeerUnavailableError):
                await call_unary(away, "/x.Y/Z", wire.Empty(), wire.Pong, timeout=2.0)
            async with pool.borrow(link.endpoint) as lease:
                await ask(lease)
            assert pool.stats()["localhost:1"].healthy < pool.stats()["localhost:1"].total
        await pool.aclose()


async def test_a_connection_that_was_cut_is_made_again_by_the_next_call(until):
    async with open_link_to_server() as link:
        pool = pool_of()
        async with pool.borrow(link.endpoint) as lease:
            await ask(lease)
            link.cut()
            await until(lambda: not lease.is_up)
            await ask(lease)
            assert link.accepted == 2
        await pool.aclose()


async def test_a_peer_that_comes_back_is_dialled_anew_after_a_pause_not_before(until):
    clock = Clock()
    async with open_link_to_server() as link:
        pool = pool_of(clock, least=1)
        link.refuse()
        async with pool.borrow(link.endpoint) as lease:
            for _ in range(3):
                with pytest.raises(PeerUnavailableError):
                    await call_unary(lease, "/x.Y/Z", wire.Empty(), wire.Pong, timeout=2.0)
            assert pool.stats()[link.endpoint].total == 1
            link.heal()
            clock.now = 100.0
            await ask(lease)
            assert pool.stats()[link.endpoint].healthy == 1
        await pool.aclose()


async def test_a_connection_on_which_nothing_comes_back_is_left_by_the_next_call():
    async with open_link_to_server() as link:
        pool = pool_of(least=1)
        async with pool.borrow(link.endpoint) as lease:
            await ask(lease)
            link.strand()
            with pytest.raises(DeadlineExceededError):
                await call_unary(lease, "/x.Y/Z", wire.Empty(), wire.Pong, timeout=0.1)
            await ask(lease)
            assert link.accepted == 2
        await pool.aclose()


async def test_a_broken_connection_that_nobody_uses_is_given_up():
    pool = pool_of(least=1)
    async with pool.borrow("localhost:1") as lease:
        with pytest.raises(PeerUnavailableError):
            await call_unary(lease, "/x.Y/Z", wire.Empty(), wire.Pong, timeout=2.0)
        await pool.tidy()
        assert pool.stats()["localhost:1"].total == 0
    await pool.aclose()


async def test_endpoints_that_nobody_uses_are_given_up_past_the_bound_and_the_oldest_first():
    pool = pool_of(max_endpoints=2)
    kept = pool.lease("localhost:1")
    for port in range(2, 6):
        async with pool.borrow(f"localhost:{port}") as lease, lease.line():
            pass
    assert list(pool.stats()) == ["localhost:1", "localhost:5"]
    kept.close()
    await pool.aclose()


async def test_closing_waits_for_the_calls_up_to_its_limit_and_then_ends_them():
    async with open_link_to_server() as link:
        pool = pool_of()
        lease = pool.lease(link.endpoint)
        over = anyio.Event()

        async def use() -> None:
            async with lease.line():
                await over.wait()

        async with anyio.create_task_group() as group:
            group.start_soon(use)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(pool.aclose, 30.0)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(UsageError, match="closed"):
                async with lease.line():
                    pass
            over.set()
        with pytest.raises(UsageError):
            pool.lease(link.endpoint)
        stuck = pool_of()
        async with stuck.borrow(link.endpoint) as other, open_call(other, "/x.Y/Z", b"", answers=True):
            await stuck.aclose(0.01)


async def test_a_lease_that_was_given_back_makes_no_call():
    pool = pool_of()
    lease = pool.lease("localhost:1")
    lease.close()
    lease.close()
    with pytest.raises(UsageError, match="the channel to localhost:1 is closed"):
        async with lease.line():
            pass
    await pool.aclose()


def test_the_pause_after_failures_grows_up_to_its_cap():
    pauses = [redial_pause(failures, 0.0) for failures in range(1, 100)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.25, 5.0)
    assert redial_pause(1, 1.0) == 0.125
