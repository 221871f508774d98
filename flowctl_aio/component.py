"""What a user writes: a Source, a Processor or a Sink, as plain async methods.

A component knows nothing of sessions, gRPC or dialects; the session serves it to whoever calls.
One component object may serve several streams at the same time, each in its own task.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from inspect import isgenerator
from typing import Any, ClassVar, Literal, TypeAlias

from anyio import to_thread

from flowctl_aio.batches import Batch, EventBatch, LedgerBatch
from flowctl_aio.errors import ConfigError
from flowctl_aio.types import NOTHING, Cursor, Health, ServiceInfo, ServiceType, StreamRequest

# A processor may answer with nothing, one batch, some batches, or be an async generator of them.
Outputs: TypeAlias = Batch | Sequence[Batch] | None
# In which order the outputs of a stream leave: that of the inputs, or as they are done.
Order: TypeAlias = Literal["input", "completion"]


class Component:
    """What the three kinds share. Subclass one of them, not this.

    Attributes:
        component_id: stable identity at the control plane; empty to derive one from the class name.
        inputs, outputs: event types, matched as whole strings by discovery.
        max_inflight: batches this component is willing to have in flight on one stream.
    """

    service_type: ClassVar[ServiceType]

    component_id: str = ""
    name: str = ""
    version: str = ""
    description: str = ""
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    max_inflight: int = 16
    metadata: Mapping[str, str] = NOTHING

    def info(self) -> ServiceInfo:
        """What the component tells the control plane of itself; where it is served, the session adds.

        Raises:
            ConfigError: if event types are no list of texts, or `max_inflight` is no number.
        """
        name = type(self).__name__
        for what, types in (("inputs", self.inputs), ("outputs", self.outputs)):
            if isinstance(types, str) or not all(isinstance(one, str) for one in types):
                raise ConfigError(f"the {what} of {name} are a list of event types, not {types!r}")
        if not isinstance(self.max_inflight, int):
            raise ConfigError(f"the max_inflight of {name} is a number of batches, not {self.max_inflight!r}")
        return ServiceInfo(
            component_id=self.component_id or _kebab(name),
            service_type=self.service_type,
            input_event_types=tuple(self.inputs),
            output_event_types=tuple(self.outputs),
            max_inflight=self.max_inflight,
            metadata=dict(self.metadata),
            name=self.name,
            version=self.version,
            description=self.description,
        )

    def lifespan(self) -> AbstractAsyncContextManager[Any]:
        """What the component needs open while it serves; entered before it registers, left after its last stream."""
        return nullcontext()

    def metrics(self) -> Mapping[str, float]:
        """Numbers to send with each heartbeat. Must be quick; an exception is logged and sends none."""
        return {}

    def health(self) -> Health:
        """How the component is; asked before each heartbeat."""
        return Health.HEALTHY


def _kebab(name: str) -> str:
    """`TokenTransfers` → `token-transfers`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


class Source(Component):
    """Gives batches to whoever asks. Override `stream`."""

    service_type = ServiceType.SOURCE

    def stream(self, request: StreamRequest) -> AsyncIterator[LedgerBatch | EventBatch]:
        """Yield batches in order; an async generator. Each call is one client.

        A client that resumes behind a cursor is served from `request.start` on: what it already has is dropped
        from the batches. Any other `request.resume_token` is for the source itself to read.

        Cancellation: the generator is closed when its client leaves; `finally` blocks run.
        """
        raise NotImplementedError


class Processor(Component):
    """Turns batches into batches. Override `process`; or `work`, for what takes much computing.

    Attributes:
        concurrency: batches of one stream that are in `process` at the same time.
        processes: worker processes that run `work`; 0 for a thread of this one. With more of them than `concurrency`,
            it is theirs.
        order: in which the outputs of a stream leave: `input`, that of the inputs, or `completion`, as they are done.
    """

    service_type = ServiceType.PROCESSOR

    concurrency: int = 1
    processes: int = 0
    order: Order = "input"

    def process(self, batch: Batch) -> Awaitable[Outputs] | AsyncIterator[Batch]:
        """Answer one batch: `async def` that returns outputs, or an async generator that yields them.

        By default `work` does, in a thread. A session with `processes` gives its batches to them instead.
        """
        return self._work_in_thread(batch)

    def work(self, batch: Batch) -> Any:
        """Answer one batch by computing: a plain function that returns outputs, or is a generator of them.

        Worker processes get it by pickle, once, and with it a copy of the component: what it changes there stays
        there. May also be a static method, or any callable that pickles. What it returns must pickle;
        batches travel as Arrow.
        """
        raise NotImplementedError

    async def worked(self, batch: Batch, answer: Any) -> Outputs:
        """What to send of what `work` answered; called in the session's own process, for counts and the like.

        Cancellation: happens when the client leaves.
        """
        outputs: Outputs = answer
        return outputs

    async def _work_in_thread(self, batch: Batch) -> Outputs:
        return await self.worked(batch, await to_thread.run_sync(_at_once, self.work, batch))

    def key(self, batch: Batch) -> Hashable | None:
        """What has to stay in order: batches of a stream with the same key are processed one after the other, and
        their outputs leave in that order, whatever `order` is. None for a batch that needs none. Must be quick.
        """
        return None

    async def flush(self) -> Outputs:
        """What is left to send after a stream's last input; asked when all of its outputs were sent.

        Cancellation: happens when the client leaves; the answer is then not sent.
        """
        return None


def _at_once(work: Callable[[Batch], Any], batch: Batch) -> Any:
    answer = work(batch)
    return list(answer) if isgenerator(answer) else answer


@dataclass(eq=False, slots=True)
class Epoch:
    """The batches between two acknowledgements of a sink; one `Ingest` or `Consume` call is one epoch.

    Attributes:
        batches, rows: what has been consumed so far.
        first_cursor, last_cursor: the part of the ledger stream that they cover, both included.
        state: for the sink's own use, such as what it has buffered.
        failed, errors: what the sink could not take; set by the sink.
    """

    batches: int = 0
    rows: int = 0
    first_cursor: Cursor | None = None
    last_cursor: Cursor | None = None
    state: dict[str, Any] = field(default_factory=dict)
    failed: int = 0
    errors: list[str] = field(default_factory=list)

    def note(self, batch: Batch) -> None:
        """Count a batch that was consumed."""
        self.batches += 1
        self.rows += len(batch)
        if batch.first_cursor is not None:
            known = self.first_cursor
            self.first_cursor = batch.first_cursor if known is None else min(known, batch.first_cursor)
        if batch.last_cursor is not None:
            known = self.last_cursor
            self.last_cursor = batch.last_cursor if known is None else max(known, batch.last_cursor)


class Sink(Component):
    """Takes batches. Override `consume`; override `commit` to make an epoch durable before it is acknowledged."""

    service_type = ServiceType.SINK

    async def consume(self, batch: Batch, epoch: Epoch) -> None:
        """Take one batch. What it buffers belongs in `epoch.state`: other streams have epochs of their own.

        Cancellation: happens when the client leaves; `abort` follows.
        """
        raise NotImplementedError

    async def commit(self, epoch: Epoch) -> Mapping[str, str] | None:
        """Make the epoch durable; the acknowledgement goes out when this returns, with the returned metadata.

        Cancellation: happens when the client leaves; `abort` follows, and the client will send the epoch again.
        """
        return None

    async def abort(self, epoch: Epoch) -> None:
        """Forget the epoch: its stream ended without its end marker, or `consume` or `commit` failed.

        Cancellation: does not happen, but there is a time limit of some seconds.
        """


__all__ = ["Component", "Epoch", "Order", "Outputs", "Processor", "Sink", "Source"]
