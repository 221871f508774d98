"""Cut batches down to a size that fits into a message."""

from __future__ import annotations

from collections.abc import Iterator

from flowctl_aio.batches import Batch
from flowctl_aio.errors import FrameTooLargeError


def split(batch: Batch, *, target: int, limit: int) -> Iterator[Batch]:
    """Slices of `batch`, in order and without a copy, each at most `target` bytes where one row is not more.

    Raises:
        FrameTooLargeError: if a single row is above `limit` bytes; it names the row.
    """
    # The size of a batch's own rows takes thirty times as long to find as that of all its buffers, which is no less.
    if batch.record_batch.get_total_buffer_size() <= target or batch.nbytes <= target:
        yield batch
        return
    if len(batch) <= 1:
        if batch.nbytes > limit:
            where = f" at {batch.first_cursor}" if batch.first_cursor is not None else ""
            raise FrameTooLargeError(f"one row{where}", size=batch.nbytes, limit=limit)
        yield batch
        return
    half = len(batch) // 2
    yield from split(batch.slice(0, half), target=target, limit=limit)
    yield from split(batch.slice(half), target=target, limit=limit)
