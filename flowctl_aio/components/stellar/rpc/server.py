"""A Stellar RPC server as a place of ledgers: find out its network, read a range of what it holds.

Takes a URL and the user's settings, gives ledgers as the server has them. It knows nothing of what is in a ledger
beyond its header, and nothing of batches or pipelines.

Source: Stellar RPC API reference.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio

from flowctl_aio.components.stellar.lake.keys import LAST_LEDGER
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.rpc.address import shown
from flowctl_aio.components.stellar.rpc.client import MAX_RESPONSE_BYTES, RpcClient, open_client
from flowctl_aio.components.stellar.rpc.follower import FollowOptions, RpcLedgerStream
from flowctl_aio.components.stellar.rpc.patience import ask_patiently
from flowctl_aio.errors import ConfigError


class RpcServer:
    """A server whose network is known. Holds no connection: there is nothing to close.

    Attributes:
        where: what may be shown of its address.
        passphrase: of its network.
        bytes_read: bytes of answers so far, over all ranges, those that had to be read again included.
    """

    def __init__(
        self,
        url: str,
        passphrase: str,
        *,
        options: FollowOptions,
        timeout: float = 30.0,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self.where = shown(url)
        self.passphrase = passphrase
        self.bytes_read = 0
        self._url, self._options = url, options
        self._timeout, self._max_bytes = timeout, max_response_bytes

    def __repr__(self) -> str:
        return f"<RpcServer {self.where}>"

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        network: str | None = None,
        options: FollowOptions | None = None,
        timeout: float = 30.0,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> RpcServer:
        """Asks a server for its network.

        Args:
            url: http or https; a user, a password or a key in it is sent, and never shown.
            network: name or passphrase that it must have.
            options: how ranges are read, and how often a call is tried again.
            timeout: seconds for one call to begin to answer, and between two pieces of its answer.
            max_response_bytes: what one answer may be, unpacked; a page becomes smaller before this is an error.

        Raises:
            ConfigError: if the URL or the network is wrong, or the server's network is another.
            RpcError: if the server cannot be reached, or does not tell.

        Cancellation: gives the request up; nothing is kept.
        """
        options = options or FollowOptions()
        wanted = None if network is None else passphrase_of(network)
        server = cls(url, "", options=options, timeout=timeout, max_response_bytes=max_response_bytes)
        async with server._open_client() as client:
            server.passphrase = await ask_patiently(
                client.get_network,
                what=f"the network of {client.where}",
                retries=options.retries,
                interval=options.retry_interval,
            )
        if wanted is not None and wanted != server.passphrase:
            raise ConfigError(f"{server.where} has the network {server.passphrase!r}, not {wanted!r}")
        return server

    async def find_latest(self) -> int:
        """Asks for the last ledger that the server holds.

        Raises:
            RpcError: if the server cannot be reached, or does not tell.

        Cancellation: gives the request up; nothing is kept.
        """
        async with self._open_client() as client:
            window = await ask_patiently(
                client.get_window,
                what=f"the latest ledger of {client.where}",
                retries=self._options.retries,
                interval=self._options.retry_interval,
            )
        return window.latest

    @asynccontextmanager
    async def open_ledgers(self, first: int, last: int | None = None) -> AsyncIterator[RpcLedgerStream]:
        """Reads a range of ledgers, in order, without gaps.

        One page is asked for ahead of the reader, no more; a reader that is slow stops the asking.

        Args:
            first: the first ledger wanted.
            last: the last ledger wanted, inclusive; None follows the network. A ledger that has not closed yet
                is waited for in either case.

        Yields:
            The ledgers, as an async iterator. Its errors are those of `RpcLedgerStream.__anext__`.

        Raises:
            ConfigError: if the range is wrong.

        Cancellation: leaving the context in any way ends all requests; nothing is left running.
        """
        if not 1 <= first <= LAST_LEDGER or (last is not None and not first <= last <= LAST_LEDGER):
            raise ConfigError(f"a range of ledgers goes from 1 on and does not end before it starts: {first} to {last}")
        failure: Exception | None = None
        async with self._open_client() as client, anyio.create_task_group() as tasks:
            stream = RpcLedgerStream(client, first, last, options=self._options)
            tasks.start_soon(stream.run, name=f"ledgers of {self.where}")
            try:
                yield stream
            except Exception as error:  # noqa: BLE001 - raised below: as itself, not in the task group's group
                failure = error
            finally:
                stream.close_nowait()
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _open_client(self) -> AbstractAsyncContextManager[RpcClient]:
        return open_client(self._url, timeout=self._timeout, max_response_bytes=self._max_bytes, count=self._count)

    def _count(self, size: int) -> None:
        self.bytes_read += size
