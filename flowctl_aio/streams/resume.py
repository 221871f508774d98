"""Where a stream of a source goes on: behind a cursor, and after its peer has been away."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

import anyio

from flowctl_aio.batches import Batch, EventBatch, LedgerBatch
from flowctl_aio.errors import ConfigError, PeerUnavailableError, StreamCancelledError, StreamTruncatedError, UsageError
from flowctl_aio.streams.behind import rows_behind
from flowctl_aio.streams.stream import BatchStream
from flowctl_aio.types import Cursor, StreamRequest

# Between two attempts, doubled from the first to the most and shortened by up to half: who lost the same peer does
# not come back in the same moment.
PAUSE_FIRST, PAUSE_MOST = 0.1, 2.0
RECONNECT_TIMEOUT = 60.0
MAX_LEDGER = 2**32 - 1


@runtime_checkable
class Checkpoint(Protocol):
    """A place where a cursor outlives its process."""

    async def load(self) -> Cursor | None:
        """The cursor that was saved last; None before the first.

        Cancellation: must change nothing.
        """

    async def save(self, cursor: Cursor) -> None:
        """Return when `cursor` is durable.

        Cancellation: may leave the cursor saved before, or this one, and nothing between.
        """


# A cursor, where one is kept, or the token of a source that has its own.
Resume: TypeAlias = Cursor | Checkpoint | str | None


async def position_of(resume: Resume) -> tuple[Cursor | None, str]:
    """The cursor that `resume` stands for, or else the token that only the source can read.

    Raises:
        UsageError: if it is none of these.
        Exception: whatever the checkpoint raises.

    Cancellation: as that of the checkpoint's `load`.
    """
    if resume is None or isinstance(resume, Cursor):
        return resume, ""
    if not isinstance(resume, str):
        if not isinstance(resume, Checkpoint):
            raise UsageError(f"a stream resumes behind a Cursor, a checkpoint or a resume token, not {resume!r}")
        return await resume.load(), ""
    cursor = cursor_of(resume)
    return (None, resume) if cursor is None else (cursor, "")


def cursor_of(token: str) -> Cursor | None:
    """The cursor that a resume token of ours is; None for a token of somebody else's."""
    try:
        return Cursor.parse(token) if token else None
    except ConfigError:
        return None


def start_behind(request: StreamRequest, cursor: Cursor | None, *, is_whole: bool = False) -> int | None:
    """The first ledger to ask for.

    Args:
        is_whole: whether nothing of the cursor's own ledger is left; otherwise it is asked for again, for more
            of its events may come.

    Raises:
        ConfigError: if no ledger can have the cursor's sequence.
    """
    if cursor is None:
        return request.start
    if cursor.sequence >= MAX_LEDGER:
        raise ConfigError(f"no ledger lies behind the cursor {cursor}")
    start = max(request.start or 0, cursor.sequence + is_whole)
    # Beyond the end nothing is left. A range that ends before it starts would be refused; this one gives nothing.
    return start if request.end is None else min(start, max(request.end, request.start or 0))


class StreamBehind(BatchStream):
    """A stream without what lies at or before a cursor."""

    def __init__(self, *args: Any, behind: Cursor | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._behind = behind

    async def __anext__(self) -> Batch:
        """The next batch, without the rows at or before the cursor; otherwise as `BatchStream`.

        Cancellation: loses nothing; the stream goes on with the next call.
        """
        while True:
            batch = rows_behind(await super().__anext__(), self._behind)
            if batch is not None:
                return batch


class ResumingStream:
    """Batches from a source that may go away and come back: each row once, in order, as if it had stayed.

    When the peer is away, or its stream ends without its end marker, it is asked again, behind the last cursor that was
    given out. Everything else ends the stream, as does a peer that stays away for `reconnect_timeout`.

    Attributes:
        cursor: the last one that was given out.
        reconnects: how often the stream was lost.
        batches, rows: what has been given out so far.
    """

    def __init__(
        self,
        reopen: Callable[[Cursor | None, bool], Awaitable[BatchStream]],
        *,
        cursor: Cursor | None,
        reconnect_timeout: float | None,
    ) -> None:
        self.cursor = cursor
        self.reconnects = self.batches = self.rows = 0
        self._reopen, self._timeout = reopen, reconnect_timeout
        self._stream: BatchStream | None = None
        # A batch that comes in parts says only with the last one how far it went: until then it is not given out.
        self._parts: list[Batch] = []
        self._ready: deque[Batch] = deque()
        self._failed = 0
        self._lost_at = self._next_at = 0.0
        self._end: Exception | None = None
        self._is_exact, self._is_whole = True, False
        self._asking = anyio.Lock()  # two who ask at once would open two streams, and have their rows twice

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        """The next batch; waits while the peer is away. Of several tasks that ask, each batch goes to one.

        Raises:
            PeerUnavailableError, StreamTruncatedError: if it stays away for `reconnect_timeout` seconds, or gave
                rows without a cursor, behind which nobody can go on.
            Exception: what else ends a `BatchStream`.

        Cancellation: loses nothing; the stream goes on with the next call.
        """
        async with self._asking:
            while not self._ready:
                if self._end is not None:
                    raise self._end
                try:
                    await self._fill()
                except (PeerUnavailableError, StreamTruncatedError) as error:
                    await self._lose(error)
                except Exception as error:
                    await self.aclose(error)
                    raise
            batch = self._ready.popleft()
        if batch.last_cursor is not None and (self.cursor is None or batch.last_cursor > self.cursor):
            self.cursor = batch.last_cursor
        self.batches += 1
        self.rows += len(batch)
        return batch

    async def aclose(self, error: Exception | None = None) -> None:
        """End the stream. May be called twice, and at any time.

        Cancellation: the stream ends all the same.
        """
        self._end = self._end or error or StreamCancelledError("the stream was closed before its end")
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    async def _fill(self) -> None:
        if self._stream is None:
            await anyio.sleep_until(self._next_at)
            self._stream = await self._reopen(self.cursor, self._is_whole)
        batch = await anext(self._stream, None)
        if batch is not None:
            self._note(batch)
            return
        self._release()
        self._end = StopAsyncIteration()

    def _note(self, batch: Batch) -> None:
        self._failed = 0
        is_custom = isinstance(batch, EventBatch) and not batch.is_generic
        if self._parts and batch.first_cursor != self._parts[0].first_cursor:
            self._release()
        if is_custom and batch.first_cursor is not None and batch.last_cursor is None:
            self._parts.append(batch)
            return
        self._ready.extend((*self._parts, batch))
        self._parts = []
        # Rows without cursors of their own can only be told apart by whole ledgers.
        is_exact = batch.last_cursor is not None and not (is_custom and batch.last_cursor.index)
        self._is_exact = self._is_exact and is_exact
        self._is_whole = isinstance(batch, LedgerBatch) or is_custom

    def _release(self) -> None:
        """Give out what looked like parts, though its last one never came."""
        if self._parts:
            self._ready.extend(self._parts)
            self._parts, self._is_exact = [], False

    async def _lose(self, error: PeerUnavailableError | StreamTruncatedError) -> None:
        now = anyio.current_time()
        self._lost_at = self._lost_at if self._failed else now
        self.reconnects += 1
        self._parts = []
        pause = min(PAUSE_MOST, PAUSE_FIRST * 2 ** min(self._failed, 10)) * random.uniform(0.5, 1.0)
        self._failed += 1
        self._next_at = now + pause
        stream, self._stream = self._stream, None
        if not self._is_exact or (self._timeout is not None and self._next_at - self._lost_at > self._timeout):
            self._end = error
        if stream is not None:
            await stream.aclose()
