"""Calls to a Stellar RPC server: JSON-RPC over HTTP, one request and one bounded answer each.

Everything of aiohttp stays behind this file, its errors too. A call asks once; asking again is the caller's. No message
has more of the server's address than its host, since providers put their keys into the rest.

Source: JSON-RPC 2.0; RFC 9110 for the statuses and `Retry-After`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from flowctl_aio.components.stellar.lake.objects import StoredLedger
from flowctl_aio.components.stellar.lake.store import PassingError
from flowctl_aio.components.stellar.rpc.address import check_url, shown
from flowctl_aio.components.stellar.rpc.answers import (
    Page,
    Window,
    read_page,
    read_passphrase,
    read_result,
    read_window,
)
from flowctl_aio.errors import FrameTooLargeError, RpcError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

MAX_RESPONSE_BYTES = 128 << 20
"""Default limit for one answer, unpacked; a busy ledger takes about 1.4 MB."""

_CHUNK = 64 << 10
# Below this many bytes, reading an answer takes less than changing threads would.
_INLINE_BYTES = 64 << 10
_CONNECT_TIMEOUT = 10.0


class BusyError(PassingError):
    """The server wants to be asked later.

    Attributes:
        pause: the seconds that it asks for.
    """

    def __init__(self, reason: str, pause: float) -> None:
        self.pause = pause
        super().__init__(reason)


class RpcClient:
    """Asks one server. Made by `open_client`; works as long as that context is open.

    Attributes:
        where: what may be shown of the server's address.
    """

    def __init__(
        self, session: ClientSession, url: str, *, max_response_bytes: int, count: Callable[[int], None]
    ) -> None:
        self.where = shown(url)
        self._session, self._url = session, url
        self._max_bytes, self._count = max_response_bytes, count
        self._number = 0
        self._threads = anyio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"<RpcClient {self.where}>"

    async def get_network(self) -> str:
        """Asks for the network's passphrase.

        Raises:
            RefusedError, PassingError, RpcError: as every call does.

        Cancellation: gives the request up; nothing is kept.
        """
        return read_passphrase(read_result(*await self._ask("getNetwork")))

    async def get_window(self) -> Window:
        """Asks which ledgers the server holds.

        Raises:
            RefusedError: if it is not well, for one.
            PassingError, RpcError: as every call does.

        Cancellation: gives the request up; nothing is kept.
        """
        return read_window(read_result(*await self._ask("getHealth")))

    async def get_page(self, first: int, limit: int, previous: StoredLedger | None) -> Page:
        """Asks for ledgers from `first` on, at most `limit`; `previous` is the one before, if it is known.

        Raises:
            RefusedError: if `first` is not among the server's ledgers, for one.
            FrameTooLargeError: if the answer is above the limit.
            PassingError, RpcError: as every call does.

        Cancellation: gives the request up; nothing is kept.
        """
        text, number = await self._ask("getLedgers", {"startLedger": first, "pagination": {"limit": limit}})

        def read() -> Page:
            return read_page(read_result(text, number), first=first, limit=limit, previous=previous)

        if len(text) <= _INLINE_BYTES:
            return read()
        return await to_thread.run_sync(read, limiter=self._threads)

    async def _ask(self, method: str, params: dict[str, Any] | None = None) -> tuple[bytes, int]:
        """Sends a call, and returns the text of its answer with the call's number.

        Raises:
            BusyError, PassingError: if another attempt may go better.
            FrameTooLargeError: if the answer is above the limit.
            RpcError: if no attempt would.
        """
        from aiohttp import ClientError

        self._number += 1
        call: dict[str, Any] = {"jsonrpc": "2.0", "id": self._number, "method": method}
        if params is not None:
            call["params"] = params
        number = self._number
        try:
            # To follow a redirect would hand the address's secrets to somebody else.
            async with self._session.post(self._url, json=call, allow_redirects=False) as response:
                _check_status(response, self.where)
                return await self._read(response, method), number
        except (ClientError, OSError) as error:
            raise PassingError(_reason(error)) from None  # its own words may hold the address

    async def _read(self, response: ClientResponse, method: str) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_chunked(_CHUNK):
            size += len(part)
            self._count(len(part))
            if size > self._max_bytes:
                response.close()
                raise FrameTooLargeError(f"an answer of {self.where} to {method}", size=size, limit=self._max_bytes)
            parts.append(part)
        return b"".join(parts)


@asynccontextmanager
async def open_client(
    url: str,
    *,
    timeout: float = 30.0,
    max_response_bytes: int = MAX_RESPONSE_BYTES,
    count: Callable[[int], None] = lambda _: None,
) -> AsyncIterator[RpcClient]:
    """Opens a client; connects when it is first asked.

    Args:
        url: http or https; a user, a password or a key in it is sent, and never shown.
        timeout: seconds for one call to begin to answer, and between two pieces of its answer.
        max_response_bytes: what one answer may be, unpacked.
        count: is told of the bytes as they come.

    Raises:
        ConfigError: if it is no such URL.

    Cancellation: leaving the context in any way closes all connections.
    """
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar

    from flowctl_aio import __version__

    check_url(url)
    session = ClientSession(
        timeout=ClientTimeout(total=10 * timeout, sock_connect=min(timeout, _CONNECT_TIMEOUT), sock_read=timeout),
        headers={"User-Agent": f"flowctl-aio/{__version__}"},
        cookie_jar=DummyCookieJar(),
    )
    async with session:
        yield RpcClient(session, url, max_response_bytes=max_response_bytes, count=count)


def read_retry_after(text: str | None) -> float | None:
    """Seconds to wait, as the header tells: a number, or a date. None if it tells nothing."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)


def _check_status(response: ClientResponse, where: str) -> None:
    status = response.status
    if status == 200:
        return
    answered = f"it answered {status}"
    if status == 429 or status == 503:
        pause = read_retry_after(response.headers.get("Retry-After"))
        if pause is not None:
            raise BusyError(answered, pause)
    if status in (408, 425, 429) or status >= 500:
        raise PassingError(answered)
    if status in (401, 403):
        raise RpcError(f"{where} may not be asked: {answered}")
    raise RpcError(f"{where} is no Stellar RPC server: {answered}")


def _reason(error: BaseException) -> str:
    """What went wrong with a connection, in words that hold nothing of the address."""
    from aiohttp import (
        ClientConnectorCertificateError,
        ClientConnectorError,
        ClientPayloadError,
        ServerDisconnectedError,
    )

    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, ClientConnectorError):
        return f"it cannot be reached: {error.os_error.strerror or type(error.os_error).__name__}"
    if isinstance(error, (ClientPayloadError, ServerDisconnectedError, ConnectionError)):
        return "the connection was cut"
    return f"the call failed: {type(error).__name__}"
