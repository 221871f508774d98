"""TLS with others than ourselves: versions, alerts and what else they may answer; and over a unix socket."""

from __future__ import annotations

import socket
import ssl
import warnings

import anyio
import pytest

from flowctl_aio.errors import PeerUnavailableError
from flowctl_aio.security import ClientTls
from flowctl_aio.transport.server import open_server

from .calls import Echoes, ask, dial

pytestmark = pytest.mark.anyio
OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]
NEW = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def only(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Speak just this version, with all that OpenSSL would need for an old one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    return context


def shake_hands(port: int, version: ssl.TLSVersion) -> str | None:
    context = only(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), version)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain) as wrapped:
        return wrapped.version()


@pytest.mark.parametrize("version", [*OLD, *NEW])
async def test_a_server_speaks_tls_from_1_2_on(ours, version):
    async with open_server(Echoes().services(), tls=ours.server()) as server:
        if version in NEW:
            spoken = await anyio.to_thread.run_sync(shake_hands, server.port, version)
            assert spoken == version.name.replace("_", ".")
            return
        with pytest.raises(OSError, match="SSL"):
            await anyio.to_thread.run_sync(shake_hands, server.port, version)


def accept_one(listener: socket.socket, context: ssl.SSLContext) -> str:
    """What came of the handshake with one client."""
    accepted, _ = listener.accept()
    with accepted:
        accepted.settimeout(5)
        try:
            with context.wrap_socket(accepted, server_side=True) as wrapped:
                wrapped.recv(1)
                return wrapped.version() or ""
        except ssl.SSLError as error:
            return str(error.reason)


async def meet_stranger(context: ssl.SSLContext, tls: ClientTls) -> tuple[str, str]:
    """Call a TLS server that is no gRPC server: what it says of the handshake, and the error that the client gets."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        async with (
            dial(f"127.0.0.1:{listener.getsockname()[1]}", tls=tls) as channel,
            anyio.create_task_group() as tasks,
        ):

            async def accept() -> None:
                heard.append(await anyio.to_thread.run_sync(accept_one, listener, context))

            tasks.start_soon(accept)
            with pytest.raises(PeerUnavailableError, match="TLS") as caught:
                await ask(channel)
    return heard[0], str(caught.value)


@pytest.fixture
def server_context(ours, tmp_path):
    def make(version: ssl.TLSVersion) -> ssl.SSLContext:
        pem = tmp_path / "server.pem"
        pem.write_bytes(b"".join(ours.pairs["server"]))
        context = only(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), version)
        context.load_cert_chain(pem)
        return context

    return make


@pytest.mark.parametrize("version", [*OLD, *NEW])
async def test_a_client_speaks_tls_from_1_2_on(ours, version, server_context):
    heard, error = await meet_stranger(server_context(version), ours.client())
    if version in NEW:
        assert heard == version.name.replace("_", ".")
    else:
        assert heard == "UNSUPPORTED_PROTOCOL"
        assert "the server speaks no TLS from 1.2 on" in error


@pytest.mark.parametrize("version", NEW)
@pytest.mark.parametrize("shown", ["", "client"])
async def test_servers_of_other_makes_are_understood_when_they_want_another_client(
    ours, theirs, version, shown, server_context
):
    context = server_context(version)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ours.ca.decode())
    tls = ClientTls(ours.ca, *(theirs.pairs[shown] if shown else (b"", b"")))
    heard, error = await meet_stranger(context, tls)
    assert heard == ("CERTIFICATE_VERIFY_FAILED" if shown else "PEER_DID_NOT_RETURN_A_CERTIFICATE")
    assert "client certificate" in error


async def test_a_tls_server_without_http2_is_told_to_be_no_grpc_server(ours, server_context):
    context = server_context(ssl.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(["http/1.1"])
    _, error = await meet_stranger(context, ours.client())
    assert "does not offer HTTP/2" in error


@pytest.mark.parametrize("server_name", ["", "localhost", "plane.example"])
async def test_a_unix_socket_takes_tls_and_stands_for_localhost(ours, tmp_path, server_name):
    certificate = "elsewhere" if server_name == "plane.example" else "server"
    tls = ClientTls(ours.ca, server_name=server_name)
    async with (
        open_server(Echoes().services(), f"unix://{tmp_path}/s", tls=ours.server(certificate)) as server,
        dial(server.endpoint, tls=tls) as channel,
    ):
        await ask(channel)


async def test_tls_needs_no_leave_to_listen_to_other_machines(ours):
    async with (
        open_server(Echoes().services(), "0.0.0.0:0", tls=ours.server()) as server,
        dial(f"127.0.0.1:{server.port}", tls=ours.client()) as channel,
    ):
        await ask(channel)
