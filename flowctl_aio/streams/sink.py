"""The client of a sink: batches out, one acknowledgement an epoch back."""

from __future__ import annotations

from typing import NoReturn

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from google.protobuf.message import DecodeError

from flowctl_aio import _wire as wire
from flowctl_aio.batches import Batch
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import FrameCorruptError, PeerError, StreamCancelledError, UsageError
from flowctl_aio.observe import tracing
from flowctl_aio.observe.calls import client_call
from flowctl_aio.observe.tracing import Carrier
from flowctl_aio.owner import OwnerTask, Started
from flowctl_aio.streams.forms import encoder_for
from flowctl_aio.streams.handshake import Peer, PeerHealth, Role, ask_health, own_offer
from flowctl_aio.streams.send import BatchWriter
from flowctl_aio.transport.call import Channel, open_call
from flowctl_aio.types import Ack, Dialect


class SinkClient:
    """A sink at the other end of a channel; made by `session.sink()`.

    Batches sent between two `flush` calls are one epoch: one call to the sink, acknowledged as a whole.

    Attributes:
        peer: who it is, and what it can do.
        last_ack: of the epoch flushed last; None before the first.
    """

    def __init__(self, channel: Channel, peer: Peer, config: FlowctlConfig) -> None:
        self.peer = peer
        self.last_ack: Ack | None = None
        self._channel, self._config = channel, config
        self._epoch: _EpochCall | None = None
        self._aborted: Exception | None = None

    async def health(self) -> PeerHealth:
        """How the sink is, by its own account.

        Raises:
            StreamError: if it does not answer, or speaks only classic.

        Cancellation: safe at any point.
        """
        return await ask_health(self._channel, Role.SINK)

    async def send(self, batch: Batch) -> None:
        """Hand a batch over; returns when there is room for it, before the sink has seen it.

        Raises:
            StreamError: if the epoch has failed; nothing of it is acknowledged.
            UsageError: if a `flush` is under way, or was cancelled and not called again.

        Cancellation: the batch is either handed over or not; the epoch goes on.
        """
        if self._aborted is not None:
            raise self._aborted
        if self._epoch is None:
            self._epoch = _EpochCall(self._channel, self.peer, self._config)
        epoch = self._epoch
        try:
            await epoch.send(batch)
        except UsageError:
            raise
        except Exception:
            self._forget(epoch)
            raise

    async def flush(self) -> Ack | None:
        """End the epoch and wait until the sink has acknowledged it; None if nothing was sent since the last.

        Raises:
            PeerError: if the sink refused the epoch.
            StreamError: if it could not be asked; the epoch may or may not be durable.

        Cancellation: the epoch goes on to its end; call `flush` again to hear of it.
        """
        epoch = self._epoch
        if epoch is None:
            return None
        try:
            ack = await epoch.finish()
        except Exception:
            self._forget(epoch)
            raise
        self._forget(epoch)
        self.last_ack = ack
        return ack

    async def abandon(self) -> None:
        """Cancel the epoch: no end marker, so the sink commits nothing of it.

        Cancellation: the epoch is cancelled all the same.
        """
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            await epoch.cancel()

    def abort(self, error: Exception) -> None:
        """Cancel the epoch at once, and take no more; whoever waits for it gets `error`."""
        self._aborted = error
        if self._epoch is not None:
            self._epoch.abort(error)

    def _forget(self, epoch: _EpochCall) -> None:
        """The next batch opens an epoch of its own, unless another task has opened one already."""
        if self._epoch is epoch:
            self._epoch = None


class _EpochCall:
    """One `Ingest` or `Consume` call."""

    def __init__(self, channel: Channel, peer: Peer, config: FlowctlConfig) -> None:
        self._channel, self._peer, self._config = channel, peer, config
        # Each batch comes with the trace context of whoever sent it: the task that writes knows none of that.
        self._send: MemoryObjectSendStream[tuple[Batch, Carrier]]
        self._receive: MemoryObjectReceiveStream[tuple[Batch, Carrier]]
        # Full means that the sink is behind: `send` waits here, where a cancellation does no harm to the call.
        self._send, self._receive = anyio.create_memory_object_stream[tuple[Batch, Carrier]](config.max_inflight)
        self._owner = OwnerTask(self._main, name="flowctl_aio sink epoch")
        self._ack: Ack | None = None
        self._error: Exception | None = None
        # Without a wait: who is cancelled while sending the first batch must find the epoch whole.
        self._owner.start_nowait()

    async def send(self, batch: Batch) -> None:
        try:
            await self._send.send((batch, getattr(batch, "trace", None) or tracing.current()))
        except anyio.ClosedResourceError:
            raise UsageError("the epoch is being flushed: call flush again, then send") from None
        except anyio.BrokenResourceError:
            await self._raise()

    async def finish(self) -> Ack:
        self._send.close()
        await self._owner.join()
        if self._ack is None:
            await self._raise()
        return self._ack

    async def cancel(self) -> None:
        self._owner.cancel()
        self._send.close()
        with anyio.CancelScope(shield=True):
            await self._owner.join()

    def abort(self, error: Exception) -> None:
        self._error = error
        self._owner.cancel()

    async def _raise(self) -> NoReturn:
        self._send.close()
        await self._owner.wait()
        raise self._error or StreamCancelledError("the epoch is over", peer=self._peer.address)

    async def _main(self, started: Started) -> None:
        method = Role.SINK.method(self._peer.dialect)
        with self._receive, client_call(method, self._peer.address) as span:
            metadata = (*own_offer(self._config).metadata, *span.metadata)
            async with open_call(self._channel, method, answers=False, metadata=metadata) as call:
                encoder = encoder_for(Role.SINK.envelope(self._peer.dialect), self._peer.offer, self._config)
                writer = BatchWriter(call.write, encoder, call=span.carrier)
                started()
                try:
                    async for batch, trace in self._receive:
                        await writer.send(batch, parent=trace)
                    await writer.end()
                    await call.done_writing()
                except StreamCancelledError:
                    if call.is_over():
                        # It answered before the end. If that was a refusal, this says so.
                        _ack_from_wire(await call.result(), self._peer, writer)
                    raise
                self._ack = _ack_from_wire(await call.result(), self._peer, writer)


def _ack_from_wire(raw: bytes, peer: Peer, writer: BatchWriter) -> Ack:
    try:
        if peer.dialect is Dialect.V1:
            response = wire.v1.ConsumeResponse.FromString(raw)
            return Ack(
                batches=writer.batches,
                rows=response.events_consumed,
                failed=response.events_failed,
                errors=tuple(response.errors),
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
        metadata=metadata,
    )
