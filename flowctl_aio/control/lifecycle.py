"""The states of a session, and which may follow which."""

from __future__ import annotations

import logging
from enum import Enum

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


FOLLOWS: dict[State, frozenset[State]] = {
    State.IDLE: frozenset({State.CONNECTING, State.CLOSED}),
    State.CONNECTING: frozenset({State.REGISTERED, State.DEGRADED, State.DRAINING, State.CLOSED}),
    State.REGISTERED: frozenset({State.DEGRADED, State.DRAINING, State.CLOSED}),
    State.DEGRADED: frozenset({State.REGISTERED, State.DRAINING, State.CLOSED}),
    State.DRAINING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}


class Lifecycle:
    """The state of one session; others can wait for it to change."""

    def __init__(self, who: str) -> None:
        self.state = State.IDLE
        self._who = who
        self._changed = anyio.Event()

    def move(self, state: State, why: str = "", *, level: int = logging.INFO) -> None:
        """Go to `state`, and log it; staying where one is does nothing.

        Raises:
            UsageError: if `state` cannot follow the present one.
        """
        if state is self.state:
            return
        if state not in FOLLOWS[self.state]:
            raise UsageError(f"{self._who} is {self.state.value} and cannot become {state.value}")
        logger.log(level, "%s is %s%s", self._who, state.value, f": {why}" if why else "")
        self.state = state
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def wait_for(self, *states: State) -> State:
        """Return as soon as the state is one of `states`.

        Raises:
            SessionClosedError: if the session ends first.

        Cancellation: safe at any point.
        """
        while self.state not in states:
            if self.state is State.CLOSED:
                raise SessionClosedError(f"{self._who} has ended")
            await self._changed.wait()
        return self.state
