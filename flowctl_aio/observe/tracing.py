"""Spans for OpenTelemetry, and the W3C trace context that travels with calls and batches.

Everything here is off until the application itself has set up OpenTelemetry: nothing is imported for it, and a span
that nobody records costs next to nothing. What a peer sends as a trace context is read by the letter, or not at all.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from flowctl_aio.types import NOTHING

Kind: TypeAlias = Literal["internal", "client", "server", "producer", "consumer"]
Attribute: TypeAlias = str | int | float | bool
# A trace context as text, under the names that W3C gave; empty for none.
Carrier: TypeAlias = Mapping[str, str]

NO_ATTRIBUTES: Mapping[str, Attribute] = {}
TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
MAX_STATE_CHARS = 512
MAX_LINKS = 8
# A later version may have more behind the flags; version ff is none.
_PARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]{0,64})?"
)


def extract(metadata: Mapping[str, str]) -> Carrier:
    """The trace context in metadata from outside; empty if there is none, or if it is not well-formed.

    Source: W3C Trace Context, sections 3.2 and 3.3.
    """
    parent = metadata.get(TRACEPARENT, "")
    match = _PARENT.fullmatch(parent) if len(parent) <= 128 else None
    if match is None or (match[1] == "00" and match[5]):
        return NOTHING
    carrier = {TRACEPARENT: parent}
    state = metadata.get(TRACESTATE, "")
    if state and len(state) <= MAX_STATE_CHARS and state.isascii() and state.isprintable():
        carrier[TRACESTATE] = state
    return carrier


def inject(metadata: dict[str, str]) -> None:
    """Add the trace context of the current span to `metadata`; nothing if there is none."""
    metadata.update(current())


def current() -> Carrier:
    """The trace context of the current span; empty if there is none."""
    tracer = _tracer()
    return NOTHING if tracer is None else _carrier(_otel().get_current_span().get_span_context())


def is_on() -> bool:
    """Whether the application has set up OpenTelemetry, so that spans go somewhere."""
    return _tracer() is not None


def span(
    name: str,
    *,
    kind: Kind = "internal",
    attributes: Mapping[str, Attribute] = NO_ATTRIBUTES,
    parent: Carrier | None = None,
    links: Iterable[Carrier] = (),
    is_current: bool = True,
) -> Span:
    """A span to enter with `with`; it ends with the block, as an error if an exception leaves it.

    Args:
        parent: whose child it is: what `extract` or `Span.carrier` gave, an empty mapping for a trace of its own, None
            for the span that is current.
        links: other spans that have to do with it.
        is_current: whether spans that are made inside the block become its children.
    """
    tracer = _tracer()
    if tracer is None:
        return NO_SPAN
    return _OtelSpan(tracer, name, kind, attributes, parent, links, is_current=is_current)


def apart() -> Span:
    """A block in which no span is current, whatever span was current where its task was started."""
    return NO_SPAN if _tracer() is None else _Apart()


class Span:
    """A span of a trace, and as it is here, one that nobody records."""

    __slots__ = ()

    is_recording = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def set(self, name: str, value: Attribute) -> None:
        """Say something more of it."""

    def fail(self, error: BaseException) -> None:
        """It failed. Only the kind of `error` is told: what an exception says may be secret."""

    def carrier(self) -> Carrier:
        """Its trace context, to go with what it causes elsewhere; empty if nobody traces."""
        return NOTHING


NO_SPAN = Span()


class _OtelSpan(Span):
    __slots__ = ("_is_current", "_make", "_span", "_token")

    def __init__(
        self,
        tracer: Any,
        name: str,
        kind: Kind,
        attributes: Mapping[str, Attribute],
        parent: Carrier | None,
        links: Iterable[Carrier],
        *,
        is_current: bool,
    ) -> None:
        self._make = (tracer, name, kind, attributes, parent, links)
        self._is_current = is_current
        self._span: Any = None
        self._token: Any = None

    def __enter__(self) -> Self:
        otel = _otel()
        tracer, name, kind, attributes, parent, links = self._make
        context: Any = None
        if parent is not None:
            # An empty context of its own keeps whatever is current here from becoming the parent.
            context = otel.context_api.Context()
            if (known := _span_context(parent)) is not None:
                context = otel.set_span_in_context(otel.NonRecordingSpan(known), context)
        self._span = tracer.start_span(
            name,
            context=context,
            kind=otel.SpanKind[kind.upper()],
            attributes=dict(attributes),
            links=[otel.Link(known) for link in list(links)[:MAX_LINKS] if (known := _span_context(link)) is not None],
        )
        if self._is_current:
            self._token = otel.context_api.attach(otel.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _otel().context_api.detach(self._token)
        if error is not None:
            self.fail(error)
        self._span.end()

    @property
    def is_recording(self) -> bool:  # type: ignore[override]
        return bool(self._span.is_recording())

    def set(self, name: str, value: Attribute) -> None:
        self._span.set_attribute(name, value)

    def fail(self, error: BaseException) -> None:
        # To be cancelled, or left early, is an end like others.
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return
        otel = _otel()
        self._span.set_attribute("error.type", type(error).__qualname__)
        self._span.set_status(otel.Status(otel.StatusCode.ERROR, type(error).__qualname__))

    def carrier(self) -> Carrier:
        return _carrier(self._span.get_span_context())


class _Apart(Span):
    __slots__ = ("_token",)

    def __enter__(self) -> Self:
        otel = _otel()
        self._token = otel.context_api.attach(otel.set_span_in_context(otel.INVALID_SPAN))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _otel().context_api.detach(self._token)


def _otel() -> Any:
    """OpenTelemetry's module, if the application uses it; only it can have set up a provider."""
    return sys.modules.get("opentelemetry.trace")


_known: tuple[Any, Any] = (None, None)


def _tracer() -> Any:
    """The tracer of the application's provider; None as long as there is none."""
    global _known
    otel = sys.modules.get("opentelemetry.trace")
    if otel is None:
        return None
    provider = otel.get_tracer_provider()
    if provider is _known[0]:
        return _known[1]
    # Until the application sets one, its place is held by a stand-in that records nothing.
    tracer = None if isinstance(provider, otel.ProxyTracerProvider) else provider.get_tracer("flowctl_aio")
    _known = (provider, tracer)
    return tracer


def _carrier(context: Any) -> Carrier:
    if not context.is_valid:
        return NOTHING
    carrier = {TRACEPARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
    if context.trace_state:
        carrier[TRACESTATE] = context.trace_state.to_header()
    return carrier


def _span_context(carrier: Carrier) -> Any:
    carrier = extract(carrier)
    if not carrier:
        return None
    otel = _otel()
    _, trace_id, span_id, flags = carrier[TRACEPARENT].split("-")[:4]
    state = carrier.get(TRACESTATE)
    return otel.SpanContext(
        trace_id=int(trace_id, 16),
        span_id=int(span_id, 16),
        is_remote=True,
        trace_flags=otel.TraceFlags(int(flags, 16)),
        trace_state=otel.TraceState.from_header([state]) if state else None,
    )


__all__ = ["NO_SPAN", "Attribute", "Carrier", "Kind", "Span", "apart", "current", "extract", "inject", "is_on", "span"]
