"""Certificates of every kind that the tests need, made once: making keys is slow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from flowctl_aio.security import ClientTls, ServerTls

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SHORT = {"not_before": LONG_AGO, "not_after": LONG_AGO + timedelta(days=1)}


@dataclass(frozen=True)
class Authority:
    """A CA, and what it has signed: a server here, one elsewhere, a client, and the same when their time was over."""

    ca: bytes
    pairs: dict[str, tuple[bytes, bytes]]

    def server(self, name: str = "server", *, client_ca: bytes = b"") -> ServerTls:
        return ServerTls(*self.pairs[name], client_ca=client_ca)

    def client(self, name: str = "", *, server_name: str = "") -> ClientTls:
        cert, key = self.pairs[name] if name else (b"", b"")
        return ClientTls(ca=self.ca, cert=cert, key=key, server_name=server_name)


def make_authority(name: str) -> Authority:
    ca = trustme.CA(organization_name=name)
    issued = {
        "server": ca.issue_cert("localhost", "127.0.0.1"),
        "elsewhere": ca.issue_cert("plane.example"),
        "expired server": ca.issue_cert("localhost", "127.0.0.1", **SHORT),
        "client": ca.issue_cert("beat@services.example"),
        "expired client": ca.issue_cert("beat@services.example", **SHORT),
    }
    pairs = {
        name: (b"".join(pem.bytes() for pem in cert.cert_chain_pems), cert.private_key_pem.bytes())
        for name, cert in issued.items()
    }
    return Authority(ca.cert_pem.bytes(), pairs)


@pytest.fixture(scope="session")
def ours() -> Authority:
    return make_authority("ours")


@pytest.fixture(scope="session")
def theirs() -> Authority:
    """Another CA, for strangers, and for those who come after a rotation."""
    return make_authority("theirs")


@dataclass(frozen=True)
class Folder:
    """A folder in which certificates are replaced, as a secret that is mounted."""

    path: Path

    def file(self, name: str) -> str:
        return str(self.path / name)

    def put(self, name: str, content: bytes | None) -> None:
        """In one step, so that nobody reads half of it; None takes the file away."""
        if content is None:
            (self.path / name).unlink()
            return
        new = self.path / f".{name}"
        new.write_bytes(content)
        new.replace(self.path / name)

    def put_all(self, authority: Authority) -> None:
        self.put("ca.pem", authority.ca)
        for name in ("server", "client"):
            cert, key = authority.pairs[name]
            self.put(f"{name}.pem", cert)
            self.put(f"{name}.key", key)

    def server_tls(self) -> ServerTls:
        return ServerTls(self.file("server.pem"), self.file("server.key"), client_ca=self.file("ca.pem"))

    def client_tls(self) -> ClientTls:
        return ClientTls(self.file("ca.pem"), self.file("client.pem"), self.file("client.key"))


@pytest.fixture
def folder(tmp_path: Path, ours: Authority, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """With the certificates of `ours` in it; who reads from it looks at it at every call."""
    monkeypatch.setattr("flowctl_aio.transport.security.reloaded.LOOK_INTERVAL", 0.0)
    folder = Folder(tmp_path)
    folder.put_all(ours)
    return folder
