"""Raw messages → batches, in order, up to an end that can be believed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from flowctl_aio.batches import Batch
from flowctl_aio.codec import plain
from flowctl_aio.codec.envelope import End, Frame, Received
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import FlowctlError, FrameCorruptError, StreamError, StreamTruncatedError
from flowctl_aio.observe.tracing import MAX_LINKS, Carrier, extract, is_on
from flowctl_aio.streams.credits import Credits
from flowctl_aio.streams.forms import Decoder
from flowctl_aio.streams.spans import joined
from flowctl_aio.types import Event, RawLedger

# Plain rows that come one behind the other are handed on together, up to these bounds.
GATHER_ROWS = 1024
GATHER_BYTES = 1024 * 1024
GATHER_LINGER = 0.005


class Inbox:
    """A bounded stream of raw messages between a pump and a reader.

    Cancelling a gRPC read ends the whole call (on a server even without a word), so nobody but the
    pump reads from the call; whoever waits for a message waits here, where timeouts are harmless.

    Args:
        max_messages: how many messages may wait; the pump waits when it is full, and the peer with it.
        max_bytes: how long they may be together, where it is more than one.
        counted: told how many messages more, or less, wait.
        credited: what the peer has room for, and is told of ours. It sends no more than fits in here, so that the pump
            always reads on: behind the last batch that had room may come a credit, for which somebody waits who
            must send before anything here is taken.
    """

    # A memory stream of anyio hands a message to a waiting reader, and with it goes the message
    # if the reader is cancelled in that very turn (by `asyncio.timeout`, say). Here a reader only takes, and
    # between its waking and its taking there is no await.

    def __init__(
        self,
        max_messages: int,
        *,
        max_bytes: int | None = None,
        counted: Callable[[int], None] = lambda more: None,
        credited: Credits | None = None,
    ) -> None:
        self.error: BaseException | None = None
        self._counted, self._credits = counted, credited
        self._max, self._max_bytes, self._bytes = max_messages, max_bytes, 0
        self._waiting: deque[Any] = deque()
        self._arrived, self._taken = asyncio.Event(), asyncio.Event()
        self._is_ended = self._is_closed = False

    async def run_pump(self, read: Callable[[], Awaitable[Any | None]]) -> None:
        """Move messages until the call ends. A failing read is kept for the reader; it does not raise here."""
        with self.filling():
            try:
                while not self._is_closed and (message := await read()) is not None:
                    if self._credits is not None and self._credits.hears(message):
                        continue
                    self._waiting.append(message)
                    self._bytes += len(message)
                    self._counted(1)
                    self._arrived.set()
                    while self._is_full and not self._is_closed:
                        self._taken.clear()
                        await self._taken.wait()
            except FlowctlError as error:
                self.error = self.error or error

    @property
    def _is_full(self) -> bool:
        # One message is there in any case, or a long one would never pass.
        too_long = self._max_bytes is not None and self._bytes >= self._max_bytes
        return len(self._waiting) >= self._max or (too_long and bool(self._waiting))

    @contextmanager
    def filling(self) -> Iterator[None]:
        """A block at whose end the reader finds the end, however it is left."""
        try:
            yield
        finally:
            self._is_ended = True
            self._arrived.set()
            if self._credits is not None:
                self._credits.open()

    async def receive(self) -> Any | None:
        """The next message; None at the end of the call.

        Raises: what ended the call, if it was an error.

        Cancellation: loses nothing.
        """
        while (message := self.receive_nowait()) is None:
            if self._is_ended or self._is_closed:
                if self.error is not None:
                    raise self.error
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return message

    def receive_nowait(self) -> Any | None:
        """The next message if it is here; None if there is none now."""
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self._bytes -= len(message)
        self._taken.set()
        self._counted(-1)
        if self._credits is not None:
            self._credits.note_taken(message)
        return message

    def note_end(self) -> None:
        """The peer has said that it sends no more batches."""
        if self._credits is not None:
            self._credits.end_granting()

    def close(self) -> None:
        """Drop what is still waiting, and take no more."""
        self._is_closed = True
        self._counted(-len(self._waiting))
        self._waiting.clear()
        self._bytes = 0
        self._arrived.set()
        self._taken.set()


# Beyond the batches that the peer has room for: its end marker, and one for the pump to read on.
MARKERS = 2
# How much of the bytes in flight may wait in an inbox. Of the rest, the window of the connection takes its part.
INBOX_SHARE = 4


def inbox_for(
    config: FlowctlConfig,
    max_messages: int,
    *,
    credited: Credits | None = None,
    counted: Callable[[int], None] = lambda more: None,
) -> Inbox:
    """An inbox with the bounds of one stream."""
    if credited is None:
        return Inbox(max_messages, max_bytes=config.max_inflight_bytes // INBOX_SHARE, counted=counted)
    # A peer that keeps to its credits never comes to these bounds; one that does not shall not fill the memory.
    most = config.max_inflight_bytes + config.max_message_bytes
    return Inbox(max_messages + MARKERS, max_bytes=most, counted=counted, credited=credited)


class BatchReader:
    """Batches out of an inbox.

    Args:
        expects_end: whether the peer ends its streams with an end marker, so that an end without one is no end.
    """

    def __init__(self, inbox: Inbox, decoder: Decoder, *, expects_end: bool, peer: str) -> None:
        self._inbox, self._decoder, self._peer = inbox, decoder, peer
        self._expects_end = expects_end
        self._ready: deque[Batch] = deque()
        self._held: Received | None = None
        self._rows: list[RawLedger | Event] = []
        self.batches = self.rows = self.bytes = self.shared_bytes = 0
        self._frames = 0
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
            if self._rows:
                await self._gather()
                continue
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
                self._rows.append(received)
        return self._ready.popleft()

    async def _receive(self) -> Received | None:
        if self.is_complete:
            return None
        raw = await self._inbox.receive()
        return None if raw is None else self._decode(raw)

    def _decode(self, raw: Any) -> Received:
        self.bytes += len(raw)
        return self._decoder.decode(raw)

    def _numbered(self, frame: Frame) -> Batch:
        if frame.number is not None and frame.number != self._frames:
            raise FrameCorruptError(f"batch {frame.number} came where batch {self._frames} was due")
        self._frames += 1
        self.batches += 1
        self.rows += len(frame.batch)
        self.bytes += frame.beside
        self.shared_bytes += frame.beside
        if frame.trace:
            frame.batch.trace = extract(frame.trace)
        return frame.batch

    async def _gather(self) -> None:
        """Make batches of the plain rows that are here and those that come right behind them."""
        start = self.bytes
        with anyio.move_on_after(GATHER_LINGER):
            while len(self._rows) < GATHER_ROWS and self.bytes - start < GATHER_BYTES:
                try:
                    received = await self._receive()
                except StreamError:
                    break  # the rows come first; whoever asks for more is told again
                if received is None or isinstance(received, End | Frame):
                    self._held = received
                    break
                self._rows.append(received)
        rows, self._rows = self._rows, []
        batches = list(plain.from_rows(rows))
        if is_on() and (trace := joined(_traces(rows))):
            for batch in batches:
                batch.trace = trace
        self._ready.extend(batches)
        self.batches += len(batches)
        self.rows += len(rows)

    def _check_end(self, end: End | None) -> None:
        if end is None and self._expects_end and not self.is_complete:
            raise StreamTruncatedError(
                f"the stream ended after {self.batches} batches without its end marker", peer=self._peer
            )
        if end is not None and end.rows != self.rows:
            raise StreamTruncatedError(f"the peer sent {end.rows} rows and {self.rows} arrived", peer=self._peer)
        # Plain rows arrive without the bounds of their batches, so only frames can be counted.
        if end is not None and self._frames and end.batches != self._frames:
            raise StreamTruncatedError(
                f"the peer sent {end.batches} batches and {self._frames} arrived", peer=self._peer
            )
        self.is_complete = True
        self._inbox.note_end()


def _traces(rows: list[RawLedger | Event]) -> list[Carrier]:
    """The trace contexts of plain rows, each once, and no more than a span has links."""
    found: dict[str, Carrier] = {}
    for row in rows:
        if "traceparent" in row.metadata and len(found) < MAX_LINKS and (trace := extract(row.metadata)):
            found[trace["traceparent"]] = trace
    return list(found.values())
