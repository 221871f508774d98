"""The connections to one endpoint: which of them a call takes, when there are more, and which can be closed.

Bookkeeping only, without an await or a lock: it makes connections, which dials nobody yet, and tells which to close.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from flowctl_aio.transport.channel import Connection

# Streams on a connection before the next one is opened. All streams of a connection share its window and its order.
STREAMS_PER_CONNECTION = 10
# Seconds from a failure to the next new connection: doubled with each further failure, capped, jittered.
REDIAL_PAUSE, MAX_REDIAL_PAUSE = 0.25, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRules:
    """How many connections there are to one endpoint, and for how long.

    Attributes:
        least: so many are opened before two streams share one, and stay when nobody uses them.
        most: how many there are at most.
        idle_timeout: seconds until an unused one above `least` is closed.
        check_interval: seconds between two looks at them.
        spreads: a call takes the connection with the fewest calls; else the first that has room.
    """

    least: int = 2
    most: int = 10
    idle_timeout: float = 300.0
    check_interval: float = 60.0
    spreads: bool = True


@dataclass(slots=True, eq=False)
class Strand:
    """One connection, and what is on it.

    Attributes:
        calls, uses: under way now, and ever.
        idle_since, heard_at, born: by the clock of the pool.
    """

    connection: Connection
    born: float
    idle_since: float
    heard_at: float
    calls: int = 0
    uses: int = 0


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The connections to one endpoint.

    Attributes:
        total: how many there are.
        healthy: those that are connected, or can be as far as anybody knows.
        idle: those on which there is no call now.
        streams: calls under way.
        uses: calls since they were opened, together.
        oldest: age of the oldest, in seconds; 0 where there is none.
    """

    endpoint: str
    total: int
    healthy: int
    idle: int
    streams: int
    uses: int
    oldest: float


def redial_pause(failures: int, jitter: float) -> float:
    """Seconds to leave somebody alone after so many failures in a row; `jitter`, 0 to 1, takes off up to half."""
    whole: float = min(REDIAL_PAUSE * 2 ** min(failures - 1, 16), MAX_REDIAL_PAUSE)
    return whole * (1 - jitter / 2)


@dataclass(slots=True, eq=False)
class Trunk:
    """All connections to one endpoint.

    Attributes:
        leases: how many clients have it.
        near: calls under way to a server of this loop, which need no connection.
    """

    endpoint: str
    dial: Callable[[str], Connection]
    rules: PoolRules
    leases: int = 0
    near: int = 0
    _strands: list[Strand] = field(default_factory=list)
    _retired: list[Strand] = field(default_factory=list)
    _failures: int = 0
    _next_dial: float = float("-inf")

    @property
    def calls(self) -> int:
        return self.near + sum(strand.calls for strand in (*self._strands, *self._retired))

    @property
    def is_up(self) -> bool:
        """Whether somebody is known to be at the other end."""
        return any(strand.connection.is_up for strand in self._strands)

    def take(self, now: float) -> Strand:
        """The connection for a new call; give it back when the call is over.

        Raises:
            ConfigError: if there is none yet, and its certificates or tokens cannot be read.
        """
        strand = self._chosen() or self._renewed(now)
        strand.calls += 1
        strand.uses += 1
        return strand

    def _chosen(self) -> Strand | None:
        """The best one that is not broken, perhaps a new one beside it; None if there is none."""
        well = [strand for strand in self._strands if not strand.connection.is_broken]
        if not well:
            return None
        best = min(well, key=lambda strand: strand.calls)
        if not self.rules.spreads:
            best = next((strand for strand in well if strand.calls < STREAMS_PER_CONNECTION), best)
        is_full = min(strand.calls for strand in well) >= STREAMS_PER_CONNECTION
        is_shared = best.calls > 0 and len(self._strands) < self.rules.least
        return None if (is_full or is_shared) and len(self._strands) < self.rules.most else best

    def _renewed(self, now: float) -> Strand:
        """A new one if there may be one; else the least used one, which fails fast while the peer is away."""
        well = [strand for strand in self._strands if not strand.connection.is_broken]
        if not well and self._strands and now < self._next_dial:
            return min(self._strands, key=lambda strand: strand.calls)
        if not well:
            self._retire(lambda strand: strand.connection.is_broken)
        strand = Strand(self.dial(self.endpoint), born=now, idle_since=now, heard_at=now)
        self._strands.append(strand)
        return strand

    def give_back(self, strand: Strand, now: float) -> None:
        """A call is over; if it left its connection up, the peer is there."""
        strand.calls -= 1
        strand.idle_since = now
        if strand.connection.is_up:
            self._failures, self._next_dial = 0, float("-inf")

    def note_answer(self, strand: Strand, now: float) -> None:
        """The peer answered on this connection."""
        strand.heard_at = now

    def note_failure(self, now: float) -> None:
        """The peer could not be reached, so the next connection has to wait a little."""
        self._failures += 1
        self._next_dial = now + redial_pause(self._failures, random.random())

    def note_silence(self, since: float, now: float) -> None:
        """Nothing came back since then: new calls take none of the connections on which nothing was heard either.

        A connection that died without a word looks well until TCP gives up, a quarter of an hour later. Calls under
        way stay where they are.
        """
        self.note_failure(now)
        self._retire(lambda strand: strand.heard_at <= since)

    def tidy(self, now: float) -> None:
        """Give up what nobody uses: the broken ones at once, those above `least` after a while."""
        self._retire(lambda strand: strand.calls == 0 and strand.connection.is_broken)
        idle = sorted((one for one in self._strands if one.calls == 0), key=lambda strand: strand.idle_since)
        spare = max(len(self._strands) - self.rules.least, 0)
        old = {one for one in idle[:spare] if now - one.idle_since >= self.rules.idle_timeout}
        self._retire(old.__contains__)

    def closable(self) -> list[Connection]:
        """Connections that were given up and whose last call is over, for the caller to close; each is told once."""
        over = [strand for strand in self._retired if strand.calls == 0]
        self._retired = [strand for strand in self._retired if strand.calls > 0]
        return [strand.connection for strand in over]

    def close(self) -> list[Connection]:
        """All connections that are left, for the caller to close."""
        left = [*self._strands, *self._retired]
        self._strands, self._retired = [], []
        return [strand.connection for strand in left]

    def stats(self, now: float) -> PoolStats:
        strands = self._strands
        return PoolStats(
            self.endpoint,
            total=len(strands),
            healthy=sum(not strand.connection.is_broken for strand in strands),
            idle=sum(strand.calls == 0 for strand in strands),
            streams=self.calls,
            uses=sum(strand.uses for strand in strands),
            oldest=max((now - strand.born for strand in strands), default=0.0),
        )

    def _retire(self, is_out: Callable[[Strand], bool]) -> None:
        out = [strand for strand in self._strands if is_out(strand)]
        self._strands = [strand for strand in self._strands if strand not in out]
        self._retired += out
