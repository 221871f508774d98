"""Calls that never leave their event loop: a client's to a server that listens in the same loop, through memory.

The handlers and their guards are those of the network, and so are statuses, metadata and ends. Only what is written
is not turned into bytes: whatever goes in at one end comes out at the other, the very same object.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from typing import Any
from weakref import WeakValueDictionary

import anyio
import grpc
from anyio.lowlevel import RunVar

from flowctl_aio.errors import DeadlineExceededError
from flowctl_aio.transport.local_call import LocalCall, LocalContext, LocalMethod, Metadata
from flowctl_aio.transport.status import error_from_status

# Seconds that handlers get for their cleanup once they are cancelled.
CLEANUP_LIMIT = 6.0
STOPPING = "the server is stopping"


class LocalServer:
    """The methods of a server by their full names, and the calls of them that are under way in this loop."""

    def __init__(self, endpoint: str, methods: Mapping[str, LocalMethod]) -> None:
        self.endpoint, self.is_stopping = endpoint, False
        self._methods = methods
        self._calls: set[LocalCall] = set()
        # Handlers see the context variables of whoever started the server, not those of their callers.
        self._context = copy_context()

    def __repr__(self) -> str:
        return f"<LocalServer at {self.endpoint} {len(self._calls)} calls>"

    def start(self, name: str, request: bytes | None, metadata: Metadata) -> LocalCall:
        """Begin a call, which its caller cancels when he leaves it.

        Raises:
            PeerUnavailableError: if the server is stopping.
        """
        if self.is_stopping:
            raise error_from_status(grpc.StatusCode.UNAVAILABLE, STOPPING, self.endpoint)
        call = LocalCall(name, self._methods.get(name, UNKNOWN), request, metadata, self.endpoint, self._calls.discard)
        self._calls.add(call)
        call.start(self._context.copy())
        return call

    def refuse(self) -> None:
        """Take no new call."""
        self.is_stopping = True

    async def drain(self, grace: float) -> None:
        """Take no new call; cut off those that are not over after `grace` seconds.

        Cancellation: safe at any point; the calls go on until `stop`.
        """
        self.refuse()
        with anyio.move_on_after(grace):
            await self._join()
        self._cut_off()

    async def stop(self, grace: float) -> None:
        """The same, and return when the handlers have cleaned up, within a limit.

        Cancellation: cuts them off, and waits for them all the same.
        """
        try:
            await self.drain(grace)
        finally:
            self._cut_off()
            with anyio.move_on_after(CLEANUP_LIMIT, shield=True):
                await self._join()

    def _cut_off(self) -> None:
        for call in tuple(self._calls):
            call.cut_off(grpc.StatusCode.UNAVAILABLE, STOPPING)

    async def _join(self) -> None:
        for call in tuple(self._calls):
            await call.join()


async def _unknown(request: Any, context: LocalContext) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


UNKNOWN = LocalMethod(_unknown)


async def ask_locally(
    server: LocalServer, name: str, request: bytes, *, timeout: float | None, metadata: Metadata
) -> tuple[bytes, dict[str, str]]:
    """One unary call: its answer, and what was said with it.

    Raises:
        DeadlineExceededError: if that takes longer than `timeout` seconds.
        FlowctlError: as on the network.

    Cancellation: cancels the call; whether the handler acted on it is then unknown.
    """
    call = server.start(name, request, metadata)
    try:
        with anyio.fail_after(timeout):
            return await call.result(), await call.peer_metadata()
    except TimeoutError as error:
        raise DeadlineExceededError(f"{server.endpoint}: no answer in time") from error
    finally:
        call.cancel()


# The servers that listen in each loop, by endpoint; of no loop is more kept than it keeps itself.
_servers: RunVar[WeakValueDictionary[str, LocalServer]] = RunVar("flowctl_aio servers")


def announce(server: LocalServer) -> None:
    """Let it be found in this loop, as long as it is there and not stopping."""
    servers = _servers.get(None)
    if servers is None:
        _servers.set(servers := WeakValueDictionary())
    servers[server.endpoint] = server


def find(endpoint: str) -> LocalServer | None:
    """Who listens there in this loop."""
    servers = _servers.get(None)
    server = servers.get(endpoint) if servers is not None else None
    return None if server is None or server.is_stopping else server
