"""What reading a batch of ledgers gives, in the form in which it comes back from a worker process."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from flowctl_aio import EventBatch
from flowctl_aio.components.stellar.transfers import LedgerTransfers
from flowctl_aio.errors import LedgerDecodeError


@dataclass(slots=True)
class Counts:
    """What has been read.

    Attributes:
        last_ledger: the sequence of the ledger that was read last.
        filtered: events that nobody wanted.
        uncovered: operations that move tokens by a rule that is not written, by name.
    """

    ledgers: int = 0
    transactions: int = 0
    operations: int = 0
    events: int = 0
    filtered: int = 0
    last_ledger: int = 0
    uncovered: Counter[str] = field(default_factory=Counter)

    def note(self, transfers: LedgerTransfers) -> None:
        """Count one ledger."""
        self.ledgers += 1
        self.transactions += transfers.transactions
        self.operations += transfers.operations
        self.events += len(transfers.rows)
        self.last_ledger = transfers.ledger
        self.uncovered.update(transfers.uncovered)

    def add(self, more: Counts) -> None:
        """Count what somebody else has counted."""
        self.ledgers += more.ledgers
        self.transactions += more.transactions
        self.operations += more.operations
        self.events += more.events
        self.filtered += more.filtered
        self.last_ledger = more.last_ledger or self.last_ledger
        self.uncovered.update(more.uncovered)


class Found(NamedTuple):
    """The transfers of a batch, and which of its ledgers, counted from 0, could not be read."""

    events: EventBatch
    counts: Counts
    bad: list[tuple[int, LedgerDecodeError]]
