"""Calls from a thread, for a beat that must go out while the event loop is blocked. Nothing here touches a loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Any, TypeVar

import grpc

from flowctl_aio.errors import UsageError
from flowctl_aio.security import ClientTls, Credentials
from flowctl_aio.transport.address import is_loopback
from flowctl_aio.transport.call import Serializable
from flowctl_aio.transport.channel import check_dialled
from flowctl_aio.transport.options import control_options
from flowctl_aio.transport.renewal import Renewal
from flowctl_aio.transport.security.tls import client_tls, name_options
from flowctl_aio.transport.security.tokens import shown
from flowctl_aio.transport.status import error_from_status

T = TypeVar("T")


class BlockingChannel:
    """The channel to a control plane as `open_control_channel` gives it, for threads. Opening does not dial.

    Calls may come from several threads at a time, and `close` from yet another one. When the certificates in its files
    change, the next call takes a new connection, without looking first whether one comes about.

    Args:
        insecure, tls, credentials: as with `open_control_channel`.

    Raises:
        ConfigError: as with `open_control_channel`.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        insecure: bool = False,
        tls: ClientTls | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.peer = check_dialled(endpoint, insecure=insecure, tls=tls, credentials=credentials)
        self._options = [*control_options(loopback=is_loopback(self.peer)), *name_options(tls, self.peer)]
        self._shown = shown(credentials, self.peer) if credentials else None
        self._is_tls, self._lock = tls is not None, Lock()
        self._renewal: Renewal[grpc.Channel] = Renewal(
            self._dial, client_tls(tls, self.peer) if tls else None, is_fit=lambda old, new: True
        )

    def __repr__(self) -> str:
        return f"<BlockingChannel to {self.peer}{' with TLS' if self._is_tls else ''}>"

    def __enter__(self) -> BlockingChannel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self, method: str, request: Serializable, answer: type[T], *, timeout: float, wait_for_ready: bool = False
    ) -> T:
        """One unary call. Blocks its thread for `timeout` seconds at most.

        Args:
            wait_for_ready: wait for a peer that is away to come back, as long as `timeout` allows, instead of failing.

        Raises:
            UsageError: if the channel is closed.
            StreamCancelledError: if it is closed during the call.
            PeerUnavailableError, PeerError, DeadlineExceededError: as the status says.
        """
        with self._line() as raw:
            start: Any = raw.unary_unary(
                method,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,  # type: ignore[attr-defined]
            )
            metadata = self._shown.get() if self._shown is not None else ()
            try:
                result: T = start(request, timeout=timeout, metadata=metadata or None, wait_for_ready=wait_for_ready)
            except grpc.RpcError as error:
                status, details = error.code(), error.details() or ""
                raise error_from_status(status, details, self.peer, is_tls=self._is_tls) from error
            except ValueError as error:
                if not self._renewal.is_closed:
                    raise
                raise UsageError(f"the channel to {self.peer} is closed") from error
        return result

    def close(self) -> None:
        """Close it, and cut off its calls. May be called twice, and from any thread."""
        with self._lock:
            channels = self._renewal.close()
        for channel in channels:
            channel.close()

    @contextmanager
    def _line(self) -> Iterator[grpc.Channel]:
        with self._lock:
            if self._renewal.is_closed:
                raise UsageError(f"the channel to {self.peer} is closed")
            line, retired = self._renewal.take(), self._renewal.retired()
        try:
            for channel in retired:
                channel.close()
            yield line.raw
        finally:
            with self._lock:
                self._renewal.give_back(line)
                retired = self._renewal.retired()
            for channel in retired:
                channel.close()

    def _dial(self, credentials: Any) -> grpc.Channel:
        if credentials is None:
            return grpc.insecure_channel(self.peer, options=self._options)
        return grpc.secure_channel(self.peer, credentials, options=self._options)
