"""A span around each call, in the words of OpenTelemetry's conventions for gRPC.

It sees errors and statuses, never the call itself: whoever makes or answers one puts it inside a block of these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from flowctl_aio.errors import DeadlineExceededError, PeerUnavailableError, StreamCancelledError, StreamError
from flowctl_aio.observe import tracing
from flowctl_aio.observe.tracing import Attribute, Carrier, Kind, Span
from flowctl_aio.owner import lone

STATUS = "rpc.response.status_code"
# What a server answers is its own failure only with these.
# Source: OpenTelemetry semantic conventions for gRPC.
SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


class CallSpan:
    """The span of one call that is under way."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.carrier = span.carrier()
        self._is_told = False

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What to send with the call, so that the peer's span becomes a child of this one."""
        return tuple(self.carrier.items())

    def end(self, code: str = "OK") -> None:
        """The call ended with the gRPC status `code`. Of `end` and `fail`, what is called first counts."""
        if not self._is_told:
            self._is_told = True
            self._span.set(STATUS, code)

    def fail(self, error: BaseException) -> None:
        """The call that we made failed."""
        self._fail(error, _code_of(error), is_fault=True)

    def refuse(self, error: BaseException, code: str) -> None:
        """The call that we answer ends with an error, and the status `code`."""
        self._fail(error, code, is_fault=code in SERVER_FAULTS)

    def _fail(self, error: BaseException, code: str, *, is_fault: bool) -> None:
        if self._is_told:
            return
        self.end(code)
        if is_fault and code != "CANCELLED":  # to leave a stream early is no fault
            self._span.fail(error)
            self._span.set("error.type", code)


def _code_of(error: BaseException) -> str:
    """The gRPC status behind one of our errors."""
    if isinstance(error, asyncio.CancelledError | StreamCancelledError):
        return "CANCELLED"
    if isinstance(error, DeadlineExceededError):
        return "DEADLINE_EXCEEDED"
    code = error.code if isinstance(error, StreamError) else None
    return code or ("UNAVAILABLE" if isinstance(error, PeerUnavailableError) else "UNKNOWN")


@contextmanager
def client_call(method: str, peer: str) -> Iterator[CallSpan]:
    """Around a call that we make, from before it is opened until it is over."""
    host, _, port = peer.rpartition(":")
    attributes: dict[str, Attribute] = {"server.address": host or peer}
    if port.isascii() and port.isdigit():
        attributes["server.port"] = int(port)
    with _call(method, "client", attributes, None) as call:
        try:
            yield call
        except BaseException as error:
            call.fail(lone(error))
            raise
        call.end()


@contextmanager
def server_call(
    method: str, metadata: Mapping[str, str], *, code_of: Callable[[BaseException], str]
) -> Iterator[CallSpan]:
    """Around a call that we answer. No span of whoever started the server is current inside.

    Args:
        metadata: of the call, with the caller's trace context if it has one.
        code_of: the status with which an error will be answered.
    """
    with tracing.apart(), _call(method, "server", {}, tracing.extract(metadata)) as call:
        try:
            yield call
        except asyncio.CancelledError:
            call.end("CANCELLED")
            raise
        except Exception as error:
            cause = lone(error)
            call.refuse(cause, code_of(cause))
            raise
        call.end()


@contextmanager
def _call(method: str, kind: Kind, attributes: Mapping[str, Attribute], parent: Carrier | None) -> Iterator[CallSpan]:
    name = method.removeprefix("/")
    named: dict[str, Attribute] = {"rpc.system.name": "grpc", "rpc.method": name, **attributes}
    span = tracing.span(name, kind=kind, attributes=named, parent=parent, is_current=False)
    span.__enter__()
    try:
        yield CallSpan(span)
    finally:
        # Without the exception: not every status that a call ends with is a failure, and the call has told which.
        span.__exit__(None, None, None)


__all__ = ["CallSpan", "client_call", "server_call"]
