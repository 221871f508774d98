"""Every await on a call goes through here, because a bare one lies about cancellation.

grpc.aio raises CancelledError in a task that nobody cancelled when somebody else cancels the call or
closes the channel, and after a deadline of a surrounding scope it raises one that the scope does not
recognise. `settle` tells the two apart (grpc/grpc#43502).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import anyio
import grpc
import grpc.aio
from anyio.lowlevel import checkpoint_if_cancelled

from flowctl_aio.errors import DeadlineExceededError, FlowctlError, PeerError, StreamCancelledError, UsageError
from flowctl_aio.transport.channel import Channel as Channel
from flowctl_aio.transport.local import LocalServer, ask_locally
from flowctl_aio.transport.local_call import LocalCall
from flowctl_aio.transport.status import connection_fault, error_from_rpc, error_from_status, is_busy

T = TypeVar("T")
CallMetadata: TypeAlias = Sequence[tuple[str, str]]
EOF = grpc.aio.EOF
# By how many seconds a scope's own deadline comes before that of the calls in it: it is the scope that ends the
# wait, in its own way, and gRPC's deadline is there for the peer.
SCOPE_FIRST = 0.5
# Seconds after a deadline in which the reason of it is looked for.
PROBE_LIMIT = 0.1


class Serializable(Protocol):
    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name


async def settle(awaitable: Awaitable[T], peer: str, *, is_tls: bool = False) -> T:
    """Await something of grpc's; every failure comes out as one of our errors.

    Args:
        is_tls: whether it goes over TLS, which decides what a connection that does not come about may mean.

    Raises:
        StreamCancelledError: if the call was cancelled, though this task was not.
        PeerUnavailableError, PeerError, DeadlineExceededError: as the status says.

    Cancellation: keeps its usual meaning.
    """
    try:
        return await awaitable
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error, peer, is_tls=is_tls) from error
    except asyncio.InvalidStateError as error:
        raise StreamCancelledError("the call is already over", peer=peer) from error
    except asyncio.CancelledError:
        # A scope around us was cancelled: this raises the cancellation that the scope knows.
        await checkpoint_if_cancelled()
        task = asyncio.current_task()
        if task is not None and task.cancelling() == 0:
            raise StreamCancelledError("the call was cancelled elsewhere", peer=peer) from None
        raise


def _seconds_left(timeout: float | None) -> float | None:
    left = anyio.current_effective_deadline() - anyio.current_time() + SCOPE_FIRST
    if timeout is not None:
        left = min(left, timeout)
    return None if left == float("inf") else max(left, 0.0)


async def call_unary(
    channel: Channel,
    method: str,
    request: Serializable,
    answer: type[T],
    *,
    timeout: float | None,
    metadata: CallMetadata = (),
    wait_for_ready: bool = False,
    heard: dict[str, str] | None = None,
) -> T:
    """One unary call, and its answer.

    Args:
        wait_for_ready: wait for a peer that is away to come back, as long as the deadline allows, instead of failing.
        heard: takes the metadata that the peer sent with its answer, if anybody wants it.

    The gRPC deadline is the nearer of `timeout` and the surrounding scope's. A call that waited for its peer until
    then tells in its error why the last attempt to connect failed; a scope's own TimeoutError cannot.

    Raises:
        UsageError: if the channel is closed.
        FlowctlError: as `settle`.

    Cancellation: cancels the call; whether the peer acted on it is then unknown.
    """
    async with channel.line() as raw:
        if isinstance(raw, LocalServer):
            data, said = await ask_locally(
                raw, method, request.SerializeToString(), timeout=_seconds_left(timeout), metadata=metadata
            )
            if heard is not None:
                heard.update(said)
            found: T = answer.FromString(data)  # type: ignore[attr-defined]
            return found
        start: Any = raw.unary_unary(
            method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]
        )
        with _usable(channel):
            call = start(
                request,
                timeout=_seconds_left(timeout),
                metadata=(*metadata, *channel.shown()) or None,
                wait_for_ready=wait_for_ready,
            )
        try:
            result: T | None = await settle(call, channel.peer, is_tls=channel.is_tls)
            if result is None:  # so grpc.aio says that it could not be parsed
                raise PeerError(f"the answer is no {answer.__name__}", peer=channel.peer, code="INTERNAL")
            if heard is not None:
                heard.update(_texts(await settle(call.initial_metadata(), channel.peer, is_tls=channel.is_tls)))
            return result
        except DeadlineExceededError as error:
            fault = await _last_fault(channel, raw) if wait_for_ready else ""
            if not fault:
                raise
            raise DeadlineExceededError(f"{channel.peer}: no answer in time; {fault}") from error
        finally:
            call.cancel()


async def _last_fault(channel: Channel, raw: grpc.aio.Channel) -> str:
    """Why the last attempt to connect failed, which a call that waits for its peer does not tell; empty if none did.

    A call that does not wait fails at once while there is no connection, and never leaves this machine then.
    """
    if raw.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
        return ""
    start: Any = raw.unary_unary("/")
    probe = start(b"", timeout=PROBE_LIMIT)
    try:
        await settle(probe, channel.peer)
    except FlowctlError as error:
        return connection_fault(getattr(error, "details", None) or "", is_tls=channel.is_tls)
    finally:
        probe.cancel()
    return ""


class StreamCall:
    """One open streaming call that carries raw messages; made by `open_call`, and over when its block is left."""

    is_local: ClassVar[bool] = False

    def __init__(self, call: Any, peer: str, *, is_tls: bool = False) -> None:
        self._call, self.peer, self._is_tls = call, peer, is_tls
        self._first: bytes | None = None

    async def read(self) -> bytes | None:
        """The next message; None after the last one of a stream that ended well.

        Cancellation: ends the whole call. Only a pump may await this.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        message = await self._settle(self._call.read())
        return None if message is EOF else message

    async def refusal(self) -> PeerError | None:
        """Wait for the first message, which `read` gives; or for the word that the peer has another stream already.

        Raises: why the call is over, if it is for another reason.
        """
        try:
            self._first = await self.read()
        except PeerError as error:
            if is_busy(error):
                return error
            raise
        return None

    async def write(self, message: bytes) -> None:
        """Hand a message over; returns when the transport has room for it.

        Raises: why the call is over, if it is.

        Cancellation: ends the whole call. Only a pump may await this.
        """
        await self._while_open(self._write(message))

    async def done_writing(self) -> None:
        """Half-close: say that nothing more will be written."""
        await self._while_open(self._until_over(self._call.done_writing()))

    def is_over(self) -> bool:
        return bool(self._call.done())

    async def result(self) -> bytes:
        """The one answer of a client-streaming call."""
        answer: bytes = await self._settle(self._call)
        return answer

    async def _write(self, message: bytes) -> None:
        """As `call.write`, which however makes "Internal error from Core" of it when the peer ends the call meanwhile,
        and forgets the status with which the peer ended it. Below it the failure is told apart from the status.
        """
        if self._call.done():
            raise asyncio.InvalidStateError
        await self._call.wait_for_connection()
        await self._until_over(self._call._cython_call.send_serialized_message(message))

    async def _until_over(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except grpc.aio.InternalError as error:
            await self._call.code()  # comes at once: a write fails only when the call is over
            raise asyncio.InvalidStateError from error

    async def _while_open(self, writing: Awaitable[None]) -> None:
        try:
            await self._settle(writing)
        except StreamCancelledError:
            # grpc.aio only says that the call is over; its status says why.
            if self._call.done():
                status = await self._call.code()
                if status not in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED):
                    details = await self._call.details() or ""
                    raise error_from_status(status, details, self.peer, is_tls=self._is_tls) from None
            raise

    async def peer_metadata(self) -> dict[str, str]:
        """What the peer said before its first message."""
        return _texts(await self._settle(self._call.initial_metadata()))

    async def _settle(self, awaitable: Awaitable[T]) -> T:
        return await settle(awaitable, self.peer, is_tls=self._is_tls)


# Over the network, or inside this loop.
OpenCall: TypeAlias = StreamCall | LocalCall


@asynccontextmanager
async def open_call(
    channel: Channel, method: str, request: bytes | None = None, *, answers: bool, metadata: CallMetadata = ()
) -> AsyncIterator[OpenCall]:
    """Open a streaming call on raw bytes; leaving the block cancels it if it is still under way.

    Where the peer serves one stream at a time, the block begins with its first message, or is not entered at all: a
    refused call is made again if the channel knows of another instance, or of a stream that has just ended.

    Args:
        request: the one request of a server-streaming call; None if the client streams too.
        answers: whether the server streams (else it answers once).

    Raises:
        UsageError: if the channel is closed.
        StreamError: if a peer that serves one stream at a time refuses this one.
    """
    for attempt in count(1):
        async with channel.line(is_stream=True) as raw:
            if isinstance(raw, LocalServer):
                local = raw.start(method, request, metadata)
                try:
                    yield local
                    return
                finally:
                    local.cancel()
            with _usable(channel):
                call = _begin(raw, method, request, answers=answers, metadata=(*metadata, *channel.shown()) or None)
            try:
                stream = StreamCall(call, channel.peer, is_tls=channel.is_tls)
                refusal = await stream.refusal() if request is not None and channel.serves_one else None
                if refusal is None:
                    yield stream
                    return
            finally:
                call.cancel()
        if not await channel.moves_on(refusal, attempt=attempt):
            raise refusal


def _begin(raw: grpc.aio.Channel, method: str, request: bytes | None, *, answers: bool, metadata: Any) -> Any:
    if request is not None:
        return _start(raw.unary_stream, method)(request, metadata=metadata)
    return _start(raw.stream_stream if answers else raw.stream_unary, method)(metadata=metadata)


@contextmanager
def _usable(channel: Channel) -> Iterator[None]:
    try:
        yield
    except grpc.aio.UsageError as error:
        raise UsageError(f"the channel to {channel.peer} is closed") from error


def _start(kind: Any, method: str) -> Any:
    """A multi-callable without serialisers: bytes in, bytes out."""
    return kind(method)


def _texts(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in (metadata or ()) if isinstance(value, str)}
