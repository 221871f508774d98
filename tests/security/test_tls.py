"""Who gets a TLS connection and who does not, in one table for all kinds of channel; and what the others are told."""

from __future__ import annotations

import anyio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.errors import ConfigError, PeerUnavailableError, PlaneUnavailableError
from flowctl_aio.plane import EmbeddedControlPlane
from flowctl_aio.security import ClientTls, ServerTls
from flowctl_aio.transport.blocking import BlockingChannel
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.transport.server import open_server
from flowctl_aio.types import ServiceInfo, ServiceType

from .calls import KINDS, Echoes, ask, dial

pytestmark = pytest.mark.anyio
TTP = ServiceInfo("ttp", ServiceType.PIPELINE)

# The server's end, the client's end, and what the client is told if they do not fit.
CASES = {
    "plaintext": (lambda o, t: None, lambda o, t: None, None),
    "TLS": (lambda o, t: o.server(), lambda o, t: o.client(), None),
    "a name that is said": (
        lambda o, t: o.server("elsewhere"),
        lambda o, t: o.client(server_name="plane.example"),
        None,
    ),
    "a client certificate that nobody asks for": (lambda o, t: o.server(), lambda o, t: o.client("client"), None),
    "mutual TLS": (lambda o, t: o.server(client_ca=o.ca), lambda o, t: o.client("client"), None),
    "mutual TLS of two CAs": (
        lambda o, t: o.server(client_ca=t.ca),
        lambda o, t: ClientTls(o.ca, *t.pairs["client"]),
        None,
    ),
    "another CA": (lambda o, t: o.server(), lambda o, t: t.client(), "not signed by a CA that is trusted here"),
    "the public CAs": (lambda o, t: o.server(), lambda o, t: ClientTls(), "not signed by a CA that is trusted here"),
    "an expired server": (lambda o, t: o.server("expired server"), lambda o, t: o.client(), "has expired"),
    "another name": (lambda o, t: o.server("elsewhere"), lambda o, t: o.client(), "is for another name"),
    "another name that is said": (
        lambda o, t: o.server(),
        lambda o, t: o.client(server_name="plane.example"),
        "is for another name",
    ),
    "no client certificate": (
        lambda o, t: o.server(client_ca=o.ca),
        lambda o, t: o.client(),
        "as if it wanted a client certificate",
    ),
    "a client of another CA": (
        lambda o, t: o.server(client_ca=o.ca),
        lambda o, t: ClientTls(o.ca, *t.pairs["client"]),
        "as if it wanted a client certificate",
    ),
    "an expired client": (
        lambda o, t: o.server(client_ca=o.ca),
        lambda o, t: o.client("expired client"),
        "as if it wanted a client certificate",
    ),
    "mutual TLS, another CA": (
        lambda o, t: o.server(client_ca=o.ca),
        lambda o, t: ClientTls(t.ca, *o.pairs["client"]),
        "not signed by a CA that is trusted here",
    ),
    "plaintext to a TLS port": (
        lambda o, t: o.server(),
        lambda o, t: None,
        "hung up on plaintext, as if it wanted TLS",
    ),
    "TLS to a plaintext port": (lambda o, t: None, lambda o, t: o.client(), "the server answers in clear"),
}


@pytest.fixture(params=CASES)
def case(request, ours, theirs):
    server, client, problem = CASES[request.param]
    return server(ours, theirs), client(ours, theirs), problem


async def test_a_connection_comes_about_or_says_why_not(case):
    server_tls, client_tls, problem = case
    echoes = Echoes()
    async with (
        open_server(echoes.services(), tls=server_tls) as server,
        dial(server.endpoint, tls=client_tls) as channel,
    ):
        for kind in KINDS:
            if problem is None:
                await ask(channel, kind)
                continue
            with pytest.raises(PeerUnavailableError, match=problem) as caught:
                await ask(channel, kind)
            assert "TLS" in str(caught.value)
            assert isinstance(caught.value, ConnectionError)
            assert caught.value.code == "UNAVAILABLE"
    assert echoes.reached == (len(KINDS) if problem is None else 0)


@pytest.mark.parametrize("given", ["missing.pem", b"no pem"])
async def test_files_that_cannot_be_used_are_refused_by_name_before_anything_is_opened(ours, given):
    cert, key = ours.pairs["client"]
    problem = "(missing.pem cannot be read: No such file|given as bytes. holds no)"
    for tls in (ClientTls(ca=given), ClientTls(cert=given, key=key), ClientTls(cert=cert, key=given)):
        with pytest.raises(ConfigError, match=rf"tls (ca|cert|key) .*{problem}"):
            async with dial("127.0.0.1:1", tls=tls):
                pass
        with pytest.raises(ConfigError, match=problem):
            BlockingChannel("127.0.0.1:1", tls=tls)
    for tls in (ServerTls(given, key), ServerTls(cert, given), ServerTls(cert, key, client_ca=given)):
        with pytest.raises(ConfigError, match=rf"server tls (client ca|cert|key) .*{problem}"):
            async with EmbeddedControlPlane(tls=tls):
                pass


async def test_a_thread_is_told_the_same(case):
    server_tls, client_tls, problem = case

    def beat(endpoint: str) -> None:
        with BlockingChannel(endpoint, tls=client_tls) as channel:
            channel.call("/svc/Unary", wire.Empty(), wire.Pong, timeout=5)

    async with open_server(Echoes().services(), tls=server_tls) as server:
        if problem is None:
            await anyio.to_thread.run_sync(beat, server.endpoint)
            return
        with pytest.raises(PeerUnavailableError, match=problem):
            await anyio.to_thread.run_sync(beat, server.endpoint)


async def test_a_service_registers_at_the_plane_or_is_told_why_not(case):
    server_tls, client_tls, problem = case
    async with (
        EmbeddedControlPlane(tls=server_tls) as plane,
        open_control_channel(plane.endpoint, tls=client_tls) as channel,
    ):
        client = PlaneClient(channel, FlowctlConfig())
        if problem is None:
            assert await client.register(TTP, timeout=5) == "ttp"
            return
        with pytest.raises(PlaneUnavailableError, match=problem):
            await client.register(TTP, timeout=5)
        # Who waits for the plane learns it at the end of the wait.
        with pytest.raises(PlaneUnavailableError) as caught:
            await client.register(TTP, timeout=0.1, patient=True)
        assert problem.split("(")[0] in str(caught.value.__cause__)
        assert plane.services() == []
