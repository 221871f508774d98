"""The states of a session, and which may follow which: one table, from which the diagram in the docs is drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Self

import anyio

from flowctl_aio.errors import SessionClosedError, UsageError

logger = logging.getLogger(__name__)


class State(Enum):
    """Where a session stands towards its control plane."""

    IDLE = "idle"
    CONNECTING = "connecting"
    REGISTERED = "registered"
    DEGRADED = "degraded"
    DRAINING = "draining"
    CLOSED = "closed"


# From → to → what takes it there. What is not here cannot happen.
FOLLOWS: dict[State, dict[State, str]] = {
    State.IDLE: {State.CONNECTING: "entered", State.CLOSED: "never entered"},
    State.CONNECTING: {
        State.REGISTERED: "the plane accepted it",
        State.DEGRADED: "no answer in time, or no plane configured",
        State.DRAINING: "asked to end",
        State.CLOSED: "failed to start",
    },
    State.REGISTERED: {
        State.DEGRADED: "beats fail, or are refused",
        State.DRAINING: "asked to end",
        State.CLOSED: "failed",
    },
    State.DEGRADED: {
        State.REGISTERED: "the plane hears it again",
        State.DRAINING: "asked to end",
        State.CLOSED: "failed",
    },
    State.DRAINING: {State.CLOSED: "all streams ended, or the time is up"},
    State.CLOSED: {},
}


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a session's life.

    Attributes:
        before, after: the states.
        why: in words; empty where the step says it all.
        at: the wall clock, timezone-aware.
    """

    before: State
    after: State
    why: str
    at: datetime


class _Link:
    """A place in the chain of changes: empty until the next change comes. Who has passed it lets it go."""

    def __init__(self) -> None:
        self.change: Change | None = None
        self.next: _Link | None = None
        self.filled = anyio.Event()


class Changes:
    """The changes of a session from one moment on, in order and without a gap: `async for change in ...`.

    It ends after the change to CLOSED. Nothing has to be closed.
    """

    def __init__(self, link: _Link, closed: Callable[[], bool]) -> None:
        self._link, self._closed = link, closed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """The next change.

        Cancellation: loses none; the next call gives it.
        """
        if self._link.next is None and self._closed():
            raise StopAsyncIteration
        await self._link.filled.wait()
        assert self._link.change is not None
        assert self._link.next is not None
        change, self._link = self._link.change, self._link.next
        return change


class Lifecycle:
    """The state of one session; others can wait for it to change."""

    def __init__(self, who: str) -> None:
        self.state = State.IDLE
        self.since = datetime.now(UTC)
        self.why = ""
        self._who = who
        self._last = _Link()

    def move(self, state: State, why: str = "", *, level: int = logging.INFO) -> None:
        """Go to `state`, and log it; staying where one is does nothing.

        Raises:
            UsageError: if `state` cannot follow the present one.
        """
        if state is self.state:
            return
        if state not in FOLLOWS[self.state]:
            raise UsageError(f"{self._who} is {self.state.value} and cannot become {state.value}")
        facts = {"service": self._who, "state_before": self.state.value, "state": state.value}
        logger.log(level, "%s is %s%s", self._who, state.value, f": {why}" if why else "", extra=facts)
        change = Change(self.state, state, why, datetime.now(UTC))
        self.state, self.since, self.why = state, change.at, why
        link, self._last = self._last, _Link()
        link.change, link.next = change, self._last
        link.filled.set()

    def changes(self) -> Changes:
        """The changes from now on."""
        return Changes(self._last, lambda: self.state is State.CLOSED)

    async def wait_for(self, *states: State) -> State:
        """Return as soon as the state is one of `states`, also one that is left again at once.

        Raises:
            SessionClosedError: if the session ends first.

        Cancellation: safe at any point.
        """
        if self.state in states:
            return self.state
        async for change in self.changes():
            if change.after in states:
                return change.after
        raise SessionClosedError(f"{self._who} has ended")


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> IDLE"]
    for before, following in FOLLOWS.items():
        lines += [f"    {before.name} --> {after.name}: {why}" for after, why in following.items()]
    return "\n".join([*lines, "    CLOSED --> [*]"])
