"""Open a channel to an endpoint: in clear or with TLS, with or without something to show. Opening never dials."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import grpc
import grpc.aio

from flowctl_aio.security import ClientTls, Credentials
from flowctl_aio.transport.address import check_plaintext, is_loopback, parse_endpoint
from flowctl_aio.transport.options import Options, control_options, data_options
from flowctl_aio.transport.renewal import Renewal
from flowctl_aio.transport.security.tls import client_tls, name_options
from flowctl_aio.transport.security.tokens import Shown, shown

logger = logging.getLogger(__name__)
CLOSE_GRACE = 1.0
READY = grpc.ChannelConnectivity.READY
BROKEN = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


class Channel(ABC):
    """A way to a peer, on which calls are made: one connection, or several that share the calls.

    Attributes:
        peer: the address it leads to.
        is_tls: whether what goes over it is encrypted.
        serves_one: whether the peer serves one stream at a time, and refuses any other.
    """

    peer: str
    is_tls: bool
    serves_one: bool = False

    @abstractmethod
    def line(self, *, is_stream: bool = False) -> AbstractAsyncContextManager[Any]:
        """The gRPC channel for one call, which stays open as long as the block runs.

        Args:
            is_stream: the call is one that carries batches.

        Raises:
            UsageError: if this way is closed.

        Cancellation: passes through.
        """

    @abstractmethod
    def shown(self) -> Shown:
        """The metadata that lets a call in; asked inside the block of `line`."""

    async def moves_on(self, error: Exception, *, attempt: int) -> bool:
        """Whether a stream that was refused before its first message shall be tried again, perhaps elsewhere.

        Args:
            error: why it was refused.
            attempt: how many there have been for this stream.

        Cancellation: safe at any point.
        """
        return False


class Connection(Channel):
    """A way to one peer. Underneath is a gRPC channel, which is replaced when the certificates in its files change:
    new calls take the new one once it is connected, and the old one is closed when its last call is over.
    Certificates with which no connection comes about thus break none.
    """

    def __init__(self, peer: str, options: Options, tls: ClientTls | None, credentials: Credentials | None) -> None:
        self.peer, self.is_tls = peer, tls is not None
        self._options = [*options, *name_options(tls, peer)]
        self._shown = shown(credentials, peer) if credentials else None
        self._renewal: Renewal[grpc.aio.Channel] = Renewal(
            self._dial, client_tls(tls, peer) if tls else None, is_fit=self._is_fit
        )
        self._unfit: grpc.aio.Channel | None = None

    def __repr__(self) -> str:
        return f"<Connection to {self.peer}{' with TLS' if self.is_tls else ''}>"

    @property
    def raw(self) -> grpc.aio.Channel:
        """The gRPC channel of the latest calls."""
        return self._renewal.newest

    @property
    def is_up(self) -> bool:
        """Whether it is connected, as far as anybody knows."""
        return not self._renewal.is_closed and self.raw.get_state() is READY

    @property
    def is_broken(self) -> bool:
        """Whether the last attempt to connect failed, or it is closed."""
        return self._renewal.is_closed or self.raw.get_state() in BROKEN

    def shown(self) -> Shown:
        return self._shown.get() if self._shown is not None else ()

    @asynccontextmanager
    async def line(self, *, is_stream: bool = False) -> AsyncIterator[grpc.aio.Channel]:
        line = self._renewal.take()
        try:
            await _close(self._renewal.retired())
            yield line.raw
        finally:
            self._renewal.give_back(line)
            await _close(self._renewal.retired())

    def redial(self) -> None:
        """Dial anew for the next call, if this one thinks that it is connected: nothing comes back any more.

        A connection that died without a word, as while a laptop slept, looks well until TCP gives up, a quarter of an
        hour later. Calls under way stay where they are.
        """
        if self.is_up:
            self._renewal.redial()

    async def aclose(self) -> None:
        """Close it, and cut off its calls.

        Cancellation: closes all the same.
        """
        await _close(self._renewal.close())

    def _is_fit(self, old: grpc.aio.Channel, new: grpc.aio.Channel) -> bool:
        state = new.get_state(try_to_connect=True)
        if state is READY or old.get_state() is not READY:
            return True
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and new is not self._unfit:
            self._unfit = new
            logger.warning("the new certificates bring no connection to %s; the old connection goes on", self.peer)
        return False

    def _dial(self, credentials: Any) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(self.peer, options=self._options)
        return grpc.aio.secure_channel(self.peer, credentials, options=self._options)


@asynccontextmanager
async def open_control_channel(
    endpoint: str, *, insecure: bool = False, tls: ClientTls | None = None, credentials: Credentials | None = None
) -> AsyncIterator[Connection]:
    """A channel to a control plane. Opening does not dial: the first call does.

    Args:
        insecure: talk in clear also with another machine; not asked where `tls` is given.
        tls: encrypt. Its files are read again when they change.
        credentials: shown with every call. Their files are read again when they change.

    Raises:
        ConfigError: if the endpoint is malformed, or not on this machine while `insecure` is false and `tls` is None;
            if a file cannot be read, or holds no PEM or no token.
    """
    endpoint = check_dialled(endpoint, insecure=insecure, tls=tls, credentials=credentials)
    connection = Connection(endpoint, control_options(loopback=is_loopback(endpoint)), tls, credentials)
    try:
        yield connection
    finally:
        await connection.aclose()


@asynccontextmanager
async def open_data_channel(
    endpoint: str,
    *,
    max_message_bytes: int,
    max_inflight_bytes: int | None = None,
    insecure: bool = False,
    tls: ClientTls | None = None,
    credentials: Credentials | None = None,
) -> AsyncIterator[Connection]:
    """A channel that carries batches. Opening does not dial: the first call does.

    Args:
        max_inflight_bytes: how far the peer may run ahead on one stream; None leaves it to gRPC.
        insecure, tls, credentials: as with `open_control_channel`.

    Raises:
        ConfigError: as with `open_control_channel`.
    """
    connection = data_connection(
        endpoint,
        max_message_bytes=max_message_bytes,
        max_inflight_bytes=max_inflight_bytes,
        insecure=insecure,
        tls=tls,
        credentials=credentials,
    )
    try:
        yield connection
    finally:
        await connection.aclose()


def data_connection(
    endpoint: str,
    *,
    max_message_bytes: int,
    max_inflight_bytes: int | None = None,
    insecure: bool,
    tls: ClientTls | None,
    credentials: Credentials | None,
) -> Connection:
    """The same, for the caller to close.

    Raises:
        ConfigError: as with `open_control_channel`.
    """
    endpoint = check_dialled(endpoint, insecure=insecure, tls=tls, credentials=credentials)
    options = data_options(
        loopback=is_loopback(endpoint), max_message_bytes=max_message_bytes, max_inflight_bytes=max_inflight_bytes
    )
    return Connection(endpoint, options, tls, credentials)


def check_dialled(endpoint: str, *, insecure: bool, tls: ClientTls | None, credentials: Credentials | None) -> str:
    """The endpoint, checked and complete; plaintext to another machine only if the user wants it.

    Raises:
        ConfigError: if it is malformed, or not on this machine while `insecure` is false and `tls` is None.
    """
    endpoint = parse_endpoint(endpoint)
    if tls is None:
        check_plaintext(endpoint, insecure=insecure)
        if credentials and not is_loopback(endpoint):
            logger.warning("the token for %s goes over the network in clear: nothing but TLS hides it", endpoint)
    return endpoint


async def _close(channels: list[grpc.aio.Channel]) -> None:
    for channel in channels:
        with anyio.move_on_after(CLOSE_GRACE, shield=True):
            await channel.close()
