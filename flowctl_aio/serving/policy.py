"""What becomes of a batch that a component fails at: it gets it again, in parts, until the bad rows are alone.

Pure but for the waits: it knows neither streams nor files, and what is done with the rows set aside is for others.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

from flowctl_aio.batches import Batch, EventBatch, LedgerBatch
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.config.settings import OnEventError
from flowctl_aio.errors import BadEventsError, CodecError, SessionClosedError, StreamError
from flowctl_aio.transport.status import Refused

T = TypeVar("T")
MAX_DELAY = 30.0
MAX_REASON = 2000
# Not about the events, so that neither another attempt nor leaving rows out would help.
NOT_OURS = (Refused, StreamError, SessionClosedError)


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do when a component fails at a batch.

    Attributes:
        on_event_error: `fail` ends the stream, `skip` and `dead-letter` set the bad rows aside.
        max_retries: how often a batch is given again before that.
        retry_delay: longest wait before the first retry, in seconds; it doubles with each, up to half a minute.
    """

    on_event_error: OnEventError = "fail"
    max_retries: int = 0
    retry_delay: float = 0.1

    @classmethod
    def of(cls, config: FlowctlConfig) -> Policy:
        return cls(config.on_event_error, config.max_retries, config.retry_delay)

    @property
    def is_plain(self) -> bool:
        """Whether the first failure ends the stream."""
        return self.on_event_error == "fail" and not self.max_retries

    @property
    def sets_aside(self) -> bool:
        return self.on_event_error != "fail"

    def delays(self, jitter: Callable[[], float] = random.random) -> Iterator[float]:
        """The wait before each retry, in seconds: anything up to a limit that doubles, so that many do not come back
        at once.

        Args:
            jitter: gives numbers from 0 to 1.
        """
        for retry in range(self.max_retries):
            yield jitter() * min(MAX_DELAY, self.retry_delay * 2 ** min(retry, 30))


@dataclass(frozen=True, slots=True)
class SetAside:
    """One row that a component failed at.

    Attributes:
        row: a batch of this row alone.
        kind: class name of the exception; fit for peers, which the reason is not.
        reason: what the exception says; may be secret.
        is_invalid: the row is not what it should be; otherwise the component failed at it.
        attempts: how often the component had it.
    """

    row: Batch
    kind: str
    reason: str
    is_invalid: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class _Piece:
    batch: Batch
    attempts: int


class Trial(Generic[T]):
    """One batch, given to a component until all of it is either done or set aside.

    Args:
        attempt: gives the component a part of the batch. It raises, or has done nothing of it.
        sleep, jitter: for the waits between retries.

    Attributes:
        results: what `attempt` returned, in the order of the rows.
        aside: the rows that the component failed at, in their order.
        retries: how often the same rows were given again.
    """

    def __init__(
        self,
        policy: Policy,
        attempt: Callable[[Batch], Awaitable[T]],
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy, self._attempt, self._sleep, self._jitter = policy, attempt, sleep, jitter
        self.results: list[T] = []
        self.aside: list[SetAside] = []
        self.retries = 0

    async def run(self, batch: Batch) -> None:
        """Return when all of `batch` is done or set aside.

        Raises:
            Exception: the component's last one, if the policy is to fail, or if there is no row to blame; one that
                is not about events, such as StreamError, at once.

        Cancellation: cancels the component at what it is doing. What it has done of the batch, its caller drops.
        """
        # Only the whole batch is retried: for each of its parts that would take for ever where everything is bad.
        error = await self._retried(batch)
        if error is None:
            return
        pieces = self._parts(_Piece(batch, 1 + self.retries), error)
        while pieces:
            piece = pieces.pop()
            failure = await self._once(piece.batch)
            if failure is not None:
                pieces += self._parts(_Piece(piece.batch, piece.attempts + 1), failure)

    async def _retried(self, batch: Batch) -> Exception | None:
        delays = self._policy.delays(self._jitter)
        while True:
            error = await self._once(batch)
            # A component that names the rows would name them again.
            if error is None or (self._policy.sets_aside and _named(error, batch)):
                return error
            delay = next(delays, None)
            if delay is None:
                if not self._policy.sets_aside or not len(batch):
                    raise error
                return error
            self.retries += 1
            await self._sleep(delay)

    async def _once(self, batch: Batch) -> Exception | None:
        try:
            self.results.append(await self._attempt(batch))
        except NOT_OURS:
            raise
        except Exception as error:  # noqa: BLE001 - a component may raise anything
            return error
        return None

    def _parts(self, piece: _Piece, error: Exception) -> list[_Piece]:
        """What is to be tried next in place of `piece`, last part first."""
        batch, attempts = piece.batch, piece.attempts
        if named := _named(error, batch):
            for number, reason in named.items():
                self.aside.append(SetAside(batch.slice(number, 1), _kind(error), _text(reason), True, attempts))
            rest = without(batch, set(named))
            return [_Piece(rest, attempts)] if len(rest) else []
        if len(batch) == 1:
            is_invalid = isinstance(error, CodecError)
            self.aside.append(SetAside(batch, _kind(error), _text(error), is_invalid, attempts))
            return []
        half = len(batch) // 2
        return [_Piece(batch.slice(half), attempts), _Piece(batch.slice(0, half), attempts)]


def without(batch: Batch, rows: set[int]) -> Batch:
    """`batch` without some of its rows. It covers the same part of the ledger stream, for those are dealt with."""
    import pyarrow as pa

    kept = batch.record_batch.take(pa.array([row for row in range(len(batch)) if row not in rows], type=pa.int64()))
    is_ledgers = isinstance(batch, LedgerBatch)
    rest: Batch = LedgerBatch(kept) if is_ledgers else EventBatch(kept, event_type=batch.event_type)
    rest.first_cursor, rest.last_cursor, rest.trace = batch.first_cursor, batch.last_cursor, batch.trace
    return rest


def _named(error: Exception, batch: Batch) -> Mapping[int, str]:
    """The rows of `batch` that a component says are bad, in order; empty if it names none, or one that is not there."""
    if not isinstance(error, BadEventsError):
        return {}
    if not all(type(row) is int and 0 <= row < len(batch) for row in error.rows):
        return {}
    return dict(sorted(error.rows.items()))


def _kind(error: Exception) -> str:
    return type(error).__name__


def _text(reason: object) -> str:
    """What an exception says, bounded and fit for a message."""
    try:
        text = str(reason)
    except Exception as error:  # noqa: BLE001 - it is a component's, and may fail at that too
        text = f"an exception whose text cannot be had: {type(error).__name__}"
    return text[:MAX_REASON].encode(errors="replace").decode()
