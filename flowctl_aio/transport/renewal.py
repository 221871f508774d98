"""Which of several gRPC channels a call takes, and which of them can be closed. Bookkeeping only: no call, no await.

After a change of certificates there are two for a while: new calls take the new one as soon as it is fit for them,
and the old one can be closed once its last call is over.
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
        is_fit: told the old channel and the new one, says whether new calls take the new one from now on.
            It is asked at each call until it says so.
    """

    def __init__(self, dial: Callable[[Any], T], tls: Reloaded[Any] | None, *, is_fit: Callable[[T, T], bool]) -> None:
        self._dial, self._tls, self._is_fit = dial, tls, is_fit
        credentials = tls.get() if tls is not None else None
        self._newest = Line(dial(credentials), credentials)
        self._next: Line[T] | None = None
        self._lines = [self._newest]
        self.is_closed = False

    @property
    def newest(self) -> T:
        """What new calls take."""
        return self._newest.raw

    def take(self) -> Line[T]:
        """The line for a new call; give it back when the call is over."""
        if self._tls is not None and not self.is_closed:
            self._renew(self._tls.get())
        self._newest.calls += 1
        return self._newest

    def _renew(self, credentials: Any) -> None:
        if credentials is not (self._next or self._newest).made_with:
            self._next = Line(self._dial(credentials), credentials)
            self._lines.append(self._next)
        if self._next is not None and self._is_fit(self._newest.raw, self._next.raw):
            self._newest, self._next = self._next, None

    def redial(self) -> None:
        """New calls take a new line from now on, because nothing comes back on this one."""
        credentials = self._newest.made_with
        self._newest, self._next = Line(self._dial(credentials), credentials), None
        self._lines.append(self._newest)

    def give_back(self, line: Line[T]) -> None:
        line.calls -= 1

    def retired(self) -> list[T]:
        """Channels that nobody needs any more, for the caller to close; each is told once."""
        idle = [line for line in self._lines if line not in (self._newest, self._next) and line.calls == 0]
        self._lines = [line for line in self._lines if line not in idle]
        return [line.raw for line in idle]

    def close(self) -> list[T]:
        """All channels that are left, for the caller to close; no new one is made from now on."""
        self.is_closed = True
        left, self._lines = self._lines, []
        return [line.raw for line in left]
