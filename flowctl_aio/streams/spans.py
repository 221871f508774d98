"""The spans of this SDK: one around each call, and one around what is done with each batch.

A batch has a trace of its own, which it takes along from component to component: a call may last for weeks, and a
trace of weeks helps nobody. So the spans of batches are no children of the call's span, but are linked to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from flowctl_aio.batches import Batch
from flowctl_aio.errors import DeadlineExceededError, PeerUnavailableError, StreamCancelledError, StreamError
from flowctl_aio.observe import tracing
from flowctl_aio.observe.tracing import Attribute, Carrier, Kind, Span
from flowctl_aio.owner import lone
from flowctl_aio.transport.status import status_of
from flowctl_aio.types import NOTHING

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

    def fail_to_answer(self, error: BaseException) -> None:
        """The call that we answer ends with an error."""
        code = status_of(error)[0].name
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
def server_call(method: str, metadata: Mapping[str, str]) -> Iterator[CallSpan]:
    """Around a call that we answer. No span of whoever started the server is current inside."""
    with tracing.apart(), _call(method, "server", {}, tracing.extract(metadata)) as call:
        try:
            yield call
        except asyncio.CancelledError:
            call.end("CANCELLED")
            raise
        except Exception as error:
            call.fail_to_answer(lone(error))
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


def sending(batch: Batch, *, call: Carrier = NOTHING, parent: Carrier = NOTHING) -> Span:
    """Around the sending of a batch. It goes on with `parent`, or with the trace the batch came with, or with the
    span that is current, whichever there is first.
    """
    if not tracing.is_on():
        return tracing.NO_SPAN
    trace = parent or batch.trace
    return _around("send batch", "producer", batch, trace or None, (call, tracing.current() if trace else NOTHING))


def working(what: str, batch: Batch, component_id: str, *, call: Carrier = NOTHING) -> AbstractContextManager[Span]:
    """Around what a component does with a batch it was sent; `what` is a verb.

    Inside, the batch is a part of this span: where it is sent on as it is, this is where its trace goes on.
    """
    return _working(what, batch, component_id, call) if tracing.is_on() else tracing.NO_SPAN


@contextmanager
def _working(what: str, batch: Batch, component_id: str, call: Carrier) -> Iterator[Span]:
    with _around(f"{what} batch", "consumer", batch, batch.trace, (call,), component_id) as span:
        batch.trace = span.carrier() or batch.trace
        yield span


def joined(traces: list[Carrier]) -> Carrier:
    """One trace context for rows that came together: theirs, or where it is several, a new one linked to each."""
    if len(traces) < 2:
        return traces[0] if traces else NOTHING
    with tracing.span("gather rows", kind="consumer", parent=NOTHING, links=traces, is_current=False) as span:
        return span.carrier()


def _around(
    name: str, kind: Kind, batch: Batch, parent: Carrier | None, links: tuple[Carrier, ...], component_id: str = ""
) -> Span:
    attributes: dict[str, Attribute] = {
        "flowctl.event_type": batch.event_type,
        "flowctl.batch.rows": len(batch),
        "flowctl.batch.bytes": batch.nbytes,
    }
    if component_id:
        attributes["flowctl.component_id"] = component_id
    if batch.first_cursor is not None:
        attributes["flowctl.batch.first_cursor"] = str(batch.first_cursor)
    if batch.last_cursor is not None:
        attributes["flowctl.batch.last_cursor"] = str(batch.last_cursor)
    return tracing.span(name, kind=kind, attributes=attributes, parent=parent, links=links)
