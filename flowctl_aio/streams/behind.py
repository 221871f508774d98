"""A batch and a cursor → what of the batch lies behind the cursor. No I/O."""

from __future__ import annotations

from typing import Any

from flowctl_aio.batches import Batch, EventBatch, LedgerBatch
from flowctl_aio.types import Cursor


def rows_behind(batch: Batch, cursor: Cursor | None) -> Batch | None:
    """The rows of `batch` that lie behind `cursor`, in their order; None if all of it lies at or before.

    A ledger is whole: with any index, `cursor` stands for all of it. Generic events are told apart by their own
    cursors, and those without one stay. Other rows have none, so that only the whole batch can be dropped.
    """
    if cursor is None:
        return batch
    if isinstance(batch, LedgerBatch):
        cursor = Cursor(cursor.sequence)
    elif not batch.is_generic or not len(batch):
        return None if batch.last_cursor is not None and batch.last_cursor <= cursor else batch
    if batch.first_cursor is not None and batch.first_cursor > cursor:
        return batch
    kept = batch.record_batch.filter(_is_behind(batch, cursor))
    if not kept.num_rows:
        return None
    found = LedgerBatch(kept) if isinstance(batch, LedgerBatch) else EventBatch(kept, event_type=batch.event_type)
    found.trace = batch.trace
    return found


def _is_behind(batch: Batch, cursor: Cursor) -> Any:
    import pyarrow.compute as pc

    columns = batch.record_batch
    if isinstance(batch, LedgerBatch):
        return pc.greater(columns.column("sequence"), cursor.sequence)
    sequence, index = columns.column("cursor_sequence"), pc.fill_null(columns.column("cursor_index"), 0)
    later = pc.or_(
        pc.greater(sequence, cursor.sequence),
        pc.and_(pc.equal(sequence, cursor.sequence), pc.greater(index, cursor.index)),
    )
    return pc.fill_null(later, fill_value=True)
