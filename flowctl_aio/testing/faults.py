"""What can go wrong with single calls: they come late, are refused, are never answered, or are forgotten.

A fault stands before the plane and sees each call with its name. It knows neither the plane nor who calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio

from flowctl_aio.errors import UsageError

# What to give as `methods`, so that a fault takes both dialects.
REGISTERING = ("Register", "RegisterComponent")
BEATING = ("Heartbeat",)
STATUS_NAMES = frozenset(
    {
        "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
        "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    }
)  # fmt: skip


class Fault:
    """A fault while it lasts; what the context managers of `PlaneUnderTest` give.

    Args:
        act: what it does to a call: it may take its time, or raise.
        methods: the calls that it takes, by the last part of their names; none for all.
        times: how many it takes; None for any number.

    Attributes:
        hits: how many it has taken.
    """

    def __init__(
        self, act: Callable[[], Awaitable[None]], *, methods: Iterable[str] = (), times: int | None = None
    ) -> None:
        if isinstance(methods, str):
            raise UsageError(f"methods is a list of names, such as [{methods!r}]")
        self._act, self._methods, self._times = act, frozenset(methods), times
        self.hits = 0
        self._news = anyio.Event()

    def __repr__(self) -> str:
        return f"<Fault for {', '.join(sorted(self._methods)) or 'every call'}, {self.hits} hit>"

    async def wait_hits(self, count: int = 1, timeout: float = 5.0) -> None:
        """Return once it has taken `count` calls.

        Raises:
            AssertionError: if that takes longer than `timeout` seconds.

        Cancellation: loses nothing.
        """
        with anyio.move_on_after(timeout) as limit:
            while self.hits < count:
                await self._news.wait()
        if limit.cancelled_caught:
            raise AssertionError(f"{self.hits} of {count} calls met the fault within {timeout:g} s")

    async def meet(self, method: str) -> None:
        """Do to a call whatever this fault does."""
        if (self._methods and method not in self._methods) or (self._times is not None and self.hits >= self._times):
            return
        self.hits += 1
        news, self._news = self._news, anyio.Event()
        news.set()
        await self._act()
