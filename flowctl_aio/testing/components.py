"""Scripted components: a source of given batches, a processor that gives back what it gets, a sink that remembers.

Each can fail at a batch of its stream, once or always, so that a test sees what becomes of the rest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import anyio

from flowctl_aio.batches import Batch
from flowctl_aio.component import Epoch, Outputs, Processor, Sink, Source
from flowctl_aio.types import StreamRequest


class ScriptedError(Exception):
    """What a scripted component raises where it was told to fail."""


class Script:
    """Where to fail.

    Args:
        fail_at: the number of the batch, counted from 1 over all streams; None never fails.
        times: how often to fail before going on as if nothing had happened; None fails for ever from there on.
    """

    def __init__(self, who: str, fail_at: int | None, times: int | None) -> None:
        self._who, self._fail_at, self._left = who, fail_at, times
        self.batches = 0

    def count(self) -> None:
        """Count a batch.

        Raises:
            ScriptedError: if it is the turn of this one to fail.
        """
        if self._fail_at is not None and self.batches + 1 >= self._fail_at and self._left != 0:
            self._left = None if self._left is None else self._left - 1
            raise ScriptedError(f"{self._who} fails at batch {self.batches + 1}, as the test wants")
        self.batches += 1


class ScriptedSource(Source):
    """Gives `batches` to every stream, whatever range it asks for.

    Args:
        outputs: the event types that it says it gives.
        fail_at, times: see `Script`.
    """

    def __init__(
        self,
        batches: Iterable[Batch],
        *,
        component_id: str = "scripted-source",
        outputs: Iterable[str] = (),
        fail_at: int | None = None,
        times: int | None = None,
    ) -> None:
        self.component_id, self.outputs = component_id, tuple(outputs)
        self._batches = tuple(batches)
        self._script = Script(component_id, fail_at, times)

    async def stream(self, request: StreamRequest) -> AsyncIterator[Batch]:
        for batch in self._batches:
            self._script.count()
            yield batch


class EchoProcessor(Processor):
    """Answers every batch with itself.

    Args:
        inputs, outputs: the event types that it says it takes and gives.
        fail_at, times: see `Script`.
    """

    def __init__(
        self,
        *,
        component_id: str = "echo-processor",
        inputs: Iterable[str] = (),
        outputs: Iterable[str] = (),
        fail_at: int | None = None,
        times: int | None = None,
    ) -> None:
        self.component_id, self.inputs, self.outputs = component_id, tuple(inputs), tuple(outputs)
        self._script = Script(component_id, fail_at, times)

    async def process(self, batch: Batch) -> Outputs:
        self._script.count()
        return batch


class RecordingSink(Sink):
    """Remembers what it took, epoch by epoch.

    Args:
        inputs: the event types that it says it takes.
        fail_at, times: see `Script`.

    Attributes:
        epochs: the batches of each epoch that was committed, oldest first.
        aborted: how many epochs were abandoned.
    """

    def __init__(
        self,
        *,
        component_id: str = "recording-sink",
        inputs: Iterable[str] = (),
        fail_at: int | None = None,
        times: int | None = None,
    ) -> None:
        self.component_id, self.inputs = component_id, tuple(inputs)
        self._script = Script(component_id, fail_at, times)
        self.epochs: list[list[Batch]] = []
        self.aborted = 0
        self._news = anyio.Event()

    @property
    def batches(self) -> list[Batch]:
        """All batches of all committed epochs, in order."""
        return [batch for epoch in self.epochs for batch in epoch]

    async def wait_batches(self, count: int, timeout: float = 5.0) -> list[Batch]:
        """Return all batches once `count` of them are committed.

        Raises:
            AssertionError: if that takes longer than `timeout` seconds.

        Cancellation: loses nothing.
        """
        with anyio.move_on_after(timeout) as limit:
            while len(self.batches) < count:
                await self._news.wait()
        if limit.cancelled_caught:
            raise AssertionError(f"{self.component_id} committed {len(self.batches)} of {count} batches in time")
        return self.batches

    async def consume(self, batch: Batch, epoch: Epoch) -> None:
        self._script.count()
        epoch.state.setdefault("batches", []).append(batch)

    async def commit(self, epoch: Epoch) -> None:
        self.epochs.append(epoch.state.get("batches", []))
        news, self._news = self._news, anyio.Event()
        news.set()

    async def abort(self, epoch: Epoch) -> None:
        self.aborted += 1
