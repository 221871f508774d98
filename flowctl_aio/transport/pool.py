"""The connections of a session to its peers: shared between clients, more of them where there are many streams.

Choosing one and keeping the books is without an await, so nobody waits for a lock, and no dialling holds up another:
gRPC dials when the first call comes. The one loop, `keep`, looks at states and closes what is not needed, and calls
nobody.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from flowctl_aio.errors import DeadlineExceededError, PeerUnavailableError, UsageError
from flowctl_aio.transport.channel import Channel, Connection
from flowctl_aio.transport.local import LocalServer
from flowctl_aio.transport.security.tokens import Shown
from flowctl_aio.transport.trunk import PoolRules, PoolStats, Strand, Trunk

# Endpoints to which connections are kept; past it those go that were not used for the longest time.
MAX_ENDPOINTS = 64


def nobody_near(endpoint: str) -> LocalServer | None:
    """Where every call needs a connection."""
    return None


class ConnectionPool:
    """Connections by endpoint.

    Args:
        dial: makes a connection to an endpoint, without waiting for it.
        rules: how many, and for how long.
        near: the server of this loop at an endpoint, if there is one that can be called without a connection; it is
            asked before each call.
        max_endpoints: how many endpoints are kept that nobody uses.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        dial: Callable[[str], Connection],
        rules: PoolRules | None = None,
        *,
        near: Callable[[str], LocalServer | None] = nobody_near,
        max_endpoints: int = MAX_ENDPOINTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules or PoolRules()
        self.clock, self.near = clock, near
        self._dial, self._max_endpoints = dial, max_endpoints
        self._trunks: OrderedDict[str, Trunk] = OrderedDict()  # used last stands last
        self._left: list[Trunk] = []
        self._quiet = anyio.Event()
        self.is_closed = False

    def __repr__(self) -> str:
        total = sum(one.total for one in self.stats().values())
        return f"<ConnectionPool {total} connections to {len(self._trunks)} endpoints>"

    def lease(self, endpoint: str) -> Lease:
        """A share in the connections to an endpoint. Close it; while there is one, the endpoint is not given up.

        Raises:
            UsageError: if the pool is closed.
        """
        if self.is_closed:
            raise UsageError("the connections of this session are closed")
        trunk = self._trunks.setdefault(endpoint, Trunk(endpoint, self._dial, self.rules))
        self._trunks.move_to_end(endpoint)
        trunk.leases += 1
        self._give_up()
        return Lease(self, trunk)

    @asynccontextmanager
    async def borrow(self, endpoint: str) -> AsyncIterator[Lease]:
        """The same for a block.

        Cancellation: passes through.
        """
        lease = self.lease(endpoint)
        try:
            yield lease
        finally:
            lease.close()

    def in_use(self, endpoint: str) -> int:
        """How much this session has open there: clients and calls."""
        trunk = self._trunks.get(endpoint)
        return 0 if trunk is None else trunk.leases + trunk.calls

    def stats(self) -> Mapping[str, PoolStats]:
        """What there is, by endpoint."""
        now = self.clock()
        return {endpoint: trunk.stats(now) for endpoint, trunk in self._trunks.items()}

    async def keep(self) -> None:
        """Look at all connections again and again, and close what is not needed; never returns.

        Cancellation: its only end.
        """
        while True:
            await anyio.sleep(min(self.rules.check_interval, self.rules.idle_timeout))
            await self.tidy()

    async def tidy(self) -> None:
        """Close what nobody needs, now.

        Cancellation: closes all the same.
        """
        for trunk in self._trunks.values():
            trunk.tidy(self.clock())
        await self.sweep()

    async def aclose(self, limit: float = 0.0) -> None:
        """Lease no more, wait up to `limit` seconds until all calls are over, and close. May be called twice.

        Cancellation: closes at once.
        """
        self.is_closed = True
        try:
            with anyio.move_on_after(limit):
                while any(trunk.calls for trunk in (*self._trunks.values(), *self._left)):
                    self._quiet = anyio.Event()
                    await self._quiet.wait()
        finally:
            left = [connection for trunk in (*self._trunks.values(), *self._left) for connection in trunk.close()]
            self._trunks.clear()
            self._left.clear()
            await _close(left)

    async def sweep(self) -> None:
        """Close what was given up, as soon as its last call is over.

        Cancellation: closes all the same.
        """
        self._quiet.set()
        trunks = (*self._trunks.values(), *self._left)
        over = [connection for trunk in trunks for connection in trunk.closable()]
        gone = [trunk for trunk in self._left if trunk.leases == trunk.calls == 0]
        self._left = [trunk for trunk in self._left if trunk not in gone]
        await _close([*over, *(connection for trunk in gone for connection in trunk.close())])

    def _give_up(self) -> None:
        """Past the bound, let go of endpoints that nobody uses, the oldest first; the next sweep closes them."""
        for endpoint, trunk in list(self._trunks.items()):
            if len(self._trunks) <= self._max_endpoints:
                return
            if trunk.leases == trunk.calls == 0:
                self._left.append(self._trunks.pop(endpoint))


class Lease(Channel):
    """The connections to one endpoint, as one way to it; made by `ConnectionPool.lease`.

    Each call takes a connection of its own choice, and is counted on it until it is over.
    """

    def __init__(self, pool: ConnectionPool, trunk: Trunk) -> None:
        self.peer = trunk.endpoint
        self._pool, self._trunk = pool, trunk
        self._latest: Connection | None = None
        self._is_closed = False
        self.is_tls = False

    def __repr__(self) -> str:
        return f"<Lease of {self._trunk.stats(self._pool.clock()).total} connections to {self.peer}>"

    @property
    def is_up(self) -> bool:
        """Whether somebody is known to be at the other end."""
        return self._pool.near(self.peer) is not None or self._trunk.is_up

    def shown(self) -> Shown:
        return self._latest.shown() if self._latest is not None else ()

    @asynccontextmanager
    async def line(self, *, is_stream: bool = False) -> AsyncIterator[Any]:
        pool, trunk = self._pool, self._trunk
        if self._is_closed or pool.is_closed:
            raise UsageError(f"the channel to {self.peer} is closed")
        if (server := pool.near(self.peer)) is not None:
            async with self._near():
                yield server
            return
        began = pool.clock()
        strand = trunk.take(began)
        self._latest, self.is_tls = strand.connection, strand.connection.is_tls
        try:
            async with strand.connection.line() as raw:
                yield raw
            self._note_end(strand)
        except PeerUnavailableError:
            trunk.note_failure(pool.clock())
            raise
        except DeadlineExceededError:
            trunk.note_silence(began, pool.clock())
            raise
        finally:
            trunk.give_back(strand, pool.clock())
            await pool.sweep()

    @asynccontextmanager
    async def _near(self) -> AsyncIterator[None]:
        # Nothing is shown there: such a server asks for nothing.
        self._latest, self.is_tls = None, False
        self._trunk.near += 1
        try:
            yield
        finally:
            self._trunk.near -= 1
            await self._pool.sweep()

    def close(self) -> None:
        """Give the share back. Calls under way go on; new ones are refused. May be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._trunk.leases -= 1

    def _note_end(self, strand: Strand) -> None:
        # A stream ends without a word here also when it failed, but then its connection is down.
        if strand.connection.is_up:
            self._trunk.note_answer(strand, self._pool.clock())


async def _close(connections: list[Connection]) -> None:
    for connection in connections:
        await connection.aclose()
