"""Ledgers in, token transfers out: one batch of rows for each batch of ledgers, in the same order."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from anyio import CapacityLimiter, to_thread

from flowctl_aio import EventBatch, LedgerBatch, Processor
from flowctl_aio.batches import Batch
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.transfers import KINDS, Mode, TransferFilter
from flowctl_aio.errors import ConfigError, LedgerDecodeError
from flowctl_aio.service import STELLAR_LEDGER_EVENT_TYPE, TTP_EVENT_TYPE, build_ttp_processor_metadata

from .quarantine import Quarantine
from .reading import Read, Reading

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
        processes: worker processes that read, each one batch at a time; 0 reads in a thread of this one.

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
        self.passphrase = passphrase_of(network)
        self.processes = processes
        self.reading = Reading(
            passphrase=self.passphrase,
            mode=mode,
            filter=TransferFilter() if filter is None else filter,
            check_balances=check_balances,
            tolerant=quarantine is not None,
        )
        self.quarantine = None if quarantine is None else Quarantine(quarantine)
        self.metadata = build_ttp_processor_metadata(
            self.passphrase, self.reading.filter.kinds or KINDS, {"mode": mode}
        )
        self._born = time.monotonic()
        self._limiter = CapacityLimiter(1)  # parsing holds the GIL: a second thread would only wait
        self._ledgers = self._transactions = self._operations = self._events = self._batches = self._current = 0
        self._filtered = self._quarantined = 0
        self._uncovered: Counter[str] = Counter()

    def work(self, batch: Batch) -> Read:
        """What `reading` makes of a batch."""
        return self.reading(batch)

    def __getstate__(self) -> dict[str, Any]:
        """What worker processes get of the processor: all that `work` needs, and nothing that counts or writes."""
        return {"reading": self.reading}

    async def process(self, batch: Batch) -> EventBatch:
        """The transfers of a batch's ledgers. A batch without any has no rows, and still tells how far it comes.

        Raises:
            SchemaMismatchError: if the batch holds something else than ledgers.
            LedgerDecodeError: if a ledger is of another network, or cannot be read and has no quarantine to go to.

        Cancellation: the ledgers under way are parsed to their end in their thread, and dropped.
        """
        # Parsing is work of milliseconds a ledger: in a thread, the loop and its heartbeats stay awake.
        return await self.worked(batch, await to_thread.run_sync(self.work, batch, limiter=self._limiter))

    async def worked(self, batch: Batch, answer: Read) -> EventBatch:
        """Counts what was read, and puts bad ledgers into quarantine, here, where nobody else writes into it.

        Raises:
            LedgerDecodeError: if the quarantine has no room for one.

        Cancellation: a ledger that is on its way into the quarantine gets there.
        """
        if answer.bad:
            await to_thread.run_sync(self._keep, batch, answer.bad, limiter=self._limiter)
        self._count(answer)
        assert answer.batch is not None
        return answer.batch

    def metrics(self) -> Mapping[str, float]:
        uptime = time.monotonic() - self._born
        return {
            "ledgers_processed_total": self._ledgers,
            "transactions_processed_total": self._transactions,
            "operations_processed_total": self._operations,
            "events_extracted_total": self._events,
            "events_processed_total": self._events,
            "events_filtered_total": self._filtered,
            "ledgers_quarantined_total": self._quarantined,
            "batches_generated_total": self._batches,
            "last_processed_ledger": self._current,
            "events_per_second": self._events / uptime if uptime else 0.0,
            # Operations that move tokens by rules that are not written yet: anything but 0 means missing rows.
            "uncovered_operations_total": sum(self._uncovered.values()),
            **{f"uncovered_{name}_total": count for name, count in self._uncovered.items()},
        }

    def _keep(self, batch: Batch, bad: list[tuple[int, LedgerDecodeError]]) -> None:
        assert isinstance(batch, LedgerBatch)
        for row, error in bad:
            if self.quarantine is None:
                raise error
            (ledger,) = batch.slice(row, 1)
            path = self.quarantine.keep(ledger.sequence, ledger.xdr, error)
            self._quarantined += 1
            _log.warning("%s; it is kept as %s, and its transfers are missing", error, path)

    def _count(self, read: Read) -> None:
        self._batches += 1
        self._ledgers += read.ledgers
        self._transactions += read.transactions
        self._operations += read.operations
        self._events += read.events
        self._filtered += read.filtered
        self._current = read.current or self._current
        self._uncovered.update(read.uncovered)
