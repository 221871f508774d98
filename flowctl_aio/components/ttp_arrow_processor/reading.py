"""A batch of ledgers in, their wanted transfers and what to count out: plain computing, in whichever process.

It pickles, changes nothing and writes nothing: where bad ledgers go, and all counting, is its caller's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from flowctl_aio import EventBatch, LedgerBatch, RawLedger
from flowctl_aio.batches import Batch
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.transfers import (
    LedgerTransfers,
    Mode,
    TransferFilter,
    rows_to_batch,
    token_transfers,
)
from flowctl_aio.errors import LedgerDecodeError, SchemaMismatchError
from flowctl_aio.service import TTP_EVENT_TYPE


@dataclass(slots=True)
class Read:
    """What was read of one batch.

    Attributes:
        batch: the wanted transfers; set at the end.
        bad: each ledger that could not be read, by its row in the batch, and why.
        ledgers, transactions, operations: how many were read.
        events, filtered: how many transfers were found, and how many of them are not wanted.
        current: the last ledger that was read; 0 if none was.
        uncovered: operations without a rule, by name.
    """

    batch: EventBatch | None = None
    bad: list[tuple[int, LedgerDecodeError]] = field(default_factory=list)
    ledgers: int = 0
    transactions: int = 0
    operations: int = 0
    events: int = 0
    filtered: int = 0
    current: int = 0
    uncovered: Counter[str] = field(default_factory=Counter)

    def count(self, transfers: LedgerTransfers) -> None:
        self.ledgers += 1
        self.transactions += transfers.transactions
        self.operations += transfers.operations
        self.events += len(transfers.rows)
        self.current = transfers.ledger
        self.uncovered.update(transfers.uncovered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How ledgers are read; call it with a batch of them.

    Attributes:
        passphrase: of the ledgers' network.
        mode, check_balances: see `token_transfers`.
        filter: which transfers are wanted.
        tolerant: whether a ledger that cannot be read is told in the answer, and does not end the batch.
    """

    passphrase: str
    mode: Mode
    filter: TransferFilter
    check_balances: bool = False
    tolerant: bool = False

    def __call__(self, batch: Batch) -> Read:
        """The transfers of a batch's ledgers.

        Raises:
            SchemaMismatchError: if the batch holds something else than ledgers.
            LedgerDecodeError: if a ledger is of another network, or cannot be read and that is not tolerated.
        """
        if not isinstance(batch, LedgerBatch):
            raise SchemaMismatchError(expected="raw_ledger@1", found=batch.schema_name or "events")
        read, rows = Read(), []
        for row, ledger in enumerate(batch):
            if ledger.network and passphrase_of(ledger.network) != self.passphrase:
                raise LedgerDecodeError(
                    f"it is of {ledger.network!r}, and the processor reads {self.passphrase!r}", ledger=ledger.sequence
                )
            try:
                transfers = self._transfers(ledger)
            except LedgerDecodeError as error:
                if not self.tolerant:
                    raise
                read.bad.append((row, error))
                continue
            read.count(transfers)
            rows.extend(transfers.rows)
        found = rows_to_batch(rows)
        wanted = self.filter.apply(found)
        read.filtered = found.num_rows - wanted.num_rows
        read.batch = EventBatch(
            wanted, event_type=TTP_EVENT_TYPE, first_cursor=batch.first_cursor, last_cursor=batch.last_cursor
        )
        return read

    def _transfers(self, ledger: RawLedger) -> LedgerTransfers:
        transfers = token_transfers(
            ledger.xdr, passphrase=self.passphrase, mode=self.mode, check_balances=self.check_balances
        )
        if transfers.ledger != ledger.sequence:
            raise LedgerDecodeError(f"its header says that it is ledger {transfers.ledger}", ledger=ledger.sequence)
        return transfers
