"""The way of one client to its peer, which may be any of several instances: it moves to another between two calls.

A call that is open stays where it is. Before a new one, a route with a choice makes sure that somebody is there, by
the connection's state, and by a handshake where that is not enough; if not, the next instance has its turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio

from flowctl_aio.errors import ControlError, PeerUnavailableError, StreamError, UsageError
from flowctl_aio.instances import Choice, Instance, Turns
from flowctl_aio.streams.handshake import Offer, Peer, Role, meet
from flowctl_aio.transport.channel import Channel
from flowctl_aio.transport.pool import ConnectionPool, Lease
from flowctl_aio.transport.security.tokens import Shown
from flowctl_aio.types import Dialect

# For so many seconds after a stream of ours a peer may not have noticed yet that it is over.
AFTERMATH, AFTERMATH_PAUSE = 1.0, 0.05


class Route(Channel):
    """A way to one of several instances. `open` it before use, and close it.

    Args:
        find: who would do, at this moment; told whether what was known until now is of no use.
        is_fixed: there is and will be one address only, so there is nothing to move to.
        dialect: what to speak; None finds out.
        offer: our own, which the peer may want to know.

    Attributes:
        moved: told who the peer is, after each move.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        choice: Choice,
        turns: Turns,
        role: Role,
        find: Callable[[bool], Awaitable[Sequence[Instance]]],
        *,
        is_fixed: bool,
        dialect: Dialect | None,
        offer: Offer,
    ) -> None:
        self.peer, self.is_tls = "", False
        self.moved: Callable[[Peer], None] = lambda peer: None
        self._pool, self._choice, self._turns, self._role = pool, choice, turns, role
        self._find, self._is_fixed, self._dialect, self._offer = find, is_fixed, dialect, offer
        self._found: Sequence[Instance] = ()
        self._met: Peer | None = None
        self._lease: Lease | None = None
        self._is_closed = False
        # Streams that open at the same time ask once whether somebody is there.
        self._moving = anyio.Lock()

    def __repr__(self) -> str:
        return f"<Route to {self._role.name.lower()} {self.peer}{' closed' if self._is_closed else ''}>"

    async def open(self) -> Peer:
        """Go to the best instance that answers.

        Raises:
            PeerUnavailableError: if none does; it names them all.
            StreamError: if one answers that does not serve the role.
            ControlError: if there is nobody to try.

        Cancellation: safe at any point.
        """
        async with self._moving:
            return await self._move()

    def close(self) -> None:
        """Make no more calls. Those under way go on."""
        self._is_closed = True
        self._leave()

    def shown(self) -> Shown:
        return self._lease.shown() if self._lease is not None else ()

    @asynccontextmanager
    async def line(self, *, is_stream: bool = False) -> AsyncIterator[Any]:
        lease = await self._current(is_stream=is_stream)
        async with AsyncExitStack() as stack:
            if is_stream and self.serves_one:
                await stack.enter_async_context(self._turns.turn(lease.peer))
            raw = await stack.enter_async_context(lease.line())
            self.is_tls = lease.is_tls
            yield raw

    async def moves_on(self, error: Exception, *, attempt: int) -> bool:
        refused = getattr(error, "peer", self.peer)
        self._turns.note_refusal(refused)
        if self._turns.since_end(refused) < AFTERMATH:
            await anyio.sleep(AFTERMATH_PAUSE)
            return True
        self._choice.note_failure(refused)
        # The refusals of an aftermath count too; the bound is there for those who rest for less than a round takes.
        if self._is_fixed or attempt > len(self._found) + AFTERMATH / AFTERMATH_PAUSE:
            return False
        async with self._moving:
            others = [one for one in await self._look() if not self._choice.is_resting(one.endpoint)]
            if not others or self._is_closed:
                return False
            if self.peer == refused:
                await self._move()
        return True

    async def _current(self, *, is_stream: bool) -> Lease:
        """Where the next call goes."""
        async with self._moving:
            if self._is_closed:
                raise UsageError(f"the channel to {self.peer} is closed")
            if not self._is_fixed and not await self._is_good(is_stream=is_stream):
                await self._move()
            if self._lease is None:
                raise UsageError(f"the channel to {self.peer} is closed")
            return self._lease

    async def _is_good(self, *, is_stream: bool) -> bool:
        lease = self._lease
        if lease is None or (is_stream and self.serves_one and self._turns.is_taken(lease.peer)):
            return False
        if lease.is_up:
            return True
        try:
            return self._is_alike(await meet(lease, self._role, self._dialect, offer=self._offer))
        except PeerUnavailableError:
            self._choice.note_failure(lease.peer)
            return False

    async def _move(self) -> Peer:
        failures: list[StreamError] = []
        for one in self._choice.ordered(await self._look()):
            lease = self._pool.lease(one.endpoint)
            try:
                peer = await meet(lease, self._role, self._dialect, offer=self._offer)
            except PeerUnavailableError as error:
                lease.close()
                self._choice.note_failure(one.endpoint)
                failures.append(error)
                continue
            except BaseException:
                lease.close()
                raise
            if self._is_alike(peer):
                self._choice.note_success(one.endpoint)
                self._arrive(lease, peer)
                return peer
            lease.close()
            failures.append(StreamError("speaks another dialect or offers other capabilities", peer=one.endpoint))
        raise _nobody(failures, self._role)

    async def _look(self) -> Sequence[Instance]:
        """Who would do; of a plane that is away, who would have done before."""
        try:
            self._found = await self._find(self._met is not None)
        except ControlError:
            if not self._found:
                raise
        return self._found

    def _is_alike(self, peer: Peer) -> bool:
        """Whether a stream that was made for the peer of before can go there."""
        met = self._met
        return met is None or (peer.dialect, peer.capabilities) == (met.dialect, met.capabilities)

    def _arrive(self, lease: Lease, peer: Peer) -> None:
        self._leave()
        self._lease, self._met, self.peer = lease, peer, peer.address
        self._dialect = peer.dialect
        self.serves_one = self._role is Role.SOURCE and not peer.capabilities
        self.moved(peer)
        if self._is_closed:  # meanwhile
            self._leave()

    def _leave(self) -> None:
        if self._lease is not None:
            self._lease.close()
            self._lease = None


def _nobody(failures: Sequence[StreamError], role: Role) -> StreamError:
    if len(failures) == 1:
        return failures[0]
    reasons = "; ".join(map(str, failures))
    return PeerUnavailableError(f"none of {len(failures)} {role.name.lower()}s can be reached: {reasons}")
