"""One epoch on its way to a sink: what was taken for it, its call, and the sink's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio
from google.protobuf.message import DecodeError

from flowctl_aio import _wire as wire
from flowctl_aio.batches import Batch
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import FrameCorruptError, PeerError, StreamCancelledError, UsageError
from flowctl_aio.observe import tracing
from flowctl_aio.observe.calls import client_call
from flowctl_aio.owner import OwnerTask, Started, lone
from flowctl_aio.streams.epoch import EpochLimits, EpochTally
from flowctl_aio.streams.handshake import Peer, Role, own_offer
from flowctl_aio.streams.local import encoder_of
from flowctl_aio.streams.outbox import Outbox
from flowctl_aio.streams.send import BatchWriter
from flowctl_aio.streams.shared.forms import sharing_over
from flowctl_aio.transport.call import Channel, OpenCall, open_call
from flowctl_aio.types import Ack, Dialect

# Called with an acknowledgement, before the next epoch goes out.
OnAck: TypeAlias = Callable[[Ack], Awaitable[None]]


class EpochCall:
    """One `Ingest` or `Consume` call.

    Args:
        before: the epoch before this one, if that is not acknowledged yet: this one's call waits for it.
        on_ack: awaited with the acknowledgement; only then is the epoch settled.
        settled: told of the end, with the acknowledgement or what went wrong.

    Attributes:
        is_sealed: whether it takes no more; its end marker goes out behind what it has.
        error: why it failed.
    """

    def __init__(
        self,
        channel: Channel,
        peer: Peer,
        config: FlowctlConfig,
        limits: EpochLimits,
        *,
        before: EpochCall | None,
        on_ack: OnAck | None,
        settled: Callable[[EpochCall, Ack | None], None],
    ) -> None:
        self._channel, self._peer, self._config, self._limits = channel, peer, config, limits
        self._before, self._on_ack, self._settled = before, on_ack, settled
        self.tally = EpochTally(anyio.current_time())
        self.is_sealed = self._is_cancelled = False
        self.error: Exception | None = None
        self._outbox = Outbox(config, joins=peer.speaks_arrow)
        self._noted = asyncio.Event()
        self._owner = OwnerTask(self._main, name="flowctl_aio sink epoch")
        # Without a wait: who is cancelled while sending the first batch must find the epoch whole.
        self._owner.start_nowait()

    @property
    def has_room(self) -> bool:
        """Whether a batch may be taken now. Full means that the sink is behind, and whoever sends waits."""
        return self._outbox.has_room

    def take(self, batch: Batch) -> None:
        """Take a batch, to be called only while there is room; an epoch that is full now may end with it."""
        size = self._outbox.put(batch, batch.trace or tracing.current())
        self.tally.note(batch, anyio.current_time(), size=size)
        self._noted.set()
        if self.tally.is_full(self._limits) and self.tally.is_between:
            self.seal()

    async def wait_room(self) -> None:
        """Return when there may be room again, or there will never be.

        Cancellation: safe at any point.
        """
        await self._outbox.wait_room()

    def seal(self) -> None:
        """Take no more; the epoch ends with what it has. May be called twice."""
        self.is_sealed = True
        self._outbox.seal()
        self._noted.set()

    def cancel(self) -> None:
        """End the call without its end marker, so that the sink commits nothing of it."""
        self._is_cancelled = True
        self._owner.cancel()
        self.seal()

    async def join(self) -> None:
        """Return when it is over, well or not.

        Cancellation: the epoch goes on.
        """
        await self._owner.join()

    async def _main(self, started: Started) -> None:
        ack: Ack | None = None
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep_time)
                if self._before is not None:
                    await self._wait_for(self._before)
                started()
                taken = await self._run_call()
                if self._on_ack is not None:
                    await _awaitable(self._on_ack(taken))
                ack = taken
                group.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - whoever sends, flushes or listens raises it
            fault = lone(error)
            self.error = fault if isinstance(fault, Exception) else error
        finally:
            if ack is None and self.error is None:
                self.error = StreamCancelledError("the epoch was abandoned", peer=self._peer.address)
            self.seal()
            self._outbox.clear()
            self._settled(self, ack)

    async def _wait_for(self, before: EpochCall) -> None:
        await before.join()
        self._before = None  # or each epoch would keep all those before it
        if before.error is not None:
            raise before.error

    async def _keep_time(self) -> None:
        """End the epoch when its time is up, whether or not somebody sends."""
        while not self.is_sealed:
            due = self.tally.due_at(self._limits)
            if due is None:
                self._noted.clear()
                await self._noted.wait()
            elif due > anyio.current_time():
                await anyio.sleep_until(due)
            else:
                self.seal()

    async def _run_call(self) -> Ack:
        method = Role.SINK.method(self._peer.dialect)
        with client_call(method, self._peer.address) as span:
            metadata = (*own_offer(self._config).metadata, *span.metadata)
            async with open_call(self._channel, method, answers=False, metadata=metadata) as call:
                envelope = Role.SINK.envelope(self._peer.dialect)
                encoder = encoder_of(envelope, self._peer.offer, self._config, is_local=call.is_local)
                encoder = await sharing_over(call, encoder, envelope, self._peer.offer, self._config)
                writer = BatchWriter(call.write, encoder, call=span.carrier)
                try:
                    await self._write(writer, call)
                except StreamCancelledError:
                    if call.is_over():
                        # It answered before the end. If that was a refusal, this says so.
                        ack_from_wire(await call.result(), self._peer, writer, self.tally)
                    raise
                finally:
                    encoder.close()
                return ack_from_wire(await call.result(), self._peer, writer, self.tally)

    async def _write(self, writer: BatchWriter, call: OpenCall) -> None:
        while (entry := await self._outbox.next()) is not None:
            await writer.send(entry.batch, parent=entry.trace)
        if self._is_cancelled:
            # A task that was about to run does so before it is cancelled, and this marker would commit the epoch.
            raise StreamCancelledError("the epoch was abandoned", peer=self._peer.address)
        await writer.end()
        await call.done_writing()


def _awaitable(told: object) -> Awaitable[None]:
    if not isinstance(told, Awaitable):
        raise UsageError(f"on_ack is an async function, and gave {told!r} in place of what can be awaited")
    return told


def ack_from_wire(raw: bytes, peer: Peer, writer: BatchWriter, tally: EpochTally) -> Ack:
    """The sink's answer, of whichever dialect.

    Raises:
        FrameCorruptError: if it cannot be read.
        PeerError: if it is a refusal.
    """
    try:
        if peer.dialect is Dialect.V1:
            response = wire.v1.ConsumeResponse.FromString(raw)
            return Ack(
                batches=writer.batches,
                rows=response.events_consumed,
                failed=response.events_failed,
                errors=tuple(response.errors),
                first_cursor=tally.first,
                last_cursor=tally.last,
            )
        message = wire.SinkAck.FromString(raw)
    except DecodeError as error:
        raise FrameCorruptError("the sink's acknowledgement cannot be read") from error
    metadata = dict(message.metadata)
    if not message.success:
        raise PeerError(f"the sink refused the epoch ({message.error})", peer=peer.address, details=message.error)
    # A stranger counts nothing: what it acknowledged is what was sent.
    counts = {key: metadata.pop(key, "") for key in ("batches", "rows", "failed")}
    batches, rows, failed = (int(text) if text.isascii() and text.isdigit() else None for text in counts.values())
    return Ack(
        batches=writer.batches if batches is None else batches,
        rows=writer.rows if rows is None else rows,
        failed=failed or 0,
        errors=(message.error,) if message.error else (),
        metadata=metadata,
        first_cursor=tally.first,
        last_cursor=tally.last,
    )
