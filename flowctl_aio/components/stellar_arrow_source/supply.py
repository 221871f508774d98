"""Where the source gets its ledgers: one interface over a lake, a server, plain files and the synthetic generator."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Protocol

from anyio import CapacityLimiter, to_thread

from flowctl_aio.components.stellar.files import LedgerFiles
from flowctl_aio.components.stellar.lake import Lake, StoredLedger
from flowctl_aio.components.stellar.rpc import RpcServer
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.errors import ConfigError

# Making a ledger takes a thread's trip and a few milliseconds: some at a time keep the trips few.
SYNTHETIC_AHEAD = 4


class Supply(Protocol):
    """Ledgers in order, from somewhere.

    Attributes:
        kind: `lake`, `rpc`, `files` or `synthetic`, for metadata.
        where: a name for messages and metadata.
        passphrase: of the network.
        bytes_read: stored bytes read so far; for the synthetic supply what it has made.
    """

    @property
    def kind(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def passphrase(self) -> str: ...
    @property
    def bytes_read(self) -> int: ...

    def open_ledgers(self, first: int, last: int | None) -> AbstractAsyncContextManager[AsyncIterable[StoredLedger]]:
        """Ledgers `first` to `last`, both included; None goes on as they appear."""
        ...

    async def find_start(self) -> int | None:
        """Where one who names no start begins; None if it must be named."""
        ...

    async def find_latest(self) -> int | None:
        """The latest ledger that is there now; None if there is no such thing."""
        ...


async def find_latest(supply: Supply) -> int:
    """Gives the latest ledger of a supply.

    Raises:
        ConfigError: if none of its ledgers is the latest.
        LakeError, RpcError, CodecError: as the supply does.

    Cancellation: gives the question up; nothing is kept.
    """
    latest = await supply.find_latest()
    if latest is None:
        raise ConfigError(f"{supply.where} has no latest ledger: name the one to start from")
    return latest


class LakeSupply:
    """Ledgers from a SEP-54 data lake."""

    kind = "lake"

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    @property
    def where(self) -> str:
        return self._lake.url

    @property
    def passphrase(self) -> str:
        return self._lake.passphrase

    @property
    def bytes_read(self) -> int:
        return self._lake.bytes_read

    def open_ledgers(self, first: int, last: int | None) -> AbstractAsyncContextManager[AsyncIterable[StoredLedger]]:
        return self._lake.open_ledgers(first, last)

    async def find_start(self) -> int | None:
        """Nowhere: what a lake holds first or last is seldom what is meant."""
        return None

    async def find_latest(self) -> int:
        """The last ledger of the newest object."""
        return await self._lake.find_latest()


class RpcSupply:
    """Ledgers from a Stellar RPC server."""

    kind = "rpc"

    def __init__(self, server: RpcServer) -> None:
        self._server = server

    @property
    def where(self) -> str:
        return self._server.where

    @property
    def passphrase(self) -> str:
        return self._server.passphrase

    @property
    def bytes_read(self) -> int:
        return self._server.bytes_read

    def open_ledgers(self, first: int, last: int | None) -> AbstractAsyncContextManager[AsyncIterable[StoredLedger]]:
        return self._server.open_ledgers(first, last)

    async def find_start(self) -> int | None:
        """The latest ledger that the server holds."""
        return await self._server.find_latest()

    async def find_latest(self) -> int:
        """The same."""
        return await self._server.find_latest()


class FileSupply:
    """Ledgers from plain files, which end where they end."""

    kind = "files"

    def __init__(self, files: LedgerFiles) -> None:
        self._files = files

    @property
    def where(self) -> str:
        return self._files.where

    @property
    def passphrase(self) -> str:
        return self._files.passphrase

    @property
    def bytes_read(self) -> int:
        return self._files.bytes_read

    def open_ledgers(self, first: int, last: int | None) -> AbstractAsyncContextManager[AsyncIterable[StoredLedger]]:
        return self._files.open_ledgers(first, last)

    async def find_start(self) -> int | None:
        """The first ledger in the files."""
        return self._files.first

    async def find_end(self) -> int:
        """The last ledger in the files."""
        return await self._files.find_last()

    async def find_latest(self) -> int:
        """The same."""
        return await self._files.find_last()


class SyntheticSupply:
    """Ledgers made on the spot, always the same for the same seed."""

    kind = "synthetic"
    where = "the synthetic source"

    def __init__(self, ledgers: SyntheticLedgers) -> None:
        self._ledgers = ledgers
        self._limiter = CapacityLimiter(1)
        self.bytes_read = 0

    @property
    def passphrase(self) -> str:
        return self._ledgers.passphrase

    @asynccontextmanager
    async def open_ledgers(self, first: int, last: int | None) -> AsyncIterator[AsyncIterable[StoredLedger]]:
        async with aclosing(self._made(first, last)) as ledgers:
            yield ledgers

    async def find_start(self) -> int | None:
        """Nowhere: it has no first ledger."""
        return None

    async def find_latest(self) -> None:
        """None: there is always one more."""
        return

    async def _made(self, first: int, last: int | None) -> AsyncGenerator[StoredLedger, None]:
        sequence = first
        while last is None or sequence <= last:
            count = SYNTHETIC_AHEAD if last is None else min(SYNTHETIC_AHEAD, last - sequence + 1)
            for ledger in await to_thread.run_sync(self._make, sequence, count, limiter=self._limiter):
                self.bytes_read += len(ledger.xdr)
                yield ledger
            sequence += count

    def _make(self, first: int, count: int) -> list[StoredLedger]:
        return [self._ledgers.ledger(sequence) for sequence in range(first, first + count)]
