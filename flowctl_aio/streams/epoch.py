"""When an epoch ends: after so many batches, bytes or seconds, and never inside a ledger. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass

from flowctl_aio.batches import Batch, LedgerBatch
from flowctl_aio.errors import ConfigError
from flowctl_aio.types import Cursor

EPOCH_BATCHES = 64
EPOCH_BYTES = 64 * 1024 * 1024
EPOCH_INTERVAL = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochLimits:
    """What ends an epoch without a `flush`, whichever comes first; None for no such limit.

    Attributes:
        batches, bytes: so many, the last batch included.
        interval: seconds since the first batch.
        whole_ledgers: never take silence for the end of a ledger; see `EpochTally.due_at`.

    Raises:
        ConfigError: if a limit is no number above 0.
    """

    batches: int | None = EPOCH_BATCHES
    bytes: int | None = EPOCH_BYTES
    interval: float | None = EPOCH_INTERVAL
    whole_ledgers: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"epoch_{name} must be above 0, or None for no limit, not {value!r}"
            for name in ("batches", "bytes", "interval")
            if (value := getattr(self, name)) is not None and not (isinstance(value, int | float) and value > 0)
        ]
        if problems:
            raise ConfigError(*problems)


@dataclass(slots=True)
class EpochTally:
    """What an epoch holds so far, and whether it may end there.

    Attributes:
        began: when it was opened; `touched` is when its last batch came.
        first, last: the part of the ledger stream that it covers, both included.
        is_whole: whether its last batch is: one that is too large for one message comes in parts, of which
            only the last one says how far the whole went.
        is_between: whether it certainly ends between two ledgers. A batch of ledgers does; of events more
            may come for the ledger of the last one.
    """

    began: float
    touched: float = 0.0
    batches: int = 0
    rows: int = 0
    bytes: int = 0
    first: Cursor | None = None
    last: Cursor | None = None
    is_whole: bool = True
    is_between: bool = True

    def note(self, batch: Batch, now: float, *, size: int | None = None) -> None:
        """Count a batch that was taken, of `size` bytes if that is known already."""
        self.touched = now
        self.batches += 1
        self.rows += len(batch)
        self.bytes += batch.nbytes if size is None else size
        self.first = self.first or batch.first_cursor
        self.last = batch.last_cursor or self.last
        self.is_whole = batch.last_cursor is not None or batch.first_cursor is None
        self.is_between = self.is_whole and (isinstance(batch, LedgerBatch) or batch.last_cursor is None)

    def is_full(self, limits: EpochLimits) -> bool:
        """Whether it has as many batches or bytes as it shall have."""
        return (limits.batches is not None and self.batches >= limits.batches) or (
            limits.bytes is not None and self.bytes >= limits.bytes
        )

    def is_due(self, limits: EpochLimits, now: float) -> bool:
        """Whether it shall end as soon as it may."""
        is_late = limits.interval is not None and now - self.began >= limits.interval
        return self.batches > 0 and (is_late or self.is_full(limits))

    def ends_before(self, batch: Batch) -> bool:
        """Whether all that was taken is whole, and `batch` belongs to later ledgers only.

        A sink that replaces what it has of a ledger must get all of it in one epoch.
        """
        if batch.first_cursor is None or self.last is None:
            return self.is_whole
        return self.is_whole and batch.first_cursor.sequence > self.last.sequence

    def due_at(self, limits: EpochLimits) -> float | None:
        """When it shall end if no further batch comes; None if it may not end without one.

        Nothing tells that the last event of a ledger was the last. One interval without a batch is taken for
        it, unless the limits forbid that.
        """
        if limits.interval is None or not (self.batches and self.is_whole):
            return None
        if self.is_between:
            return self.began + limits.interval
        return None if limits.whole_ledgers else self.touched + limits.interval
