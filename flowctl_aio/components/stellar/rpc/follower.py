"""Reading a range off a Stellar RPC server: in pages, strictly in ledger order, and on along the tip.

One task asks, and keeps one page ready while the reader works on another. It goes on only from a ledger that came
whole and right, so whatever fails is asked for again and nothing is left out.

Source: Stellar RPC API reference, `getLedgers`; sequence and hash rules from the ledger header itself.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from dataclasses import dataclass

import anyio

from flowctl_aio.components.stellar.lake.objects import StoredLedger
from flowctl_aio.components.stellar.lake.store import PassingError
from flowctl_aio.components.stellar.rpc.answers import RefusedError
from flowctl_aio.components.stellar.rpc.client import RpcClient
from flowctl_aio.components.stellar.rpc.patience import ask_patiently
from flowctl_aio.errors import FrameTooLargeError, LedgerGoneError, UsageError

logger = logging.getLogger(__name__)

# A ledger closes every five to six seconds; a server that has none for so long has lost its network.
_STALE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """How a range is read.

    Attributes:
        page_ledgers: asked for at once; fewer where an answer would be above its limit, or the server wants it.
        retries: attempts after a first one that failed, for each ledger.
        retry_interval: seconds before the second attempt, doubled for each one after it up to a minute, jittered.
        poll_interval: seconds between two looks for a ledger that has not closed yet.
    """

    page_ledgers: int = 10
    retries: int = 5
    retry_interval: float = 1.0
    poll_interval: float = 1.5


class RpcLedgerStream:
    """The ledgers of one range, in order, as an async iterator.

    Made by `RpcServer.open_ledgers`; works as long as that context is open. Iterate in one task at a time.
    Once it has failed it fails again in the same way, so that a second loop does not look like a clean end.
    """

    def __init__(self, client: RpcClient, first: int, last: int | None, *, options: FollowOptions) -> None:
        self._client, self._next, self._last, self._options = client, first, last, options
        self._limit = options.page_ledgers
        self._latest: int | None = None
        self._previous: StoredLedger | None = None
        self._failure: Exception | None = None
        self._progress_at = time.monotonic()
        self._send, self._receive = anyio.create_memory_object_stream[list[StoredLedger]]()
        self._ready: deque[StoredLedger] = deque()

    def __aiter__(self) -> RpcLedgerStream:
        return self

    async def __anext__(self) -> StoredLedger:
        """The next ledger.

        Raises:
            LedgerGoneError: if the server has let go of it.
            FrameTooLargeError: if it alone makes an answer that is above the limit.
            RpcError: if the server refuses, or fails once too often.

        Cancellation: loses nothing; the next call gives the same ledger.
        """
        if not self._ready:
            try:
                self._ready.extend(await self._receive.receive())
            except anyio.EndOfStream:
                if self._failure is not None:
                    raise self._failure from None
                raise StopAsyncIteration from None
            except anyio.ClosedResourceError:
                raise UsageError("these ledgers were closed") from None
        return self._ready.popleft()

    async def run(self) -> None:
        """Asks for page after page, until the range ends or something fails.

        Cancellation: ends the call under way.
        """
        with self._send:
            try:
                while self._last is None or self._next <= self._last:
                    ledgers = await ask_patiently(
                        self._step,
                        what=f"{self._client.where}: ledger {self._next}",
                        retries=self._options.retries,
                        interval=self._options.retry_interval,
                    )
                    if ledgers:
                        self._previous = ledgers[-1]
                        self._next = self._previous.sequence + 1
                        self._progress_at = time.monotonic()
                        await self._send.send(ledgers)
            except Exception as error:  # noqa: BLE001 - whoever reaches this place gets it, after all that lies before
                self._failure = error

    def close_nowait(self) -> None:
        """Lets go of what waits."""
        self._receive.close()
        self._ready.clear()

    async def _step(self) -> list[StoredLedger]:
        """Asks once for what is next, or once whether it is there; empty where another step is needed."""
        if self._latest is not None and self._latest < self._next:
            await self._pause()
            self._latest = (await self._client.get_window()).latest
            return []
        limit = self._limit if self._last is None else min(self._limit, self._last - self._next + 1)
        try:
            page = await self._client.get_page(self._next, limit, self._previous)
        except FrameTooLargeError as error:
            if limit == 1:
                what = f"ledger {self._next} in an answer of {self._client.where}"
                raise FrameTooLargeError(what, size=error.size, limit=error.limit) from error
            self._limit = limit // 2
            return []
        except RefusedError as refusal:
            await self._explain(refusal)
            return []
        if not page.ledgers and page.fault is None and page.latest >= self._next:
            raise PassingError(f"it has ledgers up to {page.latest}, and gives none")
        if not page.ledgers and page.fault is not None:
            raise PassingError(page.fault)
        self._latest = page.latest if page.fault is None else None
        return page.ledgers

    async def _explain(self, refusal: RefusedError) -> None:
        """Finds out why a page was refused; returns if waiting for it, or asking for less, may help.

        Raises:
            LedgerGoneError: if the ledger is older than what the server holds.
            PassingError: if none of this is the reason.
        """
        # Only a refusal tells that a ledger is gone: a server with a lake behind it gives older ones than it says.
        window = await self._client.get_window()
        if self._next < window.oldest:
            raise LedgerGoneError(self._next, self._client.where, oldest=window.oldest) from refusal
        if self._next > window.latest:
            self._latest = window.latest
        elif self._limit > 1 and "limit" in refusal.words.lower():
            # Nothing but the words tells it from a server behind a balancer that is a ledger behind the others.
            self._limit //= 2
        else:
            raise refusal

    async def _pause(self) -> None:
        idle = time.monotonic() - self._progress_at
        if idle > _STALE:
            self._progress_at += _STALE
            logger.warning("%s has had no ledger %d for %.0f s", self._client.where, self._next, idle)
        await anyio.sleep(self._options.poll_interval * random.uniform(0.9, 1.1))
