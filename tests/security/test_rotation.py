"""Certificates that change in their files while calls are under way: what stands goes on, and nothing is lost."""

from __future__ import annotations

import logging
from dataclasses import replace

import anyio
import grpc
import psutil
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.errors import PeerUnavailableError
from flowctl_aio.plane import EmbeddedControlPlane
from flowctl_aio.transport.blocking import BlockingChannel
from flowctl_aio.transport.call import call_unary, open_call
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.transport.server import open_server
from flowctl_aio.types import Health, ServiceInfo, ServiceType

from .calls import KINDS, Echoes, ask, dial

pytestmark = pytest.mark.anyio
TTP = ServiceInfo("ttp", ServiceType.PIPELINE)
SHUTDOWN = grpc.ChannelConnectivity.SHUTDOWN


async def ask_until_changed(channel, first) -> None:
    """Every call is answered, also those before the change."""
    with anyio.fail_after(5):
        while channel.raw is first:
            await ask(channel)


async def test_a_registration_outlives_a_change_of_all_certificates(folder, theirs):
    async with (
        EmbeddedControlPlane(tls=folder.server_tls()) as plane,
        open_control_channel(plane.endpoint, tls=folder.client_tls()) as channel,
    ):
        client = PlaneClient(channel, FlowctlConfig())
        service_id = await client.register(TTP, timeout=5)
        await client.heartbeat(service_id, Health.HEALTHY, {"beat": 1.0})
        before, first = plane.services()[0], channel.raw
        folder.put_all(theirs)
        with anyio.fail_after(5):
            while channel.raw is first:
                await client.heartbeat(service_id, Health.HEALTHY, {"beat": 2.0})
        # Only certificates of the new CA are trusted now, on both ends, so this went over a new connection.
        assert first.get_state() is SHUTDOWN
        (after,) = plane.services()
        assert (after.service_id, after.metrics) == (before.service_id, {"beat": 2.0})
        assert after.registered_at == before.registered_at


async def test_a_stream_under_way_stays_on_its_connection_until_it_is_over(folder, theirs):
    async with (
        open_server(Echoes().services(), tls=folder.server_tls()) as server,
        dial(server.endpoint, tls=folder.client_tls()) as channel,
    ):
        first = channel.raw
        async with open_call(channel, "/svc/Both", answers=True) as stream:
            await stream.write(b"before")
            assert await stream.read() == b"before"
            folder.put_all(theirs)
            await ask_until_changed(channel, first)
            await stream.write(b"after")
            assert await stream.read() == b"after"
            assert first.get_state() is not SHUTDOWN
        assert first.get_state() is SHUTDOWN
        await ask(channel)


async def test_no_call_fails_while_certificates_change_again_and_again(folder, ours, theirs):
    async with (
        open_server(Echoes().services(), tls=folder.server_tls()) as server,
        dial(server.endpoint, tls=folder.client_tls()) as channel,
        anyio.create_task_group() as tasks,
    ):

        async def call_on(kind: str) -> None:
            while True:
                await ask(channel, kind)

        await ask(channel)
        for kind in KINDS:
            tasks.start_soon(call_on, kind)
        for authority in (theirs, ours) * 3:
            first = channel.raw
            folder.put_all(authority)
            await ask_until_changed(channel, first)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_changes_leave_one_connection_and_no_more(folder, ours, theirs, until, is_blocking):
    async with open_server(Echoes().services(), tls=folder.server_tls()) as server:

        def connections() -> int:
            found = psutil.Process().net_connections("tcp")
            return len([one for one in found if one.raddr and one.raddr.port == server.port])

        async with dial(server.endpoint, tls=folder.client_tls()) as channel:
            with BlockingChannel(server.endpoint, tls=folder.client_tls()) as blocking:
                for authority in (theirs, ours) * 3:
                    folder.put_all(authority)
                    if is_blocking:
                        await anyio.to_thread.run_sync(beat, blocking)
                    else:
                        await ask_until_changed(channel, channel.raw)
                await until(lambda: connections() == 1)
        await until(lambda: connections() == 0)


def beat(channel: BlockingChannel) -> None:
    channel.call("/svc/Unary", wire.Empty(), wire.Pong, timeout=5)


async def test_closing_a_channel_closes_its_older_connections_too(folder, theirs):
    async with open_server(Echoes().services(), tls=folder.server_tls()) as server:
        async with dial(server.endpoint, tls=folder.client_tls()) as channel:
            first = channel.raw
            async with open_call(channel, "/svc/Both", answers=True) as stream:
                await stream.write(b"before")
                folder.put_all(theirs)
                await ask_until_changed(channel, first)
                await channel.aclose()
                assert first.get_state() is channel.raw.get_state() is SHUTDOWN
        assert channel.raw.get_state() is SHUTDOWN


async def test_a_server_shows_its_new_certificate_and_asks_for_the_new_clients(folder, ours, theirs):
    async with open_server(Echoes().services(), tls=folder.server_tls()) as server:
        async with dial(server.endpoint, tls=ours.client("client")) as old, dial(server.endpoint) as _:
            await ask(old)
            folder.put_all(theirs)
            async with dial(server.endpoint, tls=theirs.client("client")) as new:
                await ask(new)
            # Who is connected stays so; who comes with the old certificates does not get in.
            await ask(old)
        async with dial(server.endpoint, tls=ours.client("client")) as late:
            with pytest.raises(PeerUnavailableError, match="check the CA"):
                await ask(late)


async def test_a_client_ca_can_change_alone(folder, ours, theirs):
    async with open_server(Echoes().services(), tls=folder.server_tls()) as server:
        folder.put("ca.pem", theirs.ca)
        async with dial(server.endpoint, tls=ours.client("client")) as stranger:
            with pytest.raises(PeerUnavailableError, match="client certificate"):
                await ask(stranger)
        folder.put("ca.pem", ours.ca + theirs.ca)
        async with dial(server.endpoint, tls=ours.client("client")) as friend:
            await ask(friend)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


DAMAGE = {
    "the key is still the old one": lambda folder, new: folder.put("client.pem", new.pairs["client"][0]),
    "the certificate is still the old one": lambda folder, new: folder.put("client.key", new.pairs["client"][1]),
    "the CA is half written": lambda folder, new: folder.put("ca.pem", cut(new.ca)),
    "the certificate is half written": lambda folder, new: folder.put("client.pem", cut(new.pairs["client"][0])),
    "the key is half written": lambda folder, new: folder.put("client.key", cut(new.pairs["client"][1])),
    "the CA is empty": lambda folder, new: folder.put("ca.pem", b""),
    "the CA is something else": lambda folder, new: folder.put("ca.pem", b"\x00\xff" * 100),
    "the key is gone": lambda folder, new: folder.put("client.key", None),
    "the CA is much too long": lambda folder, new: folder.put("ca.pem", new.ca * 4000),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_change_that_is_half_done_leaves_the_connection_and_is_said_once(folder, theirs, damage, caplog):
    server_tls = theirs.server(client_ca=theirs.ca)
    folder.put_all(theirs)
    async with (
        open_server(Echoes().services(), tls=server_tls) as server,
        dial(server.endpoint, tls=folder.client_tls()) as channel,
    ):
        await ask(channel)
        first = channel.raw
        DAMAGE[damage](folder, make_other(theirs))
        for _ in range(3):
            await ask(channel)
        assert channel.raw is first
        (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert str(folder.path) in warning
        assert "BEGIN" not in warning
        folder.put_all(theirs)
        await ask_until_changed(channel, first)


@pytest.mark.parametrize("unfit", ["ca", "client"])
async def test_good_certificates_that_fit_nobody_break_no_connection_either(folder, ours, theirs, caplog, unfit):
    async with (
        open_server(Echoes().services(), tls=ours.server(client_ca=ours.ca)) as server,
        dial(server.endpoint, tls=folder.client_tls()) as channel,
    ):
        await ask(channel)
        first = channel.raw
        folder.put_all(theirs if unfit == "ca" else replace(theirs, ca=ours.ca))
        with anyio.fail_after(5):
            while "bring no connection" not in caplog.text:
                await ask(channel)
        assert channel.raw is first
        folder.put_all(ours)
        await ask_until_changed(channel, first)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


async def test_a_connection_that_is_gone_is_not_waited_for(folder, theirs):
    async with open_server(Echoes().services(), tls=folder.server_tls()) as server:
        address = server.endpoint
        async with dial(address, tls=folder.client_tls()) as channel:
            await ask(channel)
            await server.drain(0)
            folder.put_all(theirs)
            async with open_server(Echoes().services(), address, tls=folder.server_tls()):
                await call_patiently(channel)


def make_other(authority):
    """The same CA with another client certificate: its expired one will do, as it is never shown."""
    return replace(authority, pairs={**authority.pairs, "client": authority.pairs["expired client"]})


async def test_a_server_survives_a_change_that_is_half_done(folder, ours, theirs, caplog):
    async with open_server(Echoes().services(), tls=folder.server_tls()) as server:
        folder.put("server.pem", theirs.pairs["server"][0])
        for _ in range(3):
            async with dial(server.endpoint, tls=ours.client("client")) as channel:
                await ask(channel)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        folder.put_all(theirs)
        async with dial(server.endpoint, tls=theirs.client("client")) as channel:
            await ask(channel)


async def test_a_client_that_changes_first_gets_in_once_the_server_follows(folder, ours, theirs):
    async with (
        open_server(Echoes().services(), tls=folder.server_tls()) as server,
        dial(server.endpoint, tls=theirs.client("client")) as channel,
    ):
        with pytest.raises(PeerUnavailableError, match="TLS"):
            await ask(channel)
        folder.put_all(theirs)
        with anyio.fail_after(10):
            await call_patiently(channel)


async def call_patiently(channel) -> None:
    await call_unary(channel, "/svc/Unary", wire.Empty(), wire.Pong, timeout=10, wait_for_ready=True)


async def test_a_thread_changes_its_connection_too(folder, theirs):
    async with open_server(Echoes().services(), tls=folder.server_tls()) as server:
        with BlockingChannel(server.endpoint, tls=folder.client_tls()) as channel:
            await anyio.to_thread.run_sync(beat, channel)
            folder.put_all(theirs)
            await anyio.to_thread.run_sync(beat, channel)
            folder.put("client.key", b"")
            await anyio.to_thread.run_sync(beat, channel)
