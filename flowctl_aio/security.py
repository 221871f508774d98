"""Who proves what to whom, as plain values: TLS of both ends, what a client shows, what a server asks for.

Values only; `transport/` reads the files and talks TLS. Secrets stand in no `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import TypeAlias

from flowctl_aio.errors import ConfigError

# The path of a PEM file, which is read again when it changes; or the PEM itself, as bytes.
Pem: TypeAlias = str | PathLike[str] | bytes


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS of a channel.

    Attributes:
        ca: whom to trust; empty for the authorities that gRPC brings.
        cert, key: what to show to a server that asks for a client certificate; both or none.
        server_name: the name that the server's certificate must bear, if it is not the host that is dialled.
    """

    ca: Pem = ""
    cert: Pem = ""
    key: Pem = field(default="", repr=False)
    server_name: str = ""

    def __post_init__(self) -> None:
        _both_or_none("a client certificate", self.cert, self.key)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS of a server.

    Attributes:
        cert, key: what to show to clients.
        client_ca: if given, every client must show a certificate that this authority signed.
    """

    cert: Pem
    key: Pem = field(repr=False)
    client_ca: Pem = ""

    def __post_init__(self) -> None:
        _both_or_none("a server certificate", self.cert, self.key)
        if not self.cert:
            raise ConfigError("a server needs a certificate and its key")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client shows with every call. Files are read again when they change.

    Attributes:
        token, token_file: goes as `authorization: Bearer ...`; one of the two.
        api_key, api_key_file: goes as `x-api-key`; one of the two.
    """

    token: str = field(default="", repr=False)
    token_file: str = ""
    api_key: str = field(default="", repr=False)
    api_key_file: str = ""

    def __post_init__(self) -> None:
        for name in ("token", "api_key"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise ConfigError(f"give {name} or {name}_file, not both")

    def __bool__(self) -> bool:
        return bool(self.token or self.token_file or self.api_key or self.api_key_file)


@dataclass(frozen=True, slots=True)
class Admission:
    """Whom a server lets in: calls that show one of these tokens, as bearer token or API key.

    Attributes:
        tokens, tokens_file: the accepted ones; the file holds one a line, and is read again when it changes.
    """

    tokens: frozenset[str] = field(default=frozenset(), repr=False)
    tokens_file: str = ""

    def __post_init__(self) -> None:
        if not self.tokens and not self.tokens_file:
            raise ConfigError("an admission without tokens lets nobody in")


def _both_or_none(what: str, cert: Pem, key: Pem) -> None:
    if bool(cert) != bool(key):
        raise ConfigError(
            f"{what} needs its key, and the key its certificate: only the {'cert' if cert else 'key'} is given"
        )


__all__ = ["Admission", "ClientTls", "Credentials", "Pem", "ServerTls"]
