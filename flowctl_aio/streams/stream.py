"""The client's end of a call that answers with a stream: an async iterator of batches that owns its call."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import anyio

from flowctl_aio.batches import Batch
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.driven import driven
from flowctl_aio.errors import StreamCancelledError, StreamError
from flowctl_aio.observe.calls import CallSpan, client_call
from flowctl_aio.observe.tracing import Carrier
from flowctl_aio.owner import OwnerTask, Started, lone
from flowctl_aio.streams.credits import Credits
from flowctl_aio.streams.forms import decoder_for
from flowctl_aio.streams.handshake import Peer, Role, own_offer
from flowctl_aio.streams.local import HandDecoder, encoder_of
from flowctl_aio.streams.outbox import Outbox, send_joined
from flowctl_aio.streams.receive import BatchReader, inbox_for
from flowctl_aio.streams.send import BatchWriter
from flowctl_aio.streams.shared.forms import SharedDecoder, sharing_over
from flowctl_aio.streams.shared.loan import Loan
from flowctl_aio.transport.call import CallMetadata, Channel, OpenCall, open_call


class BatchStream:
    """Batches from a peer, in order: `async with stream: async for batch in stream`.

    The call opens with the block, or with the first batch that is asked for. It ends with the
    block, with the stream, or with the client it came from, whichever comes first.

    Attributes:
        batches, rows, bytes: what has been received so far.
        shared_bytes: what of the bytes came through shared memory.
    """

    def __init__(
        self,
        channel: Channel,
        peer: Peer,
        role: Role,
        config: FlowctlConfig,
        *,
        request: bytes | None = None,
        inputs: AsyncIterable[Batch] | None = None,
    ) -> None:
        self._channel, self._peer, self._role, self._config = channel, peer, role, config
        self._request, self._inputs = request, inputs
        self._envelope = role.envelope(peer.dialect)
        # In a stream that goes both ways, each side tells the other what it has room for.
        self._call: OpenCall | None = None
        self._credits: Credits | None = None
        if inputs is not None and peer.offer.has_credits:
            self._credits = Credits(
                self._write,
                self._envelope,
                max_batches=config.max_inflight,
                max_bytes=config.max_inflight_bytes,
            )
        self._inbox = inbox_for(config, config.max_inflight, credited=self._credits)
        self._loan = Loan(config, peer.offer, max_inflight=config.max_inflight)
        decoder = decoder_for(self._envelope, peer.offer, config)
        shared = SharedDecoder(self._envelope, self._loan, decoder, limit=config.max_message_bytes)
        self._reader = BatchReader(
            self._inbox,
            HandDecoder(shared),
            expects_end=peer.marks_ends,
            peer=peer.address,
        )
        self._owner = OwnerTask(self._main, name=f"flowctl_aio {role.name.lower()} stream")
        self._is_open = self._is_closed = False

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open" if self._is_open else "new"
        return f"<BatchStream of {self._role.name.lower()} {self._peer.address} {state} {self.batches} batches>"

    @property
    def batches(self) -> int:
        return self._reader.batches

    @property
    def rows(self) -> int:
        return self._reader.rows

    @property
    def bytes(self) -> int:
        return self._reader.bytes

    @property
    def shared_bytes(self) -> int:
        return self._reader.shared_bytes

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        """The next batch.

        Raises:
            StreamTruncatedError: if an SDK peer's stream ends without its end marker.
            StreamCancelledError: if the stream was closed before its end.
            StreamError: if the call failed; CodecError: if a message cannot be read.
            Exception: whatever the caller's own generator of inputs raised.

        Cancellation: loses nothing; the stream goes on with the next call.
        """
        if self._is_closed:
            if self._reader.is_complete:
                raise StopAsyncIteration
            raise self._inbox.error or self._closed_early()  # silence would call a part the whole
        self._open()
        try:
            batch = await self._reader.next()
        except Exception as error:
            self._inbox.error = self._inbox.error or error  # what a second look shall find
            await self.aclose()
            raise
        if batch is None:
            await self.aclose()
            raise StopAsyncIteration
        return batch

    async def aclose(self) -> None:
        """End the call. May be called twice, and at any time.

        Cancellation: the call ends all the same.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if not self._reader.is_complete:
            self._inbox.error = self._inbox.error or self._closed_early()
        self._owner.cancel()
        self._inbox.close()
        try:
            with anyio.CancelScope(shield=True):
                await self._owner.join()
        finally:
            self._loan.close()  # a shield does not hold off a plain cancellation of the task

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def abort(self, error: Exception) -> None:
        """End the call at once; whoever waits for a batch gets `error`."""
        self._inbox.error = error
        self._owner.cancel()

    def _open(self) -> None:
        # Without a wait: who is cancelled while waiting for the first batch must find the stream whole.
        if not self._is_open:
            self._is_open = True
            self._owner.start_nowait()

    def _closed_early(self) -> StreamCancelledError:
        return StreamCancelledError("the stream was closed before its end", peer=self._peer.address)

    async def _main(self, started: Started) -> None:
        method = self._role.method(self._peer.dialect)
        with self._inbox.filling():
            try:
                with client_call(method, self._peer.address) as span, self._loan:
                    try:
                        await self._run_call(method, span, started)
                    finally:
                        # With its last batch a stream is complete, though its call may then be cancelled.
                        if self._reader.is_complete:
                            span.end()
                        # The reader may have closed us for it before we are out of here.
                        elif self._inbox.error is not None:
                            span.fail(self._inbox.error)
            except Exception as error:  # noqa: BLE001 - the reader raises it
                self._inbox.error = self._inbox.error or lone(error)

    async def _run_call(self, method: str, span: CallSpan, started: Started) -> None:
        metadata = (*own_offer(self._config).metadata, *self._loan.metadata, *span.metadata)
        async with (
            self._open_call(method, metadata) as call,
            anyio.create_task_group() as group,
        ):
            started()
            if self._credits is not None:
                group.start_soon(self._credits.keep_granting)
            if self._inputs is not None:
                group.start_soon(self._feed, self._inputs, call, group.cancel_scope, span.carrier)
            await self._inbox.run_pump(call.read)
            group.cancel_scope.cancel()

    @asynccontextmanager
    async def _open_call(self, method: str, metadata: CallMetadata) -> AsyncIterator[OpenCall]:
        async with open_call(self._channel, method, self._request, answers=True, metadata=metadata) as call:
            self._call = call
            try:
                yield call
            finally:
                self._call = None  # a stream that is kept must not keep its connection

    async def _write(self, message: Any) -> None:
        assert self._call is not None
        await self._call.write(message)

    async def _feed(
        self, batches: AsyncIterable[Batch], call: OpenCall, scope: anyio.CancelScope, trace: Carrier
    ) -> None:
        """Drive the caller's inputs into the call; grpc would lose their exception, here it reaches the caller."""
        encoder = encoder_of(self._envelope, self._peer.offer, self._config, is_local=call.is_local)
        credited = self._credits
        try:
            encoder = await sharing_over(call, encoder, self._envelope, self._peer.offer, self._config)
            writer = BatchWriter(
                credited.send if credited is not None else call.write,
                encoder,
                call=trace,
                write_marker=credited.send_marker if credited is not None else None,
            )
            async with driven(batches) as inputs:
                if self._config.linger:
                    await send_joined(inputs, Outbox(self._config, joins=self._peer.speaks_arrow), writer)
                else:
                    async for batch in inputs:
                        await writer.send(batch)
            await writer.end()
            if credited is None:
                await call.done_writing()
            # Else the outputs that still come need credits of ours; the end marker tells the peer all it must know.
        except Exception as group:  # noqa: BLE001 - the reader raises it
            error = lone(group)
            # Where writing failed because the call is over, the reader tells why, after the batches that still came.
            if not (isinstance(error, StreamError) and call.is_over()):
                self._inbox.error = error
                scope.cancel()
        finally:
            encoder.close()
