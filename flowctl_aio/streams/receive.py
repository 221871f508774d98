"""Raw messages → batches, in order, up to an end that can be believed."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from flowctl_aio.batches import Batch
from flowctl_aio.codec import plain
from flowctl_aio.codec.envelope import End, Envelope, Frame, Received, decode
from flowctl_aio.errors import FlowctlError, FrameCorruptError, StreamTruncatedError
from flowctl_aio.types import Event, RawLedger

# Plain rows that have arrived already are handed on together, up to these bounds.
GATHER_ROWS = 1024
GATHER_BYTES = 1024 * 1024


class Inbox:
    """A bounded stream of raw messages between a pump and a reader.

    Cancelling a gRPC read ends the whole call (on a server even without a word), so nobody but the
    pump reads from the call; whoever waits for a message waits here, where timeouts are harmless.

    Args:
        max_messages: how many messages may wait; the pump waits when it is full, and the peer with it.
    """

    def __init__(self, max_messages: int) -> None:
        self.error: BaseException | None = None
        self._send: MemoryObjectSendStream[bytes]
        self._receive: MemoryObjectReceiveStream[bytes]
        self._send, self._receive = anyio.create_memory_object_stream[bytes](max_messages)

    async def run_pump(self, read: Callable[[], Awaitable[bytes | None]]) -> None:
        """Move messages until the call ends. A failing read is kept for the reader; it does not raise here."""
        with self.filling():
            try:
                while (message := await read()) is not None:
                    await self._send.send(message)
            except FlowctlError as error:
                self.error = self.error or error
            except anyio.BrokenResourceError:
                return  # the reader has left

    def filling(self) -> MemoryObjectSendStream[bytes]:
        """A block at whose end the reader finds the end, however it is left."""
        return self._send

    async def receive(self) -> bytes | None:
        """The next message; None at the end of the call.

        Raises: what ended the call, if it was an error.

        Cancellation: loses nothing.
        """
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            if self.error is not None:
                raise self.error from None
            return None

    def receive_nowait(self) -> bytes | None:
        """The next message if it is here; None if there is none now."""
        try:
            return self._receive.receive_nowait()
        except (anyio.WouldBlock, anyio.EndOfStream):
            return None

    def close(self) -> None:
        """Drop what is still waiting."""
        self._receive.close()
        self._send.close()


class BatchReader:
    """Batches out of an inbox.

    Args:
        expects_end: whether the peer ends its streams with an end marker, so that an end without one is no end.
        limit: longest message to accept, in bytes.
    """

    def __init__(self, inbox: Inbox, envelope: Envelope, *, expects_end: bool, limit: int, peer: str) -> None:
        self._inbox, self._envelope, self._limit, self._peer = inbox, envelope, limit, peer
        self._expects_end = expects_end
        self._ready: deque[Batch] = deque()
        self._held: Received | None = None
        self.batches = self.rows = self.bytes = 0
        self.is_complete = False

    async def next(self) -> Batch | None:
        """The next batch; None after the last one of a complete stream.

        Raises:
            StreamTruncatedError: if the stream ends without its end marker, or the marker's counts disagree.
            CodecError: if a message cannot be read.
            StreamError: if the call failed.

        Cancellation: loses nothing.
        """
        while not self._ready:
            received = self._held or await self._receive()
            self._held = None
            if received is None:
                self._check_end(None)
                return None
            if isinstance(received, End):
                self._check_end(received)
                return None
            if isinstance(received, Frame):
                self._ready.append(self._numbered(received))
            else:
                self._ready.extend(self._gather(received))
        return self._ready.popleft()

    async def _receive(self) -> Received | None:
        if self.is_complete:
            return None
        raw = await self._inbox.receive()
        return None if raw is None else self._decode(raw)

    def _decode(self, raw: bytes) -> Received:
        self.bytes += len(raw)
        return decode(self._envelope, raw, limit=self._limit)

    def _numbered(self, frame: Frame) -> Batch:
        if frame.number is not None and frame.number != self.batches:
            raise FrameCorruptError(f"batch {frame.number} came where batch {self.batches} was due")
        self.batches += 1
        self.rows += len(frame.batch)
        return frame.batch

    def _gather(self, first: RawLedger | Event) -> list[Batch]:
        """`first` and the plain rows that have arrived behind it, as batches."""
        rows: list[RawLedger | Event] = [first]
        start = self.bytes
        while len(rows) < GATHER_ROWS and self.bytes - start < GATHER_BYTES:
            raw = self._inbox.receive_nowait()
            if raw is None:
                break
            received = self._decode(raw)
            if isinstance(received, End | Frame):
                self._held = received
                break
            rows.append(received)
        self.rows += len(rows)
        return list(plain.from_rows(rows))

    def _check_end(self, end: End | None) -> None:
        if end is None and self._expects_end and not self.is_complete:
            raise StreamTruncatedError(
                f"the stream ended after {self.batches} batches without its end marker", peer=self._peer
            )
        if end is not None and end.rows != self.rows:
            raise StreamTruncatedError(f"the peer sent {end.rows} rows and {self.rows} arrived", peer=self._peer)
        self.is_complete = True
