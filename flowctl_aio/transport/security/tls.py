"""TLS of both ends: PEM ⇄ gRPC's credentials, renewed when the files change.

gRPC speaks TLS 1.2 and 1.3 and nothing older.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from flowctl_aio.security import ClientTls, ServerTls
from flowctl_aio.transport.options import Options
from flowctl_aio.transport.security.pem import files_of, read_authorities, read_pair
from flowctl_aio.transport.security.reloaded import Reloaded


def client_tls(tls: ClientTls, peer: str) -> Reloaded[Any]:
    """What a channel needs to dial; another object after each change.

    Raises:
        ConfigError: if a file cannot be read or is no PEM, or if certificate and key do not belong together.
    """

    def load() -> Any:
        authorities = read_authorities("tls ca", tls.ca) if tls.ca else None
        key, chain = read_pair("tls", tls.cert, tls.key) if tls.cert else (None, None)
        return grpc.ssl_channel_credentials(authorities, key, chain)

    return Reloaded(f"TLS of the channel to {peer}", load, files_of(tls.ca, tls.cert, tls.key))


def name_options(tls: ClientTls | None, endpoint: str) -> Options:
    """The name that the peer must bear, where it is not the host of the endpoint. A unix socket is at `localhost`."""
    name = (tls.server_name or ("localhost" if endpoint.startswith("unix:") else "")) if tls is not None else ""
    return [("grpc.ssl_target_name_override", name)] if name else []


def server_tls(tls: ServerTls, address: str) -> grpc.ServerCredentials:
    """What a server needs to listen. It looks at its files at every new connection; those that stand go on.

    Raises:
        ConfigError: if a file cannot be read or is no PEM, or if certificate and key do not belong together.
    """

    def load() -> Any:
        authorities = read_authorities("server tls client ca", tls.client_ca) if tls.client_ca else None
        return grpc.ssl_server_certificate_configuration([read_pair("server tls", tls.cert, tls.key)], authorities)

    files = files_of(tls.cert, tls.key, tls.client_ca)
    reloaded: Reloaded[Any] = Reloaded(f"TLS of the server at {address}", load, files, every_look=True)
    first = reloaded.get()
    credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
        first, _changes(reloaded, first), require_client_authentication=bool(tls.client_ca)
    )
    return credentials


def _changes(reloaded: Reloaded[Any], current: Any) -> Callable[[], Any]:
    """For gRPC, which asks in threads of its own: a new configuration, or None while nothing has changed."""

    def fetch() -> Any:
        nonlocal current
        newest = reloaded.get()
        if newest is current:
            return None
        current = newest
        return newest

    return fetch
