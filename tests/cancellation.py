"""Cancels a coroutine at each point at which it suspends, one after the other, and in each way in which it may be.

Each cancellation has to come out again, and a check of the caller's follows on each.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest

# While it waits, or in the very moment in which what it waits for is there.
MOMENTS = ["waiting", "answered"]
# `Task.cancel`, a cancel scope of anyio, `asyncio.timeout`.
WAYS = ["task", "scope", "timeout"]
MOST = 300


class Suspensions:
    """Counts how often a coroutine suspends, and does something to somebody at one of these points.

    Attributes:
        has_met: whether that has been done.
        is_told: whether the coroutine was told of a cancellation.
        cancel: what is done; says whether it had an effect.
    """

    def __init__(self, at: int, moment: str) -> None:
        self._left, self._moment = at, moment
        self.has_met = self.is_told = False
        self.is_counting = True
        self.cancel: Callable[[], bool] | None = None

    async def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Its result; it runs in the task of the caller."""
        return await self._steps(coroutine)

    @types.coroutine
    def _steps(self, coroutine):
        error: BaseException | None = None
        while True:
            try:
                waits_for = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as end:
                return end.value
            error = None
            if self.is_counting:
                self._note(waits_for)
            try:
                yield waits_for
            except BaseException as caught:  # noqa: BLE001 - whatever comes in is for the coroutine
                self.is_told = self.is_told or isinstance(caught, asyncio.CancelledError)
                error = caught

    def _note(self, waits_for: asyncio.Future[Any] | None) -> None:
        self._left -= 1
        if self._left != -1:
            return
        if self._moment == "waiting" or waits_for is None:
            self._meet()
        else:
            waits_for.add_done_callback(self._meet)

    def _meet(self, _: object = None) -> None:
        if self.is_counting and self.cancel is not None:
            self.has_met = self.cancel()


async def run_cancelled(
    points: Suspensions, coroutine: Coroutine[Any, Any, Any], at: int, *, way: str = "task", is_inside: bool = False
) -> None:
    """Run it in a task of its own, which is the victim; what it is told, it must not keep to itself.

    Args:
        is_inside: whether it is not the victim whose suspensions are counted, but a task that works for it.
    """
    heard: list[str] = []
    task = asyncio.create_task(_in_scope(way, points, coroutine, heard))
    if way == "task":
        points.cancel = task.cancel
    await asyncio.wait([task], timeout=10)
    points.is_counting = False
    assert task.done(), f"cancelled at suspension {at}, it does not end"
    if task.cancelled():
        assert way == "task", f"the cancellation at suspension {at} went further than its {way}"
        return
    task.result()
    # A scope or a timeout that is over before the next suspension has nobody to tell; a task always has.
    is_swallowed = points.has_met if way == "task" else points.is_told and not heard and not is_inside
    assert not is_swallowed, f"the cancellation at suspension {at} was swallowed"


async def _in_scope(way: str, points: Suspensions, coroutine: Coroutine[Any, Any, Any], heard: list[str]) -> None:
    if way == "task":
        await coroutine
    elif way == "scope":
        with anyio.CancelScope() as scope:
            points.cancel = lambda: scope.cancel() is None
            await coroutine
        heard += ["scope"] if scope.cancelled_caught else []
    else:
        try:
            async with asyncio.timeout(None) as limit:
                points.cancel = lambda: limit.reschedule(asyncio.get_running_loop().time()) is None
                await coroutine
        except TimeoutError:
            heard.append("timeout")
    if way != "task":
        assert asyncio.current_task().cancelling() == 0


async def at_each_point(
    moment: str,
    make: Callable[[], Coroutine[Any, Any, Any]],
    check: Callable[[], Any],
    *,
    way: str = "task",
    prepare: Callable[[], Awaitable[Any]] | None = None,
) -> int:
    """Cancel what `make` gives at its first suspension, then another at its second, and so on; check after each.

    Args:
        prepare: awaited before each `make`.

    Returns:
        How many suspensions it has.
    """
    for at in range(MOST):
        if prepare is not None:
            await prepare()
        points = Suspensions(at, moment)
        await run_cancelled(points, points.drive(make()), at, way=way)
        await check()
        if not points.has_met:
            assert at > 0, "it never suspends"
            return at
    pytest.fail(f"it suspends more than {MOST} times")
