"""What every servicer needs to know of the component it serves, and the one guard around its code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast

import anyio

from flowctl_aio.batches import Batch, EventBatch, LedgerBatch
from flowctl_aio.component import Component
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.flow.control import FlowControl
from flowctl_aio.errors import CodecError, ComponentError, StreamError
from flowctl_aio.observe.calls import server_call
from flowctl_aio.observe.repeats import Repeats
from flowctl_aio.observe.tracing import Carrier, Span
from flowctl_aio.owner import is_cancelled
from flowctl_aio.serving.processes import Workers
from flowctl_aio.serving.work import Work
from flowctl_aio.streams.credits import Credits
from flowctl_aio.streams.forms import decoder_for
from flowctl_aio.streams.handshake import END_MARKER, Offer, Role, own_offer
from flowctl_aio.streams.local import HandDecoder, encoder_of
from flowctl_aio.streams.receive import BatchReader, inbox_for
from flowctl_aio.streams.send import BatchWriter
from flowctl_aio.streams.shared.forms import SharedDecoder, sharing
from flowctl_aio.streams.shared.loan import Loan
from flowctl_aio.streams.spans import working
from flowctl_aio.transport.server import ServerCall
from flowctl_aio.transport.status import Refused, status_of
from flowctl_aio.types import NOTHING, Dialect, Health, ServiceInfo

logger = logging.getLogger(__name__)
C = TypeVar("C", bound=Component)


@dataclass(slots=True)
class Traffic:
    """Counts over all streams of a component, since it is served.

    Attributes:
        faults: exceptions of the component that ended a stream, and batches of which nothing was left.
        failed: rows that were set aside; `invalid` are those of them that are not what they should be.
        retries: times that the component got a batch again.
    """

    streams: int = 0
    streams_total: int = 0
    batches_in: int = 0
    rows_in: int = 0
    bytes_in: int = 0
    batches_out: int = 0
    rows_out: int = 0
    bytes_out: int = 0
    faults: int = 0
    failed: int = 0
    invalid: int = 0
    retries: int = 0

    def add(self, stream: ServedStream) -> None:
        self.batches_in += stream.reader.batches
        self.rows_in += stream.reader.rows
        self.bytes_in += stream.reader.bytes
        self.batches_out += stream.writer.batches
        self.rows_out += stream.writer.rows
        self.bytes_out += stream.writer.bytes


@dataclass(slots=True, eq=False)
class Served(Generic[C]):
    """A component while it is served.

    Attributes:
        health, metrics: what the component says of itself; they do not raise.
        stopping: set when no new stream is taken and sources are to end theirs.
        on_fault: told of each exception that came out of the component's own code.
        flow: told what is in flight; None for nobody.
        workers: the processes that do its computing; None if it has none.
        work: what the component is at.
        waiting: messages that wait for it, over all streams.
        repeats: lines about what goes on failing.
    """

    component: C
    info: ServiceInfo
    config: FlowctlConfig
    health: Callable[[], Health]
    metrics: Callable[[], Mapping[str, float]]
    on_fault: Callable[[Exception], None]
    flow: FlowControl | None = None
    workers: Workers | None = None
    work: Work = field(default_factory=Work)
    waiting: int = 0
    repeats: Repeats = field(default_factory=lambda: Repeats(logger))
    stopping: anyio.Event = field(default_factory=anyio.Event)
    _past: Traffic = field(default_factory=Traffic)
    _live: set[ServedStream] = field(default_factory=set)

    @property
    def traffic(self) -> Traffic:
        """What has passed so far, also through the streams that are under way."""
        # A copy, made in one step: the thread that beats for a blocked loop asks too.
        live = tuple(self._live)
        total = replace(self._past, streams=len(live))
        for stream in live:
            total.add(stream)
        return total

    @property
    def max_inflight(self) -> int:
        """Messages that may wait for the component on one stream."""
        return min(self.config.max_inflight, max(self.component.max_inflight, 1))

    @property
    def limit(self) -> int:
        """Messages that may wait for the component over all streams, each of which has its own."""
        return self.max_inflight * max(len(self._live), 1)

    @asynccontextmanager
    async def stream(self, call: ServerCall, role: Role, dialect: Dialect) -> AsyncIterator[ServedStream]:
        """One stream, from its greeting on; counts it, and refuses it when the component is stopping."""
        with ExitStack() as stack, server_call(role.method(dialect), call.metadata, code_of=_code_of) as span:
            if self.stopping.is_set():
                raise Refused("UNAVAILABLE", "the service is stopping")
            # A source's clients send no batches, and a call inside this loop hands over the rows themselves.
            offer = Offer() if role is Role.SOURCE or call.is_local else Offer.of(call.metadata)
            loan = stack.enter_context(Loan(self.config, offer, max_inflight=self.max_inflight))
            await call.greet((*own_offer(self.config).metadata, *loan.metadata))
            stream = ServedStream(self, call, role, dialect, loan, span.carrier)
            self._live.add(stream)
            self._past.streams_total += 1
            self._limit_flow()
            try:
                yield stream
            finally:
                stream.inbox.close()
                stream.encoder.close()
                loan.close()
                self._live.discard(stream)
                self._past.add(stream)
                self._limit_flow()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around the component's own code: its faults are counted and reported before they end the stream."""
        try:
            yield
        except (Refused, StreamError, CodecError):
            raise
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            self._note(fault := ComponentError(f"CancelledError out of nowhere in {self.info.component_id}"))
            raise fault from error
        except Exception as error:
            self._note(error)
            if isinstance(error, ComponentError):
                raise
            # What a component's exception says may be secret, so the peer hears only its kind.
            raise ComponentError(f"{type(error).__name__} in {self.info.component_id}") from error

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around what the component does with one batch: a note of how long it takes, and of what is in flight."""
        try:
            with self.work.one():
                self._tell_flow()
                yield
        finally:
            self._tell_flow()

    def count_trial(self, *, failed: int, invalid: int, retries: int, is_lost: bool) -> None:
        """What the error policy did about one batch; `is_lost` if nothing of it was left."""
        self._past.failed += failed
        self._past.invalid += invalid
        self._past.retries += retries
        self._past.faults += is_lost

    def count(self, more: int) -> None:
        """So many messages more, or less, wait for the component."""
        self.waiting += more
        self._tell_flow()

    def _tell_flow(self) -> None:
        if self.flow is not None:
            self.flow.set_inflight(self.info.component_id, self.waiting + len(self.work))

    def _limit_flow(self) -> None:
        if self.flow is not None:
            self.flow.set_limit(self.info.component_id, self.limit)

    def _note(self, fault: Exception) -> None:
        self._past.faults += 1
        self.on_fault(fault)


def _code_of(error: BaseException) -> str:
    return status_of(error)[0].name


END: Any = object()


async def next_of(served: Served[C], iterator: AsyncIterator[Batch]) -> Batch:
    """The component's next batch, or END. Its code runs inside the guard; writing to the client does not."""
    with served.guard():
        try:
            return checked(await anext(iterator))
        except StopAsyncIteration:
            return cast("Batch", END)


def checked(output: Any) -> Batch:
    """`output`, if it is a batch; to be called inside the guard.

    Raises:
        TypeError: if it is not.
    """
    if not isinstance(output, LedgerBatch | EventBatch):
        raise TypeError(f"a component gives LedgerBatch or EventBatch, not {type(output).__name__}")
    return output


class ServedStream:
    """Both directions of one stream, with the pump that its reader needs."""

    def __init__(
        self, served: Served[C], call: ServerCall, role: Role, dialect: Dialect, loan: Loan, trace: Carrier = NOTHING
    ) -> None:
        offer, config = Offer.of(call.metadata), served.config
        envelope = role.envelope(dialect)
        self.call, self._trace, self._component_id = call, trace, served.info.component_id
        self._credits: Credits | None = None
        if role is Role.PROCESSOR and offer.has_credits:  # the one kind of stream that goes both ways
            self._credits = Credits(
                call.write, envelope, max_batches=served.max_inflight, max_bytes=config.max_inflight_bytes
            )
        credited = self._credits
        self.inbox = inbox_for(config, served.max_inflight, credited=credited, counted=served.count)
        shared = SharedDecoder(envelope, loan, decoder_for(envelope, offer, config), limit=config.max_message_bytes)
        self.reader = BatchReader(
            self.inbox,
            HandDecoder(shared),
            expects_end=END_MARKER in offer.capabilities,
            peer=call.peer,
        )
        encoder = encoder_of(envelope, offer, config, is_local=call.is_local)
        self.encoder = sharing(encoder, envelope, offer, config)
        self.writer = BatchWriter(
            credited.send if credited is not None else call.write,
            self.encoder,
            call=trace,
            write_marker=credited.send_marker if credited is not None else None,
        )

    def working(self, what: str, batch: Batch) -> AbstractContextManager[Span]:
        """The span around what the component does with a batch; `what` is a verb."""
        return working(what, batch, self._component_id, call=self._trace)

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[BatchReader]:
        """The reader, while a pump fills it."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.inbox.run_pump, self.call.read)
            if self._credits is not None:
                group.start_soon(self._credits.keep_granting)
            yield self.reader
            group.cancel_scope.cancel()
