"""What every servicer needs to know of the component it serves, and the one guard around its code."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import anyio

from flowctl_aio.component import Component
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import CodecError, ComponentError, StreamError
from flowctl_aio.streams.handshake import END_MARKER, OFFER, Role, capabilities_of
from flowctl_aio.streams.receive import BatchReader, Inbox
from flowctl_aio.streams.send import BatchWriter
from flowctl_aio.transport.server import ServerCall
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import Dialect, Health, ServiceInfo

logger = logging.getLogger(__name__)
C = TypeVar("C", bound=Component)
T = TypeVar("T")


@dataclass(slots=True)
class Traffic:
    """Counts over all streams of a component, since it is served."""

    streams: int = 0
    streams_total: int = 0
    batches_in: int = 0
    rows_in: int = 0
    bytes_in: int = 0
    batches_out: int = 0
    rows_out: int = 0
    bytes_out: int = 0
    faults: int = 0


@dataclass(slots=True, eq=False)
class Served(Generic[C]):
    """A component while it is served.

    Attributes:
        stopping: set when no new stream is taken and sources are to end theirs.
        on_fault: told of each exception that came out of the component's own code.
    """

    component: C
    info: ServiceInfo
    config: FlowctlConfig
    health: Callable[[], Health]
    on_fault: Callable[[Exception], None]
    stopping: anyio.Event = field(default_factory=anyio.Event)
    traffic: Traffic = field(default_factory=Traffic)

    @asynccontextmanager
    async def stream(self, call: ServerCall, role: Role, dialect: Dialect) -> AsyncIterator[ServedStream]:
        """One stream, from its greeting on; counts it, and refuses it when the component is stopping."""
        if self.stopping.is_set():
            raise Refused("UNAVAILABLE", "the service is stopping")
        await call.greet(OFFER)
        stream = ServedStream(self, call, role, dialect)
        self.traffic.streams += 1
        self.traffic.streams_total += 1
        try:
            yield stream
        finally:
            stream.inbox.close()
            self.traffic.streams -= 1
            self.traffic.batches_in += stream.reader.batches
            self.traffic.rows_in += stream.reader.rows
            self.traffic.bytes_in += stream.reader.bytes
            self.traffic.batches_out += stream.writer.batches
            self.traffic.rows_out += stream.writer.rows
            self.traffic.bytes_out += stream.writer.bytes

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around the component's own code: its faults are counted and reported before they end the stream."""
        try:
            yield
        except (Refused, StreamError, CodecError):
            raise
        except Exception as error:
            self.traffic.faults += 1
            self.on_fault(error)
            if isinstance(error, ComponentError):
                raise
            # What a component's exception says may be secret, so the peer hears only its kind.
            raise ComponentError(f"{type(error).__name__} in {self.info.component_id}") from error


END: Any = object()


async def next_of(served: Served[C], iterator: AsyncIterator[T]) -> T:
    """The component's next batch, or END. Its code runs inside the guard; writing to the client does not."""
    with served.guard():
        try:
            return await anext(iterator)
        except StopAsyncIteration:
            return cast("T", END)


class ServedStream:
    """Both directions of one stream, with the pump that its reader needs."""

    def __init__(self, served: Served[C], call: ServerCall, role: Role, dialect: Dialect) -> None:
        capabilities = capabilities_of(call.metadata)
        envelope = role.envelope(dialect)
        config = served.config
        self.call = call
        self.inbox = Inbox(min(config.max_inflight, max(served.component.max_inflight, 1)))
        self.reader = BatchReader(
            self.inbox,
            envelope,
            expects_end=END_MARKER in capabilities,
            limit=config.max_message_bytes,
            peer=call.peer,
        )
        self.writer = BatchWriter(
            call.write,
            envelope,
            capabilities=capabilities,
            target=config.target_message_bytes,
            limit=config.max_message_bytes,
        )

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[BatchReader]:
        """The reader, while a pump fills it."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.inbox.run_pump, self.call.read)
            yield self.reader
            group.cancel_scope.cancel()
