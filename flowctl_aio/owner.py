"""A task that owns an async context, so that the object around it can be entered in one task and left in another.

A task group or cancel scope must be left by the task that entered it. pytest-asyncio runs the two
halves of a fixture in different tasks, so nothing of ours holds one across `__aenter__` and `__aexit__`:
an owner task enters the whole nest, says that it stands, and leaves it again when told to.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from anyio import CancelScope, current_effective_deadline

from flowctl_aio.errors import UsageError

Started: TypeAlias = Callable[[], None]


class OwnerTask:
    """Runs `main` in a task of its own.

    Args:
        main: enters what there is to own, calls its argument once that stands, and returns when all is left again.
        name: of the task, for those who look at the loop.
    """

    def __init__(self, main: Callable[[Started], Awaitable[None]], *, name: str) -> None:
        self._main, self._name = main, name
        self._task: asyncio.Task[None] | None = None
        self._scope: CancelScope | None = None  # made with the task, for it needs a running loop
        self._is_cancelled = False

    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def error(self) -> BaseException | None:
        """What `main` raised; None while it runs, and if it ended well."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        error = self._task.exception()
        return None if error is None else lone(error)

    async def start(self) -> None:
        """Return when `main` says that it has started.

        Raises:
            UsageError: if it was started before.
            Exception: whatever `main` raised instead.

        Cancellation: cancels `main` and waits until it has cleaned up.
        """
        started = asyncio.Event()
        task = self._start(started.set)
        task.add_done_callback(lambda _: started.set())
        try:
            await started.wait()
        except BaseException:
            self.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # seen; the cancellation is what the caller hears of
            raise
        if task.done():
            await self.wait()

    def start_nowait(self) -> None:
        """Start `main` without waiting for it; what it raises, `wait` and `error` tell.

        Raises:
            UsageError: if it was started before.
        """
        self._start(lambda: None)

    async def join(self) -> None:
        """Return when `main` has ended, well or not.

        Cancellation: leaves `main` running.
        """
        if self._task is not None:
            await asyncio.wait([self._task])

    async def wait(self) -> None:
        """Return when `main` has ended; raise what it raised, a lone error without its group.

        Cancellation: leaves `main` running.
        """
        await self.join()
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        """Stop `main` at once, or as soon as it starts; `wait` tells when it is done."""
        self._is_cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def _start(self, started: Started) -> asyncio.Task[None]:
        if self._task is not None:
            raise UsageError(f"{self._name} was started before; make a new one")
        self._scope = CancelScope()
        if self._is_cancelled:
            self._scope.cancel()
        # The one task without a task group: its owner is the object that holds it, which awaits it in `wait`.
        self._task = asyncio.create_task(self._run(started, self._scope), name=self._name)  # noqa: TID251
        return self._task

    async def _run(self, started: Started, scope: CancelScope) -> None:
        with scope:
            try:
                await self._main(started)
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                raise RuntimeError(f"CancelledError out of nowhere in {self._name}") from error


def lone(error: BaseException) -> BaseException:
    """The error inside groups of one; a group of several stays a group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def is_cancelled() -> bool:
    """Whether somebody has cancelled the current task, or a scope around it.

    Libraries raise CancelledError also where nobody has; passed on, it would end a task without a word.
    """
    task = asyncio.current_task()
    return (task is not None and task.cancelling() > 0) or current_effective_deadline() == -math.inf
