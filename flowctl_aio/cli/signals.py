"""When a verb is to end: by signal, with its parent, or when standard input closes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

# `flowctl run` answers one Ctrl-C with a SIGTERM behind the terminal's SIGINT: together they are one wish.
ONE_WISH = 1.0
PARENT_POLL = 0.5


@dataclass(slots=True)
class Told:
    """Whether somebody wants the end.

    Attributes:
        why: who, for the log.
    """

    why: str = ""
    _event: anyio.Event = field(default_factory=anyio.Event)

    def tell(self, why: str) -> None:
        self.why = self.why or why
        self._event.set()

    def is_told(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        """Return when somebody does.

        Cancellation: safe at any point.
        """
        await self._event.wait()


@asynccontextmanager
async def until_told(*, with_parent: bool = False, watch_parent: bool = False) -> AsyncIterator[Told]:
    """A block that hears signals from its beginning on.

    The first SIGINT or SIGTERM tells it, a second cancels the block, and further ones are ignored, also after it.

    Args:
        with_parent: the end of standard input tells it too; a parent that holds the other end ends so with us.
        watch_parent: so does the end of the parent process, however it ends.
    """
    told = Told()
    try:
        async with _listening(told) as group:
            if with_parent:
                group.start_soon(_tell_at_end_of_input, told)
            if watch_parent:
                group.start_soon(_tell_without_parent, told)
            yield told
            group.cancel_scope.cancel()
    finally:
        if told.is_told():
            # What is left to do takes a moment, and a signal now would end it half-way.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)


@asynccontextmanager
async def _listening(told: Told) -> AsyncIterator[TaskGroup]:
    """A task group that hears signals; the second one cancels it."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                first: tuple[int, float] | None = None
                async for number in signals:
                    now = anyio.current_time()
                    if first is None:
                        first = number, now
                        told.tell(signal.Signals(number).name)
                    elif number == first[0] or now - first[1] > ONE_WISH:
                        group.cancel_scope.cancel()

            group.start_soon(listen)
            yield group


async def _tell_at_end_of_input(told: Told) -> None:
    # A pipe from the parent: nothing is ever written to it, and it closes however the parent ends.
    await anyio.wait_readable(sys.stdin.fileno())
    told.tell("the end of standard input")


async def _tell_without_parent(told: Told) -> None:
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody announces the end of a parent
        await anyio.sleep(PARENT_POLL)
    told.tell("the end of its parent")
