"""Ledgers in, token transfers out: one batch of rows for each batch of ledgers, in the same order."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from anyio import CapacityLimiter, to_thread

from flowctl_aio import EventBatch, LedgerBatch, Processor, RawLedger
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.transfers import (
    KINDS,
    LedgerTransfers,
    Mode,
    Row,
    TransferFilter,
    rows_to_batch,
    token_transfers,
)
from flowctl_aio.errors import ConfigError, LedgerDecodeError, SchemaMismatchError
from flowctl_aio.service import STELLAR_LEDGER_EVENT_TYPE, TTP_EVENT_TYPE, build_ttp_processor_metadata

from .found import Counts, Found
from .quarantine import Quarantine

OnBadLedger = Literal["stop", "quarantine"]

_log = logging.getLogger(__name__)


class TtpArrowProcessor(Processor):
    """Reads the token transfers out of ledgers.

    Args:
        network: name or passphrase of the ledgers' network: contract ids and transaction hashes depend on it.
        mode: `unified` reads the events that stellar-core wrote, `derived` works them out from operations
            and results. Which of the two a ledger allows is something its owner knows.
        filter: which transfers are wanted; all by default.
        on_bad_ledger: what a ledger that cannot be read does: `stop` the stream, or go into `quarantine` as it came,
            and the stream goes on without its transfers. A ledger that says it is of another network always stops it.
        quarantine: the folder for such ledgers.
        check_balances: whether a ledger is also one that cannot be read if the transfers of a transaction do not add up
            to the changes of its ledger entries.
        processes: worker processes that parse; 0 for a thread of this one, beside its loop.

    Raises:
        ConfigError: if the network is unknown, or the policy and the folder do not fit each other.

    Source: SEP-41, CAP-67.
    """

    inputs = (STELLAR_LEDGER_EVENT_TYPE,)
    outputs = (TTP_EVENT_TYPE,)
    name = "ttp-arrow-processor"
    description = "Token transfers out of Stellar ledgers"

    def __init__(
        self,
        network: str,
        *,
        mode: Mode = "derived",
        filter: TransferFilter | None = None,  # noqa: A002 - what a user expects to write
        on_bad_ledger: OnBadLedger = "stop",
        quarantine: str | Path | None = None,
        check_balances: bool = False,
        processes: int = 0,
        component_id: str = "ttp-arrow-processor",
    ) -> None:
        if on_bad_ledger not in get_args(OnBadLedger):
            raise ConfigError(f"on_bad_ledger is stop or quarantine, not {on_bad_ledger!r}")
        if (on_bad_ledger == "quarantine") is not (quarantine is not None):
            raise ConfigError("on_bad_ledger is quarantine where a quarantine folder is given, and only there")
        self.component_id = component_id
        self.processes = processes
        self.passphrase = passphrase_of(network)
        self.mode: Mode = mode
        self.check_balances = check_balances
        self.filter = TransferFilter() if filter is None else filter
        self.quarantine = None if quarantine is None else Quarantine(quarantine)
        self.metadata = build_ttp_processor_metadata(self.passphrase, self.filter.kinds or KINDS, {"mode": mode})
        self._born = time.monotonic()
        self._limiter = CapacityLimiter(1)  # parsing holds the GIL: a second thread would only wait
        self._counts = Counts()
        self._batches = self._quarantined = 0

    async def process(self, batch: LedgerBatch | EventBatch) -> EventBatch:
        """The transfers of a batch's ledgers. A batch without any has no rows, and still tells how far it comes.

        Raises:
            SchemaMismatchError: if the batch holds something else than ledgers.
            LedgerDecodeError: if a ledger is of another network, or cannot be read and has no quarantine to go to.

        Cancellation: the ledgers under way are parsed to their end in their thread, and dropped.
        """
        # Parsing is work of milliseconds a ledger: in a thread, the loop and its heartbeats stay awake.
        return await self.worked(batch, await to_thread.run_sync(self.work, batch, limiter=self._limiter))

    def metrics(self) -> Mapping[str, float]:
        uptime, counts = time.monotonic() - self._born, self._counts
        return {
            "ledgers_processed_total": counts.ledgers,
            "transactions_processed_total": counts.transactions,
            "operations_processed_total": counts.operations,
            "events_extracted_total": counts.events,
            "events_processed_total": counts.events,
            "events_filtered_total": counts.filtered,
            "ledgers_quarantined_total": self._quarantined,
            "batches_generated_total": self._batches,
            "last_processed_ledger": counts.last_ledger,
            "events_per_second": counts.events / uptime if uptime else 0.0,
            # Operations that move tokens by rules that are not written yet: anything but 0 means missing rows.
            "uncovered_operations_total": sum(counts.uncovered.values()),
            **{f"uncovered_{name}_total": count for name, count in counts.uncovered.items()},
        }

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets; a limiter belongs to its loop, and none has one."""
        return {**self.__dict__, "_limiter": None}

    def work(self, batch: LedgerBatch | EventBatch) -> Found:
        """What is in a batch's ledgers. Touches nothing of the processor: it may be a worker's copy.

        Raises:
            SchemaMismatchError: if the batch holds something else than ledgers.
            LedgerDecodeError: if a ledger is of another network, or cannot be read and there is no quarantine.
        """
        if not isinstance(batch, LedgerBatch):
            raise SchemaMismatchError(expected="raw_ledger@1", found=batch.schema_name or "events")
        rows: list[Row] = []
        counts, bad = Counts(), []
        for number, ledger in enumerate(batch):
            if ledger.network and passphrase_of(ledger.network) != self.passphrase:
                raise LedgerDecodeError(
                    f"it is of {ledger.network!r}, and the processor reads {self.passphrase!r}", ledger=ledger.sequence
                )
            try:
                transfers = self._read(ledger)
            except LedgerDecodeError as error:
                if self.quarantine is None:
                    raise
                bad.append((number, error))
                continue
            counts.note(transfers)
            rows.extend(transfers.rows)
        found = rows_to_batch(rows)
        wanted = self.filter.apply(found)
        counts.filtered = found.num_rows - wanted.num_rows
        events = EventBatch(
            wanted, event_type=TTP_EVENT_TYPE, first_cursor=batch.first_cursor, last_cursor=batch.last_cursor
        )
        return Found(events, counts, bad)

    async def worked(self, batch: LedgerBatch | EventBatch, answer: Found) -> EventBatch:
        """The transfers, once they are counted, and the ledgers that could not be read are in quarantine.

        Raises:
            LedgerDecodeError: if there is no room in it.

        Cancellation: a ledger under way is still kept.
        """
        if answer.bad:
            await to_thread.run_sync(self._keep, batch, answer.bad, limiter=self._limiter)
        self._counts.add(answer.counts)
        self._batches += 1
        return answer.events

    def _keep(self, batch: LedgerBatch | EventBatch, bad: Sequence[tuple[int, LedgerDecodeError]]) -> None:
        assert isinstance(batch, LedgerBatch)
        assert self.quarantine is not None
        for number, error in bad:
            (ledger,) = batch.slice(number, 1)
            path = self.quarantine.keep(ledger.sequence, ledger.xdr, error)
            self._quarantined += 1
            _log.warning("%s; it is kept as %s, and its transfers are missing", error, path)

    def _read(self, ledger: RawLedger) -> LedgerTransfers:
        transfers = token_transfers(
            ledger.xdr, passphrase=self.passphrase, mode=self.mode, check_balances=self.check_balances
        )
        if transfers.ledger != ledger.sequence:
            raise LedgerDecodeError(f"its header says that it is ledger {transfers.ledger}", ledger=ledger.sequence)
        return transfers
