"""Several batches of one stream in `process` at the same time, each in a task of its own.

Who may begin and who may send is the line's to say; here it is done, and here a fault ends what is behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from flowctl_aio.batches import Batch
from flowctl_aio.component import Processor
from flowctl_aio.driven import driven
from flowctl_aio.errors import FlowctlError
from flowctl_aio.serving.line import Entry, Line
from flowctl_aio.serving.outputs import outputs_of
from flowctl_aio.serving.served import Served, ServedStream
from flowctl_aio.streams.receive import BatchReader
from flowctl_aio.transport.status import Refused

Fault = FlowctlError | Refused


class Lanes:
    """The batches of one stream, up to `width` of them in the component at the same time."""

    def __init__(self, served: Served[Processor], stream: ServedStream, *, width: int) -> None:
        self._served, self._stream = served, stream
        self._order = served.component.order
        self._line = Line(width, self._order, counted=served.count)
        self._reading, self._writing = anyio.CancelScope(), anyio.Lock()
        self._fault: Fault | None = None

    async def run(self, reader: BatchReader) -> None:
        """Return when the stream has no more inputs, and all outputs of those it had were sent.

        Raises:
            FlowctlError: the fault of the component, or of the stream, that ended it. Nobody is at work any more.

        Cancellation: cancels all that is under way.
        """
        unread: Fault | None = None
        async with anyio.create_task_group() as group:
            with self._reading:
                try:
                    while (entry := await self._next(reader)) is not None:
                        self._line.enter(entry)
                        group.start_soon(self._run, entry)
                except (FlowctlError, Refused) as error:
                    unread = error  # what was read before it is still answered
        if (fault := self._fault or unread) is not None:
            raise fault

    async def _next(self, reader: BatchReader) -> Entry | None:
        await self._line.wait_for_room()
        batch = await reader.next()
        # Asked, since what need not wait is not cancelled: the next batch is often there already.
        if batch is None or self._reading.cancel_called:
            return None
        with self._served.guard():
            key = self._served.component.key(batch)
            hash(key)
        return Entry(batch, key)

    async def _run(self, entry: Entry) -> None:
        try:
            with entry.scope:
                try:
                    await self._answer(entry)
                except (FlowctlError, Refused) as fault:
                    await self._fail(entry, fault)
        finally:
            self._line.leave(entry)

    async def _answer(self, entry: Entry) -> None:
        await entry.may_begin.wait()
        await checkpoint_if_cancelled()
        with self._stream.working("process", entry.batch):
            made = await outputs_of(self._served, entry.batch)
            if isinstance(made, Sequence):
                self._line.finish(entry)
                for output in made:
                    await self._send(entry, output)
                return
            async with driven(made) as outputs:
                async for output in outputs:
                    await self._send(entry, output)

    async def _send(self, entry: Entry, output: Batch) -> None:
        if self._order == "input":
            await entry.may_send.wait()
            await checkpoint_if_cancelled()  # its turn may have come because the one before it failed
            await self._stream.writer.send(output)
            return
        async with self._writing:  # the frames of a batch stay together
            await checkpoint_if_cancelled()
            await self._stream.writer.send(output)

    async def _fail(self, entry: Entry, fault: Fault) -> None:
        """End the stream. In the order of inputs, what came before is still answered, and may fail first."""
        self._reading.cancel()
        for other in self._line.overtaken(entry):
            other.scope.cancel()
        if self._order == "input":
            await entry.may_send.wait()
        self._fault = self._fault or fault
