"""The spans around what is done with each batch.

A batch has a trace of its own, which it takes along from component to component: a call may last for weeks, and a
trace of weeks helps nobody. So the spans of batches are no children of the call's span, but are linked to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from flowctl_aio.batches import Batch
from flowctl_aio.observe import tracing
from flowctl_aio.observe.tracing import Attribute, Carrier, Kind, Span
from flowctl_aio.types import NOTHING


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
