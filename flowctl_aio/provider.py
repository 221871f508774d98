"""The numbers that a user's code has to tell with each heartbeat: asked within a limit, and never trusted."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

import anyio
import anyio.to_thread

from flowctl_aio.observe.repeats import Repeats
from flowctl_aio.owner import is_cancelled

logger = logging.getLogger(__name__)


class MetricsProvider(Protocol):
    """Whoever has numbers to send with each heartbeat; `get_metrics` may also be a coroutine function."""

    def get_metrics(self) -> Mapping[str, float]:
        """The numbers by name; what is not finite is left out. Called in a thread, one call at a time."""
        ...


class AsyncMetricsProvider(Protocol):
    """The same, with a coroutine function."""

    async def get_metrics(self) -> Mapping[str, float]: ...


Numbers: TypeAlias = Mapping[str, float]
Metrics: TypeAlias = MetricsProvider | AsyncMetricsProvider | Callable[[], Numbers] | Callable[[], Awaitable[Numbers]]


class Provider:
    """Asks one metrics provider.

    A coroutine function runs on the loop; a plain one in a thread, one call at a time, so that it may be slow without
    holding up anybody. What it raises, and that it takes too long, are log lines: the beat goes without its numbers.

    Args:
        who: the service, for the log.
        timeout: of one call, in seconds.

    Attributes:
        last: what it said when it last answered well.
    """

    def __init__(self, who: str, metrics: Metrics | None, *, timeout: float) -> None:
        self.last: dict[str, float] = {}
        self._who, self._timeout = who, timeout
        self._ask: Callable[[], Any] | None = metrics if metrics is None or callable(metrics) else metrics.get_metrics
        self._is_busy = False
        self._repeats = Repeats(logger, fields={"component_id": who})

    async def ask(self) -> dict[str, float]:
        """Its numbers now; none if it fails.

        Cancellation: a plain function goes on in its thread until it returns.
        """
        if self._ask is None:
            return {}
        try:
            with anyio.fail_after(self._timeout):
                answer = await self._answer(self._ask)
            numbers = checked_numbers(answer)
        except TimeoutError:
            self._repeats.failed("slow", "%s: no metrics within %g s", self._who, self._timeout)
            numbers = {}
        except Exception as error:  # noqa: BLE001 - a user's code may raise anything, and must not stop the beats
            self._repeats.failed("fault", "%s: the metrics provider failed: %r", self._who, error)
            numbers = {}
        else:
            for key in ("slow", "fault"):
                self._repeats.recovered(key, "%s: the metrics provider answers again", self._who)
        self.last = numbers
        return numbers

    async def _answer(self, ask: Callable[[], Any]) -> Any:
        try:
            return await self._awaited(ask)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise RuntimeError("CancelledError out of nowhere") from error

    async def _awaited(self, ask: Callable[[], Any]) -> Any:
        if inspect.iscoroutinefunction(ask):
            return await ask()
        if self._is_busy:
            raise TimeoutError
        answer = await anyio.to_thread.run_sync(self._in_thread, ask, abandon_on_cancel=True)
        return await answer if inspect.isawaitable(answer) else answer

    def _in_thread(self, ask: Callable[[], Any]) -> Any:
        self._is_busy = True
        try:
            return ask()
        finally:
            self._is_busy = False


def checked_numbers(numbers: Mapping[Any, Any]) -> dict[str, float]:
    """What a user's code gave as its numbers, in a form that can be sent.

    Raises:
        Exception: whatever `numbers` and what is in it raise; they may be anything.
    """
    # A lone surrogate, as file names may have it, is a character of str, but goes into no message.
    return {str(name).encode(errors="replace").decode(): float(number) for name, number in numbers.items()}


__all__ = ["AsyncMetricsProvider", "Metrics", "MetricsProvider", "Provider", "checked_numbers"]
