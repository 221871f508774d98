"""TLS 1.2 and 1.3 are spoken, and nothing older, on both ends; also over a unix socket."""

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
        try:
            with context.wrap_socket(accepted, server_side=True) as wrapped:
                return wrapped.version() or ""
        except ssl.SSLError as error:
            return str(error.reason)


@pytest.mark.parametrize("version", [*OLD, *NEW])
async def test_a_client_speaks_tls_from_1_2_on(ours, version, tmp_path):
    cert, key = ours.pairs["server"]
    pem = anyio.Path(tmp_path / "server.pem")
    await pem.write_bytes(cert + key)
    context = only(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), version)
    context.load_cert_chain(pem)
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        async with (
            dial(f"127.0.0.1:{listener.getsockname()[1]}", tls=ours.client()) as channel,
            anyio.create_task_group() as tasks,
        ):

            async def accept() -> None:
                heard.append(await anyio.to_thread.run_sync(accept_one, listener, context))

            tasks.start_soon(accept)
            with pytest.raises(PeerUnavailableError, match="TLS"):
                await ask(channel)  # in any case: this server speaks no HTTP/2
    spoken = version.name.replace("_", ".")
    assert heard == ([spoken] if version in NEW else ["UNSUPPORTED_PROTOCOL"])


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
