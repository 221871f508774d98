"""One call inside an event loop, seen from its client and from its handler.

What is written at one end comes out at the other, the very same object; status, greeting and end are those of gRPC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import grpc
import grpc.aio

from flowctl_aio.errors import FlowctlError, StreamCancelledError
from flowctl_aio.owner import OwnerTask, Started
from flowctl_aio.transport.pipe import END, Pipe
from flowctl_aio.transport.status import error_from_status

Metadata: TypeAlias = Sequence[tuple[str, str]]
# What a call has on its way, each way. More would only add to what waits at its ends.
MAX_WAITING = 2
PEER = "local"


@dataclass(frozen=True, slots=True)
class LocalMethod:
    """A method as the network has it: `handle` takes the one request, if there is one, and a context.

    Attributes:
        request: the type of the one request; None where the client streams.
    """

    handle: Callable[[Any, Any], Awaitable[Any]]
    request: Any = None


class LocalCall:
    """One call, seen from the client: what a `StreamCall` is on the network."""

    is_local: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        method: LocalMethod,
        request: bytes | None,
        metadata: Metadata,
        peer: str,
        over: Callable[[LocalCall], None],
    ) -> None:
        self.peer = peer
        self._method, self._request, self._over = method, request, over
        self.context = LocalContext(self, metadata)
        self.up, self.down = Pipe(MAX_WAITING), Pipe(MAX_WAITING)
        self.greeted, self._ended = asyncio.Event(), asyncio.Event()
        self.greeting: Metadata = ()
        self._status: tuple[grpc.StatusCode, str] | None = None
        self._answer = b""
        self._task: asyncio.Task[Any] | None = None
        self._owner = OwnerTask(self._main, name=f"flowctl_aio local call {name}")

    def start(self, context: Context) -> None:
        context.run(self._owner.start_nowait)

    async def read(self) -> Any | None:
        """The next message; None after the last one of a stream that ended well.

        Raises: why the call is over, if that is another reason.

        Cancellation: loses nothing.
        """
        message = await self.down.get()
        if message is END:
            await self._check_end()
            return None
        return message

    async def write(self, message: Any) -> None:
        """Hand a message over; returns when there is room for it.

        Raises: why the call is over, if it is.

        Cancellation: the message is not handed over.
        """
        if not await self.up.put(message):
            raise self._fault() or StreamCancelledError("the call is already over", peer=self.peer)

    async def done_writing(self) -> None:
        """Half-close: say that nothing more will be written."""
        if self.is_over():
            raise self._fault() or StreamCancelledError("the call is already over", peer=self.peer)
        self.up.end()

    def is_over(self) -> bool:
        return self._status is not None

    async def result(self) -> bytes:
        """The one answer of a call that has one."""
        await self._check_end()
        return self._answer

    async def peer_metadata(self) -> dict[str, str]:
        """What the peer said before its first message."""
        await self.greeted.wait()
        return dict(self.greeting)

    def cancel(self) -> None:
        """End the call; its handler is cancelled, and cleans up by itself. Does nothing if it is over."""
        self.cut_off(grpc.StatusCode.CANCELLED, "")

    def cut_off(self, status: grpc.StatusCode, details: str) -> None:
        """The same, for a reason that the client hears."""
        if self._status is None:
            self.end(status, details)
            # Once, as on the network: a scope would cancel the awaits of the handler's cleanup too.
            if self._task is not None:
                self._task.cancel()
        self.down.close()

    def end(self, status: grpc.StatusCode, details: str) -> None:
        """The call is over; the first reason counts."""
        if self._status is None:
            self._status = status, details
        self.up.close()
        self.down.end()
        self.greeted.set()
        self._ended.set()

    async def join(self) -> None:
        """Return when the handler is done, with its cleanup too.

        Cancellation: the handler goes on.
        """
        await self._owner.join()

    async def _main(self, started: Started) -> None:
        self._task = asyncio.current_task()
        try:
            if self._status is not None:  # cancelled before it began
                return
            method = self._method
            request = method.request.FromString(self._request) if method.request is not None else None
            answer = await method.handle(request, self.context)
            if answer is not None:
                self._answer = answer.SerializeToString()
            self.end(grpc.StatusCode.OK, "")
        except asyncio.CancelledError:
            if self._status is None:
                self.end(grpc.StatusCode.CANCELLED, "")
        finally:
            self._task = None
            self.end(grpc.StatusCode.INTERNAL, "the handler ended without an answer")  # unless there is one
            self._over(self)

    async def _check_end(self) -> None:
        await self._ended.wait()
        if fault := self._fault():
            raise fault

    def _fault(self) -> FlowctlError | None:
        if self._status is None or self._status[0] is grpc.StatusCode.OK:
            return None
        return error_from_status(*self._status, self.peer)


class LocalContext:
    """The same call, seen from its handler: what a context of grpc's is on the network."""

    def __init__(self, call: LocalCall, metadata: Metadata) -> None:
        self._call, self._metadata = call, metadata

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def peer(self) -> str:
        return PEER

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        self._call.greeting = metadata
        self._call.greeted.set()

    async def read(self) -> Any:
        message = await self._call.up.get()
        return grpc.aio.EOF if message is END else message

    async def write(self, message: Any) -> None:
        if not await self._call.down.put(message):
            raise StreamCancelledError("the client has left", peer=PEER)

    async def abort(self, status: grpc.StatusCode, details: str) -> None:
        self._call.end(status, details)
