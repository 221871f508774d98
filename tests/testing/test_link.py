"""A link between real sockets: what comes through, when, and how connections end."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager

import anyio
import pytest

from flowctl_aio.errors import ConfigError, UsageError
from flowctl_aio.testing import assert_no_leaks, open_link

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


@asynccontextmanager
async def echo_server():
    """Gives back what it gets, and says goodbye when it has heard one: it shows whether half-closes arrive."""

    async def echo(stream):
        async with stream:
            try:
                async for chunk in stream:
                    await stream.send(chunk)
                await stream.send(b"bye")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                resets.append(stream)

    resets = []
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        yield f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


@pytest.fixture
async def link():
    async with assert_no_leaks(), echo_server() as target, open_link(target) as link:
        yield link


async def dial(link):
    host, _, port = link.endpoint.rpartition(":")
    return await anyio.connect_tcp(host, int(port))


async def receive_exactly(stream, count):
    got = b""
    while len(got) < count:
        got += await stream.receive()
    return got


async def test_bytes_come_through_both_ways_and_a_half_close_is_passed_on(link):
    sent = bytes(range(256)) * (4 * MIB // 256)
    async with await dial(link) as stream, anyio.create_task_group() as tasks:

        async def send():
            await stream.send(sent)
            await stream.send_eof()

        tasks.start_soon(send)
        assert await receive_exactly(stream, len(sent) + 3) == sent + b"bye"
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
    assert link.accepted == 1


async def test_a_delay_is_a_delay_and_not_a_speed(link):
    link.delay = 0.1
    async with await dial(link) as stream:
        begin = anyio.current_time()
        for _ in range(10):
            await stream.send(b"x" * 1000)
        assert await receive_exactly(stream, 10_000) == b"x" * 10_000
        # There and back, and all ten on the way together: one after another they would take 2 s.
        assert 0.2 <= anyio.current_time() - begin < 1.5


async def test_a_trickle_is_slow_until_it_heals(link):
    link.trickle(20_000)
    async with await dial(link) as stream:
        begin = anyio.current_time()
        await stream.send(b"x" * 10_000)
        await receive_exactly(stream, 10_000)
        assert anyio.current_time() - begin >= 0.4
        await stream.send(b"y" * 1_000_000)
        link.heal()
        with anyio.fail_after(10):  # at the old pace it would take 50 s
            await receive_exactly(stream, 1_000_000)


async def test_a_black_hole_holds_everything_until_it_heals(link, until):
    async with await dial(link) as before:
        await before.send(b"a")
        assert await before.receive() == b"a"
        link.black_hole()
        await before.send(b"b")
        async with await dial(link) as within:
            await within.send(b"c")
            for stream in (before, within):
                with pytest.raises(TimeoutError), anyio.fail_after(0.05):
                    await stream.receive()
            assert link.connections == 2
            link.heal()
            assert await before.receive() == b"b"
            assert await within.receive() == b"c"
    await until(lambda: link.connections == 0)


async def test_what_a_black_hole_holds_is_bounded(link, until):
    link.black_hole()
    async with await dial(link) as stream:
        sent = 0
        with anyio.move_on_after(0.5):
            while True:
                await stream.send(b"x" * MIB)
                sent += MIB
        assert sent < 64 * MIB


async def test_a_cut_resets_both_sides_and_lets_new_ones_in(link, until):
    async with await dial(link) as stream:
        await stream.send(b"a")
        await stream.receive()
        link.cut()
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await stream.receive()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
    await until(lambda: link.connections == 0)
    async with await dial(link) as stream:
        await stream.send(b"b")
        assert await stream.receive() == b"b"


async def test_connections_that_are_stranded_say_nothing_and_new_ones_are_good(link, until):
    async with await dial(link) as before:
        await before.send(b"a")
        assert await before.receive() == b"a"
        link.strand()
        await before.send(b"b")
        async with await dial(link) as after:
            await after.send(b"c")
            assert await after.receive() == b"c"
        with pytest.raises(TimeoutError), anyio.fail_after(0.05):
            await before.receive()
        link.heal()
        assert await before.receive() == b"b"
    await until(lambda: link.connections == 0)


async def test_a_cut_ends_what_a_black_hole_holds(link, until):
    link.black_hole()
    async with await dial(link) as stream:
        await until(lambda: link.connections == 1)
        link.cut()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()


async def test_it_refuses_new_connections_keeps_the_old_and_takes_its_port_again(link):
    endpoint = link.endpoint
    async with await dial(link) as old:
        link.refuse()
        for _ in range(2):
            with pytest.raises(OSError, match="onnect"):
                await dial(link)
        # Nobody else gets the port by chance in the meantime.
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", int(endpoint.rpartition(":")[2])))
        await old.send(b"a")
        assert await old.receive() == b"a"
        link.heal()
        assert link.endpoint == endpoint
        async with await dial(link) as new:
            await new.send(b"b")
            assert await new.receive() == b"b"


async def test_a_target_that_is_away_resets_whoever_dials():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        target = f"127.0.0.1:{gone.getsockname()[1]}"
    async with open_link(target) as link, await dial(link) as stream:
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()


async def test_a_client_that_resets_resets_the_target_too(link, until):
    stream = await dial(link)
    await stream.send(b"a")
    await stream.receive()
    await stream.send(b"b")
    await anyio.aclose_forcefully(stream)
    await until(lambda: link.connections == 0)


async def test_leaving_it_ends_everything_at_once():
    async with assert_no_leaks():
        async with echo_server() as target, open_link(target) as link:
            streams = [await dial(link) for _ in range(5)]
            link.black_hole()
            link.delay = 60
            for stream in streams:
                await stream.send(b"x")
        for stream in streams:
            with pytest.raises(anyio.BrokenResourceError):
                await stream.receive()
            await stream.aclose()


async def test_it_says_what_it_does(link):
    assert repr(link).endswith("is open, 0 connected>")
    link.black_hole()
    assert repr(link).endswith("is a black hole, 0 connected>")
    link.refuse()
    assert repr(link).endswith("refuses, 0 connected>")


async def test_wrong_targets_and_rates_are_clear_errors(link):
    for target in ("unix:///tmp/x", "http://x:1", "localhost", ""):
        with pytest.raises(ConfigError, match="host:port"):
            async with open_link(target):
                pass
    with pytest.raises(UsageError, match="more than 0 bytes"):
        link.trickle(0)
