"""The record of one attempt at a range of ledgers: its phases, how it ended, and what to do about it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import IntEnum

from flowctl_aio import _wire as wire
from flowctl_aio.control.plane import CLASSIC, PlaneClient
from flowctl_aio.control.records.runs import LAST_WORD_LIMIT, farewell, told
from flowctl_aio.errors import CodecError, ConfigError, ControlError, SchemaMismatchError, UnimplementedError
from flowctl_aio.types import NOTHING

logger = logging.getLogger(__name__)


class FailureClass(IntEnum):
    """Why a chunk failed. The numbers are those of `flowctl.FailureClass`."""

    UNKNOWN = 0
    RETRYABLE_INFRASTRUCTURE = 1
    NON_RETRYABLE_DATA = 2
    NON_RETRYABLE_SCHEMA = 3
    VERIFICATION = 4
    ALLOCATION_LOST = 5
    OOM = 6


class VerificationError(Exception):
    """What a chunk wrote is not what it should have written; raise it inside the block of a chunk."""


# The first that fits; then what upstream's operators are told to do.
_CLASSES: list[tuple[type[BaseException], FailureClass]] = [
    (MemoryError, FailureClass.OOM),
    (VerificationError, FailureClass.VERIFICATION),
    (SchemaMismatchError, FailureClass.NON_RETRYABLE_SCHEMA),
    (CodecError, FailureClass.NON_RETRYABLE_DATA),
    (OSError, FailureClass.RETRYABLE_INFRASTRUCTURE),  # with it connections and timeouts
    (ControlError, FailureClass.RETRYABLE_INFRASTRUCTURE),
    (ValueError, FailureClass.NON_RETRYABLE_DATA),
]
_ACTIONS = {
    FailureClass.UNKNOWN: "inspect_output",
    FailureClass.NON_RETRYABLE_DATA: "inspect_output",
    FailureClass.NON_RETRYABLE_SCHEMA: "inspect_output",
    FailureClass.VERIFICATION: "retry_verification",
}


def failure_class_of(error: BaseException) -> FailureClass:
    """What kind of failure an exception is."""
    return next((found for kind, found in _CLASSES if isinstance(error, kind)), FailureClass.UNKNOWN)


class ChunkRecord:
    """One attempt at a range, as its owner sees it; made by `session.chunk`.

    Attributes:
        rows: rows by table or kind; told to the plane with the next phase, and at the end.
        verification: what was checked, in words, by name.
        is_recorded: false towards a plane that is away, or too old to know chunks.
    """

    def __init__(self, plane: PlaneClient, chunk: wire.ChunkRun, *, timeout: float) -> None:
        self.rows: dict[str, int] = {}
        self.verification: dict[str, str] = {}
        self.is_recorded = False
        self._plane, self._chunk, self._timeout = plane, chunk, timeout
        self._is_unknown = False

    def __repr__(self) -> str:
        return f"<ChunkRecord {self.chunk_id or 'unnamed'} {self._chunk.chunk_start}-{self._chunk.chunk_end}>"

    @property
    def chunk_id(self) -> str:
        """Its key at the plane, which the plane makes; empty while it is not recorded."""
        return self._chunk.chunk_id

    @property
    def attempt(self) -> int:
        return self._chunk.attempt

    async def phase(self, name: str) -> None:
        """Say what the chunk is at, such as `extract`, `validation` or `ducklake_push`.

        Cancellation: whether the plane heard it is unknown.
        Source: `UpsertChunkRun`.
        """
        self._chunk.phase = name
        await self._put()

    async def verified(self) -> None:
        """Say that what was written has been checked: the chunk will end as VERIFIED.

        Cancellation: whether the plane heard it is unknown.
        """
        self._chunk.verified_at.FromDatetime(datetime.now(UTC))
        self._chunk.status = wire.ChunkStatus.CHUNK_STATUS_VERIFIED
        await self._put()

    async def end(self, error: BaseException | None) -> None:
        """Record how it ended."""
        chunk = self._chunk
        chunk.completed_at.FromDatetime(datetime.now(UTC))
        if error is None:
            if chunk.status != wire.ChunkStatus.CHUNK_STATUS_VERIFIED:
                chunk.status = wire.ChunkStatus.CHUNK_STATUS_COMPLETED
        elif isinstance(error, Exception):
            found = failure_class_of(error)
            chunk.status = wire.ChunkStatus.CHUNK_STATUS_FAILED
            chunk.failure_class = wire.FailureClass.ValueType(found)
            chunk.error = told(error)
            chunk.recommended_action = _ACTIONS.get(found, "rerun_chunk")
        else:
            chunk.status = wire.ChunkStatus.CHUNK_STATUS_ABORTED
        await self._put()

    async def _put(self) -> None:
        if self._is_unknown:
            return
        chunk = self._chunk
        chunk.row_counts.update(self.rows)
        chunk.verification.update(self.verification)
        request = wire.UpsertChunkRunRequest(chunk=chunk)
        try:
            answer = await self._plane.ask(f"{CLASSIC}/UpsertChunkRun", request, wire.ChunkRun, self._timeout)
        except UnimplementedError:
            self._is_unknown = True  # one line, and from then on nothing
            logger.info("%s keeps no records of chunks", self._plane.peer)
        except ControlError as refusal:
            logger.warning("chunk %d-%d goes on without a record: %s", chunk.chunk_start, chunk.chunk_end, refusal)
        else:
            chunk.chunk_id, chunk.attempt, self.is_recorded = answer.chunk_id, answer.attempt, True


@asynccontextmanager
async def open_chunk(
    plane: PlaneClient,
    first: int,
    last: int,
    *,
    component_id: str,
    run_id: str = "",
    attempt: int = 0,
    metadata: Mapping[str, str] = NOTHING,
    timeout: float,
) -> AsyncIterator[ChunkRecord]:
    """Record one attempt at ledgers `first` to `last`, both included, while the block runs, and how it ended.

    The block's own exception passes through, and decides on the failure class.

    Raises:
        ConfigError: if the range ends before it starts.

    Source: `UpsertChunkRun`.
    """
    if not 0 <= first <= last:
        raise ConfigError(f"the chunk {first} to {last} is no range of ledgers")
    chunk = wire.ChunkRun(
        pipeline_run_id=run_id,
        component_id=component_id,
        chunk_start=first,
        chunk_end=last,
        attempt=attempt,
        status=wire.ChunkStatus.CHUNK_STATUS_RUNNING,
        metadata=metadata,
    )
    chunk.started_at.FromDatetime(datetime.now(UTC))
    record = ChunkRecord(plane, chunk, timeout=timeout)
    ended_by: BaseException | None = None
    try:
        await record.phase("")  # in here, for if it is cancelled the plane may have the record all the same
        yield record
    except BaseException as error:
        ended_by = error
        raise
    finally:
        is_cancelled = ended_by is not None and not isinstance(ended_by, Exception)
        with farewell(f"chunk {first}-{last}", LAST_WORD_LIMIT if is_cancelled else timeout):
            await record.end(ended_by)


__all__ = ["ChunkRecord", "FailureClass", "VerificationError"]
