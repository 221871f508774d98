"""Tokens and API keys of both ends: what a client shows with each call, and what a server lets in.

A token stands in no text, log or error that is written here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from flowctl_aio.errors import ConfigError
from flowctl_aio.security import Admission, Credentials
from flowctl_aio.transport.security.pem import read_bounded
from flowctl_aio.transport.security.reloaded import Reloaded

Shown: TypeAlias = tuple[tuple[str, str], ...]
# gRPC refuses a call whose metadata is above 8 KiB, and bearer tokens with many claims are long.
MAX_TOKEN_BYTES = 6 * 1024
MAX_TOKENS_FILE_BYTES = 1024 * 1024
# How many of the tokens that one call shows are looked at: a bearer token and an API key.
MAX_SHOWN = 2
_TOKEN = re.compile(r"[!-~]+")


def shown(credentials: Credentials, peer: str) -> Reloaded[Shown]:
    """The metadata that goes with every call; new after each change of a file.

    Raises:
        ConfigError: if a file cannot be read, or a token is not one line of visible ASCII.
    """

    def load() -> Shown:
        metadata = []
        if token := _one("token", credentials.token, credentials.token_file):
            metadata.append(("authorization", f"Bearer {token}"))
        if key := _one("api_key", credentials.api_key, credentials.api_key_file):
            metadata.append(("x-api-key", key))
        return tuple(metadata)

    files = [file for file in (credentials.token_file, credentials.api_key_file) if file]
    return Reloaded(f"what is shown to {peer}", load, files)


class AcceptedTokens:
    """Tells which calls a server lets in.

    Args:
        open_services: full names of services that need no token.

    Raises:
        ConfigError: if the file cannot be read, or holds no token, or one that no client could show.
    """

    def __init__(self, admission: Admission, address: str, *, open_services: frozenset[str]) -> None:
        files = [admission.tokens_file] if admission.tokens_file else []
        what = f"the tokens accepted at {address}"
        self._accepted = Reloaded(what, lambda: _digests(admission), files, every_look=True)
        self._open = open_services

    def refusal(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
        """Why a call of `method` (`/service/method`) is not let in; None if it is.

        All accepted tokens are compared, each in constant time, so that the answer's delay tells nothing of them.
        """
        if method.strip("/").rpartition("/")[0] in self._open:
            return None
        tokens = [token for key, value in metadata if (token := _token_in(key, value))]
        if not tokens:
            return "this server asks for a token: authorization (Bearer) or x-api-key"
        accepted = self._accepted.get()
        found = False
        for token in tokens[:MAX_SHOWN]:
            digest = _digest(token)
            for good in accepted:
                found |= hmac.compare_digest(digest, good)
        return None if found else "the token is none of those that this server accepts"


def _token_in(key: str, value: Any) -> bytes:
    text = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    if key == "x-api-key":
        return text.strip()
    if key == "authorization":
        scheme, _, token = text.partition(b" ")
        return token.strip() if scheme.lower() == b"bearer" else b""
    return b""


def _digests(admission: Admission) -> list[bytes]:
    tokens = [_check("a token to accept", token) for token in admission.tokens]
    if admission.tokens_file:
        what = f"accept tokens file {admission.tokens_file}"
        content = read_bounded("accept tokens file", admission.tokens_file, max_bytes=MAX_TOKENS_FILE_BYTES)
        lines = [line.strip() for line in content.decode("utf-8", "replace").split("\n")]
        found = [
            _check(f"line {number} of the {what}", line)
            for number, line in enumerate(lines, 1)
            if line and not line.startswith("#")
        ]
        if not found:
            raise ConfigError(f"the {what} holds no token")
        tokens += found
    return [_digest(token.encode()) for token in tokens]


def _digest(token: bytes) -> bytes:
    """Of equal length for all tokens, which a comparison in constant time needs."""
    return hashlib.sha256(token).digest()


def _one(name: str, text: str, file: str) -> str:
    if text:
        return _check(name, text)
    if not file:
        return ""
    content = read_bounded(f"{name}_file", file, max_bytes=MAX_TOKEN_BYTES)
    return _check(f"{name}_file {file}", content.decode("utf-8", "replace").strip())


def _check(what: str, token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"{what} must be one line of visible ASCII, without spaces")
    if len(token) > MAX_TOKEN_BYTES:
        raise ConfigError(f"{what} is longer than {MAX_TOKEN_BYTES} bytes")
    return token
