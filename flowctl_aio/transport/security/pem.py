"""PEM in files or as bytes: read with a bound, and checked before gRPC gets it, which would not tell what is wrong.

Errors name the setting and the path, never what the file holds.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowctl_aio.errors import ConfigError
from flowctl_aio.security import Pem

# A bundle of all public authorities takes about 250 KiB.
MAX_PEM_BYTES = 1024 * 1024


def read_authorities(what: str, pem: Pem) -> bytes:
    """The certificates whose signatures are trusted.

    Raises:
        ConfigError: if `pem` cannot be read, is too long, or holds anything but whole certificates.
    """
    content = _read(what, pem)
    try:
        _check_whole(content, b"CERTIFICATE")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii", "ignore"))
    except (OSError, ValueError) as error:  # OSError: ssl.SSLError among them
        raise ConfigError(f"{_name(what, pem)} holds no certificates in PEM form, or one that is cut off") from error
    return content


def read_pair(what: str, cert: Pem, key: Pem) -> tuple[bytes, bytes]:
    """A private key and the chain of its certificate, in gRPC's order: the key first.

    Raises:
        ConfigError: if one of them cannot be read, is too long or no PEM, or if they do not belong together.
    """
    chain, secret = _read(f"{what} cert", cert), _read(f"{what} key", key)
    for part, pem, content, mark in (("cert", cert, chain, b"CERTIFICATE"), ("key", key, secret, b"PRIVATE KEY")):
        try:
            _check_whole(content, mark)
        except ValueError as error:
            kind = "certificate" if part == "cert" else "private key"
            raise ConfigError(f"{_name(f'{what} {part}', pem)} holds no {kind} in PEM form, or a cut one") from error
    if b"ENCRYPTED" in secret:
        raise ConfigError(f"{_name(f'{what} key', key)} is encrypted, and nobody is there to give the password")
    _check_pair(f"{_name(f'{what} cert', cert)} and {_name(f'{what} key', key)}", chain, secret)
    return secret, chain


def files_of(*pems: Pem) -> list[str | os.PathLike[str]]:
    """Those that are paths."""
    return [pem for pem in pems if pem and not isinstance(pem, bytes)]


def read_bounded(what: str, path: str | os.PathLike[str], *, max_bytes: int) -> bytes:
    """All of a file.

    Raises:
        ConfigError: if it cannot be read, or is longer than `max_bytes`.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "no path"
        raise ConfigError(f"{_name(what, path)} cannot be read: {reason}") from error
    if len(content) > max_bytes:
        raise ConfigError(f"{_name(what, path)} is longer than {max_bytes} bytes")
    return content


def _read(what: str, pem: Pem) -> bytes:
    if not isinstance(pem, bytes):
        return read_bounded(what, pem, max_bytes=MAX_PEM_BYTES)
    if len(pem) > MAX_PEM_BYTES:
        raise ConfigError(f"{_name(what, pem)} is longer than {MAX_PEM_BYTES} bytes")
    return pem


def _name(what: str, pem: Pem) -> str:
    return f"{what} (given as bytes)" if isinstance(pem, bytes) else f"{what} {os.fspath(pem)}"


def _check_whole(content: bytes, mark: bytes) -> None:
    """Raises ValueError: if no block of that kind begins, or not all that begin end."""
    begun = [line for line in content.splitlines() if line.startswith(b"-----BEGIN ")]
    ended = [line for line in content.splitlines() if line.startswith(b"-----END ")]
    if not any(mark in line for line in begun) or len(begun) != len(ended):
        raise ValueError("no whole PEM")


def _check_pair(names: str, chain: bytes, secret: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _as_file(chain + b"\n" + secret) as path:
        if path is None:
            return
        try:
            context.load_cert_chain(path)
        except (OSError, ValueError) as error:  # OSError: ssl.SSLError among them
            mismatch = "MISMATCH" in str(error)
            reason = "do not belong together" if mismatch else "cannot be used as a certificate and its key"
            raise ConfigError(f"{names} {reason}") from error


@contextmanager
def _as_file(content: bytes) -> Iterator[str | None]:
    """A path where OpenSSL finds `content`, though it is on no disk: Python has no other way. None if there is none."""
    if sys.platform != "linux":
        yield None
        return
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
