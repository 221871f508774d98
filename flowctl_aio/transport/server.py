"""Bind a port and serve methods on it. Handlers see messages or raw bytes, and raise our errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio
import grpc
import grpc.aio
from anyio.lowlevel import checkpoint_if_cancelled

from flowctl_aio.errors import (
    ComponentError,
    ConfigError,
    FlowctlError,
    PeerUnavailableError,
    StreamCancelledError,
    StreamTruncatedError,
)
from flowctl_aio.owner import lone
from flowctl_aio.security import Admission, ServerTls
from flowctl_aio.transport.address import check_plaintext, dialable, is_loopback, parse_endpoint
from flowctl_aio.transport.call import EOF, CallMetadata, settle
from flowctl_aio.transport.gate import OPEN_SERVICES, Gate
from flowctl_aio.transport.local import CLEANUP_LIMIT, LocalServer, announce
from flowctl_aio.transport.local_call import LocalContext, LocalMethod
from flowctl_aio.transport.options import server_options
from flowctl_aio.transport.security.tls import server_tls
from flowctl_aio.transport.security.tokens import AcceptedTokens
from flowctl_aio.transport.status import Refused, status_of

logger = logging.getLogger(__name__)


class ServerCall:
    """One streaming call, seen from the server: raw messages in, raw messages out."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.metadata: dict[str, str] = {
            key: value for key, value in (context.invocation_metadata() or ()) if isinstance(value, str)
        }
        self.peer: str = context.peer()
        self.is_local = isinstance(context, LocalContext)

    async def greet(self, metadata: CallMetadata) -> None:
        """Send what the client may know before the first message."""
        await settle(self._context.send_initial_metadata(tuple(metadata)), self.peer)

    async def read(self) -> bytes | None:
        """The next message; None at the end, which may just be a client that died.

        Cancellation: truncates the stream without a word. Only a pump may await this.
        """
        message = await settle(self._context.read(), self.peer)
        return None if message is EOF else message

    async def write(self, message: bytes) -> None:
        """Hand a message over; returns when the transport has room for it.

        Raises:
            StreamCancelledError: if the client is gone.

        Cancellation: ends the whole call.
        """
        try:
            await settle(self._context.write(message), self.peer)
        except grpc.aio.InternalError as error:  # all that grpc says of a client that left meanwhile
            raise StreamCancelledError("the client is gone", peer=self.peer) from error


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """`handle` takes one message of type `request` and returns one; `metadata` goes with every answer."""

    handle: Callable[[Any], Awaitable[Any]]
    request: Any
    metadata: CallMetadata = ()


@dataclass(frozen=True, slots=True)
class ServerStreamMethod:
    """`handle` takes one message of type `request` and writes to the call."""

    handle: Callable[[Any, ServerCall], Awaitable[None]]
    request: Any


@dataclass(frozen=True, slots=True)
class ClientStreamMethod:
    """`handle` reads from the call and returns one message."""

    handle: Callable[[ServerCall], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class BidiMethod:
    """`handle` reads from the call and writes to it."""

    handle: Callable[[ServerCall], Awaitable[None]]


Method: TypeAlias = UnaryMethod | ServerStreamMethod | ClientStreamMethod | BidiMethod
# Full service name → method name → method.
Services: TypeAlias = Mapping[str, Mapping[str, Method]]


@dataclass(slots=True)
class Server:
    """A server that listens.

    Attributes:
        port: the port it got; 0 for a unix socket.
        local: the way of those in this loop who need no network.
        endpoint: where it can be dialled.
    """

    raw: grpc.aio.Server
    port: int
    endpoint: str
    local: LocalServer

    async def drain(self, grace: float) -> None:
        """Take no new call; return when the last one is over, after `grace` seconds at the latest.

        Cancellation: safe at any point; the calls go on until the server is left.
        """
        deadline = anyio.current_time() + grace
        self.local.refuse()
        await self.raw.stop(grace)
        await self.local.drain(max(deadline - anyio.current_time(), 0.0))


@asynccontextmanager
async def open_server(
    services: Services,
    address: str = "127.0.0.1:0",
    *,
    max_message_bytes: int = 64 * 1024 * 1024,
    max_inflight_bytes: int | None = None,
    advertise_host: str = "",
    insecure: bool = False,
    grace: float | None = None,
    tls: ServerTls | None = None,
    admission: Admission | None = None,
    open_services: frozenset[str] = OPEN_SERVICES,
    is_near: bool = False,
) -> AsyncIterator[Server]:
    """Listen on `address` while the block runs.

    Args:
        address: `host:port` (port 0 takes a free one) or `unix:///path`.
        max_inflight_bytes: how far a client may run ahead on one stream; None leaves it to gRPC.
        insecure: listen in clear also to other machines; not asked where `tls` is given.
        grace: seconds that streams may go on after the block; None ends them at once.
        tls: encrypt, and ask for client certificates if it has a client CA. Files are read again when they change.
        admission: answer UNAUTHENTICATED to every call without one of its tokens.
        open_services: full names of services that need no token all the same.
        is_near: let callers in this loop in without the network; not where they would have to show who they are, or
            the server does.

    Raises:
        ConfigError: if the address is malformed, taken, or open to other machines while `insecure` is false and `tls`
            is None; if a file cannot be read, or holds no PEM or no token.
    """
    address = parse_endpoint(address)
    if tls is None:
        check_plaintext(address, insecure=insecure)
        if admission is not None and not is_loopback(address):
            logger.warning("tokens come to %s over the network in clear: nothing but TLS hides them", address)
    gates = [Gate(AcceptedTokens(admission, address, open_services=open_services))] if admission is not None else []
    credentials = server_tls(tls, address) if tls is not None else None
    options = server_options(max_message_bytes=max_message_bytes, max_inflight_bytes=max_inflight_bytes)
    raw = grpc.aio.server(options=options, interceptors=gates)
    underway = _Underway()
    near: dict[str, LocalMethod] = {}
    for service, methods in services.items():
        guarded = {name: _guarded(f"{service}/{name}", method, underway) for name, method in methods.items()}
        near |= {f"/{service}/{name}": _local(method, guarded[name]) for name, method in methods.items()}
        handlers = {name: _handler(method, guarded[name]) for name, method in methods.items()}
        raw.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = _bind(raw, address, credentials)
    endpoint = dialable(address, port, advertise_host=advertise_host)
    local = LocalServer(endpoint, near)
    try:
        # A start that is cancelled half-way could not be stopped.
        with anyio.CancelScope(shield=True):
            await raw.start()
        await checkpoint_if_cancelled()
        if is_near and tls is None and admission is None:
            announce(local)
        yield Server(raw, port, endpoint, local)
    finally:
        local.refuse()
        deadline = anyio.current_time() + (grace or 0.0)
        # A stop inside a cancelled scope would return at once, with calls still open.
        with anyio.move_on_after((grace or 0.0) + CLEANUP_LIMIT, shield=True):
            await raw.stop(grace)
        with anyio.CancelScope(shield=True):  # bounded by itself
            await local.stop(max(deadline - anyio.current_time(), 0.0))
        # grpc has cancelled the handlers, and does not wait until they have cleaned up.
        with anyio.move_on_after(CLEANUP_LIMIT, shield=True):
            await underway.wait_none()


def _bind(raw: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        port = raw.add_secure_port(address, credentials) if credentials else raw.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {address}: {str(error).partition(';')[0]}") from error
    return 0 if address.startswith("unix:") else port  # grpc says 1 for a unix socket


class _Underway:
    """The handlers that run at the moment."""

    def __init__(self) -> None:
        self._count = 0
        self._none: anyio.Event | None = None  # only once somebody waits for it: this is on the way of every call

    def enter(self) -> None:
        self._count += 1

    def leave(self) -> None:
        self._count -= 1
        if self._count == 0 and self._none is not None:
            self._none.set()

    async def wait_none(self) -> None:
        while self._count:
            self._none = anyio.Event()
            await self._none.wait()


# A handler that takes the one request, if there is one, and a context, and whose failures are statuses.
Guarded: TypeAlias = Callable[[Any, Any], Awaitable[Any]]


def _guarded(name: str, method: Method, underway: _Underway) -> Guarded:
    if isinstance(method, UnaryMethod):
        return _guard_unary(name, method, underway)
    if isinstance(method, ServerStreamMethod):
        return _guard(name, lambda request, context: method.handle(request, ServerCall(context)), underway)
    return _guard(name, lambda _, context: method.handle(ServerCall(context)), underway)


def _handler(method: Method, guarded: Guarded) -> Any:
    """As grpc has it."""
    if isinstance(method, UnaryMethod):
        return grpc.unary_unary_rpc_method_handler(
            guarded, request_deserializer=method.request.FromString, response_serializer=_serialize
        )
    if isinstance(method, ServerStreamMethod):
        return grpc.unary_stream_rpc_method_handler(guarded, request_deserializer=method.request.FromString)
    if isinstance(method, ClientStreamMethod):
        return grpc.stream_unary_rpc_method_handler(guarded, response_serializer=_serialize)
    return grpc.stream_stream_rpc_method_handler(guarded)


def _local(method: Method, guarded: Guarded) -> LocalMethod:
    """As callers in this loop have it."""
    return LocalMethod(guarded, method.request if isinstance(method, UnaryMethod | ServerStreamMethod) else None)


def _guard_unary(name: str, method: UnaryMethod, underway: _Underway) -> Guarded:
    async def greet_and_handle(request: Any, context: Any) -> Any:
        await context.send_initial_metadata(tuple(method.metadata))
        return await method.handle(request)

    handle = greet_and_handle if method.metadata else lambda request, _: method.handle(request)
    return _guard(name, handle, underway)


def _guard(name: str, handle: Guarded, underway: _Underway) -> Guarded:
    """Turn whatever a handler raises into a status; cancellation passes."""

    async def guarded(request: Any, context: Any) -> Any:
        underway.enter()
        try:
            return await handle(request, context)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # grpc would send the text of anything
            cause = lone(error)
            if not isinstance(cause, Refused | ComponentError):  # faults of components are reported where they happen
                ended = isinstance(cause, StreamTruncatedError | StreamCancelledError | PeerUnavailableError)
                foreign = None if isinstance(cause, FlowctlError) else cause
                logger.log(logging.DEBUG if ended else logging.WARNING, "%s: %s", name, cause, exc_info=foreign)
            code, details = status_of(cause)
        finally:
            underway.leave()
        await context.abort(code, details)
        return None

    return guarded


def _serialize(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
