"""Which of several gRPC channels a call takes, and which of them can be closed. Bookkeeping only: no call, no await.

After a change of certificates there are two for a while: the new one for new calls, and the old one until its last
call is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flowctl_aio.transport.security.reloaded import Reloaded

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Line(Generic[T]):
    """One gRPC channel, and how many calls are on it."""

    raw: T
    made_with: Any
    calls: int = 0


class Renewal(Generic[T]):
    """The lines to one peer.

    Args:
        dial: makes a gRPC channel out of credentials; None for plaintext.
        tls: the credentials, another object after each change; None for plaintext.
    """

    def __init__(self, dial: Callable[[Any], T], tls: Reloaded[Any] | None) -> None:
        self._dial, self._tls = dial, tls
        credentials = tls.get() if tls is not None else None
        self._newest = Line(dial(credentials), credentials)
        self._lines = [self._newest]
        self.is_closed = False

    @property
    def newest(self) -> T:
        return self._newest.raw

    def take(self) -> Line[T]:
        """The line for a new call; give it back when the call is over."""
        credentials = self._tls.get() if self._tls is not None and not self.is_closed else self._newest.made_with
        if credentials is not self._newest.made_with:
            self._newest = Line(self._dial(credentials), credentials)
            self._lines.append(self._newest)
        self._newest.calls += 1
        return self._newest

    def give_back(self, line: Line[T]) -> None:
        line.calls -= 1

    def retired(self) -> list[T]:
        """Channels that nobody needs any more, for the caller to close; each is told once."""
        idle = [line for line in self._lines if line is not self._newest and line.calls == 0]
        self._lines = [line for line in self._lines if line not in idle]
        return [line.raw for line in idle]

    def close(self) -> list[T]:
        """All channels that are left, for the caller to close; no new one is made from now on."""
        self.is_closed = True
        left, self._lines = self._lines, []
        return [line.raw for line in left]
