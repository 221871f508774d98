"""Ledgers of a supply, as batches."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Literal

from flowctl_aio import LedgerBatch, RawLedger, Source, StreamRequest
from flowctl_aio.components.stellar.lake import StoredLedger
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar_arrow_source.supply import Supply, find_latest
from flowctl_aio.errors import ConfigError
from flowctl_aio.service import STELLAR_LEDGER_EVENT_TYPE, build_stellar_source_metadata


class StellarArrowSource(Source):
    """Streams the ledgers of a supply in order, to any number of clients.

    Args:
        supply: where the ledgers come from.
        batch_ledgers, batch_bytes: a batch is full at so many ledgers or bytes of XDR, whichever comes first.
        first, last: the ledgers, both included, for a client that leaves it to the source where to start;
            "latest" is the latest ledger when the client comes. Without a first one the supply says where (a server:
            at its latest ledger) or such a client is refused, without a last one there is no end.
    """

    outputs = (STELLAR_LEDGER_EVENT_TYPE,)
    name = "stellar-arrow-source"
    description = "Stellar ledgers as Arrow batches of raw XDR"

    def __init__(
        self,
        supply: Supply,
        *,
        component_id: str = "stellar-arrow-source",
        batch_ledgers: int = 64,
        batch_bytes: int = 1024 * 1024,
        first: int | Literal["latest"] | None = None,
        last: int | None = None,
    ) -> None:
        if batch_ledgers < 1 or batch_bytes < 1:
            raise ConfigError(f"a batch of {batch_ledgers} ledgers and {batch_bytes} bytes holds nothing")
        self.component_id = component_id
        self.metadata = build_stellar_source_metadata(supply.passphrase, supply.kind, supply.kind)
        self._supply = supply
        self._batch_ledgers, self._batch_bytes = batch_ledgers, batch_bytes
        self._first, self._last = first, last
        self._born = time.monotonic()
        self._ledgers = self._current = 0
        self._last_at: float | None = None

    async def stream(self, request: StreamRequest) -> AsyncIterator[LedgerBatch]:
        """The ledgers of the request's range, or of the source's own if the request has no start.

        Raises:
            ConfigError: if neither has a start, the request ends before it, or asks for another network.
            MissingLedgerError, LakeError, RpcError, CodecError: as the supply does.

        Cancellation: ends the reading; nothing is left behind.
        """
        start, end = await self._range(request)
        if request.network and passphrase_of(request.network) != self._supply.passphrase:
            raise ConfigError(
                f"{self._supply.where} holds ledgers of {self._supply.passphrase!r}, not {request.network!r}"
            )
        async with (
            self._supply.open_ledgers(start, end) as ledgers,
            aclosing(self._batched(ledgers)) as batches,
        ):
            async for batch in batches:
                yield batch

    def metrics(self) -> Mapping[str, float]:
        uptime = time.monotonic() - self._born
        idle = {} if self._last_at is None else {"seconds_since_last_processed": time.monotonic() - self._last_at}
        return {
            "ledgers_processed_total": self._ledgers,
            "current_ledger": self._current,
            "bytes_read_total": self._supply.bytes_read,
            "ledgers_per_second": self._ledgers / uptime if uptime else 0.0,
            **idle,
        }

    async def _range(self, request: StreamRequest) -> tuple[int, int | None]:
        if request.start is not None:
            return request.start, request.end
        if self._first == "latest":
            first: int | None = await find_latest(self._supply)
        else:
            first = await self._supply.find_start() if self._first is None else self._first
        if first is None:
            raise ConfigError(f"{self.component_id} needs a start_ledger")
        end = self._last if request.end is None else request.end
        if end is not None and end < first:
            raise ConfigError(f"{self.component_id} starts at ledger {first}, behind the end that was asked for")
        return first, end

    async def _batched(self, ledgers: AsyncIterable[StoredLedger]) -> AsyncGenerator[LedgerBatch, None]:
        waiting: list[RawLedger] = []
        size = 0
        async for ledger in ledgers:
            waiting.append(self._raw(ledger))
            size += len(ledger.xdr)
            if len(waiting) >= self._batch_ledgers or size >= self._batch_bytes:
                yield self._batch(waiting)
                waiting, size = [], 0
        if waiting:
            yield self._batch(waiting)

    def _raw(self, ledger: StoredLedger) -> RawLedger:
        return RawLedger(
            sequence=ledger.sequence,
            xdr=ledger.xdr,
            closed_at=datetime.fromtimestamp(ledger.closed_at, UTC),
            network=self._supply.passphrase,
        )

    def _batch(self, ledgers: list[RawLedger]) -> LedgerBatch:
        self._ledgers += len(ledgers)
        self._current = ledgers[-1].sequence
        self._last_at = time.monotonic()
        return LedgerBatch.from_ledgers(ledgers)
