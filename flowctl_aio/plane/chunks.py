"""Records of chunk runs: one attempt each at a range of ledgers.

Takes and gives the messages themselves, for the plane reads nothing in them but what it files them by.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from itertools import islice

from flowctl_aio import _wire as wire
from flowctl_aio.errors import ControlError
from flowctl_aio.plane.quirks import IDEAL, Keep, Rules, keep_nowhere

logger = logging.getLogger(__name__)

DEFAULT_LIMIT = 100


class UnknownChunkError(ControlError):
    """There is no such chunk run."""


class Chunks:
    """The chunk runs of one plane, by chunk id.

    Args:
        changed: called after each change.
        keep: told of each change too, with the record that it leaves.
        rules: in which order they are listed.
    """

    def __init__(
        self, *, changed: Callable[[], None] = lambda: None, keep: Keep = keep_nowhere, rules: Rules = IDEAL
    ) -> None:
        self._changed, self._keep, self._rules = changed, keep, rules
        self._chunks: dict[str, wire.ChunkRun] = {}

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over what a file kept.

        Raises:
            google.protobuf.message.DecodeError: if a record is none.
        """
        self._chunks = {chunk_id: wire.ChunkRun.FromString(record) for chunk_id, record in records.items()}

    def upsert(self, chunk: wire.ChunkRun) -> wire.ChunkRun:
        """Enter a chunk run in place of what stood under its id.

        An attempt that is not set is the first; an id that is empty becomes `run:component:start-end:attempt`.

        Source: `flowctl.ControlPlane/UpsertChunkRun`.
        """
        entered = wire.ChunkRun()
        entered.CopyFrom(chunk)
        entered.attempt = chunk.attempt or 1
        entered.chunk_id = chunk.chunk_id or (
            f"{chunk.pipeline_run_id}:{chunk.component_id}:{chunk.chunk_start}-{chunk.chunk_end}:{entered.attempt}"
        )
        before = self._chunks.get(entered.chunk_id)
        self._chunks[entered.chunk_id] = entered
        if before is None or before.status != entered.status:
            logger.info("chunk %s is %s", entered.chunk_id, wire.ChunkStatus.Name(entered.status))
        self._keep("chunk", entered.chunk_id, entered.SerializeToString)
        self._changed()
        return entered

    def get(self, chunk_id: str) -> wire.ChunkRun:
        """One chunk run.

        Raises:
            UnknownChunkError: if there is no such chunk run.

        Source: `flowctl.ControlPlane/GetChunkRun`.
        """
        try:
            return self._chunks[chunk_id]
        except KeyError:
            raise UnknownChunkError(f"chunk run not found: {chunk_id}") from None

    def latest(
        self,
        *,
        pipeline_run_id: str = "",
        component_id: str = "",
        status: wire.ChunkStatus.ValueType = wire.ChunkStatus.CHUNK_STATUS_UNKNOWN,
        limit: int | None = DEFAULT_LIMIT,
    ) -> list[wire.ChunkRun]:
        """The chunk runs whose ids came last, newest first; only those that fit what is not empty or UNKNOWN.

        Args:
            limit: how many at most; None for all.

        Source: `flowctl.ControlPlane/ListChunkRuns`.
        """
        fitting = (
            chunk
            for chunk in self._rules.in_order(self._chunks)
            if pipeline_run_id in ("", chunk.pipeline_run_id)
            and component_id in ("", chunk.component_id)
            and status in (wire.ChunkStatus.CHUNK_STATUS_UNKNOWN, chunk.status)
        )
        return list(islice(fitting, limit))
