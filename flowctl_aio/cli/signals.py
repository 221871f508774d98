"""When a verb is to end: by signal, with its parent, or when standard input closes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from flowctl_aio.cli.parent import is_orphan

T = TypeVar("T")
# `flowctl run` answers one Ctrl-C with a SIGTERM behind the terminal's SIGINT: together they are one wish.
ONE_WISH = 1.0
PARENT_POLL = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    async with _listening(told) as group:
        if with_parent:
            group.start_soon(_tell_at_end_of_input, told)
        if watch_parent:
            group.start_soon(_tell_without_parent, told)
        yield told
        group.cancel_scope.cancel()


class TerminatedError(Exception):
    """SIGTERM ended a verb."""


def run_interruptible(main: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    """Run a verb that Ctrl-C or SIGTERM interrupts wherever it is. A second SIGTERM ends the process.

    Raises:
        KeyboardInterrupt, TerminatedError: if one does, once the verb has cleaned up.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return asyncio.run(_interruptible(main(*arguments)))


async def _interruptible(verb: Coroutine[Any, Any, T]) -> T:
    """What asyncio does at SIGINT, at SIGTERM."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    before, is_told = signal.getsignal(signal.SIGTERM), False

    def end() -> None:
        nonlocal is_told
        is_told = True
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        return await verb
    except asyncio.CancelledError:
        if is_told:
            raise TerminatedError from None
        raise


@dataclass(slots=True)
class _Ear:
    """Hears signals, and stays in place when its loop is gone.

    What a loop hears by itself ends before the loop does, and a signal in the moment behind it kills the process.
    """

    told: Told
    loop: asyncio.AbstractEventLoop | None
    hurry: anyio.Event = field(default_factory=anyio.Event)
    first: tuple[int, float] | None = None

    def hear(self, number: int, frame: FrameType | None) -> None:
        """What the interpreter calls between any two instructions of the main thread."""
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self.loop.call_soon_threadsafe(self._note, number, time.monotonic())

    def _note(self, number: int, now: float) -> None:
        if self.first is None:
            self.first = number, now
            self.told.tell(signal.Signals(number).name)
        elif number == self.first[0] or now - self.first[1] > ONE_WISH:
            self.hurry.set()


@asynccontextmanager
async def _listening(told: Told) -> AsyncIterator[TaskGroup]:
    """A task group that hears signals; the second one cancels it."""
    ear = _Ear(told, asyncio.get_running_loop())
    awake, wake = socket.socketpair()
    for end in (awake, wake):
        end.setblocking(False)
    descriptor = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, ear.hear) for number in SIGNALS}
    try:
        async with anyio.create_task_group() as group:

            async def hurry() -> None:
                await ear.hurry.wait()
                group.cancel_scope.cancel()

            group.start_soon(hurry)
            group.start_soon(_keep_waking, awake)
            yield group
    finally:
        ear.loop = None
        signal.set_wakeup_fd(descriptor)
        awake.close()
        wake.close()
        # What is left to do takes a moment, and a signal now would end it half-way.
        if not told.is_told():
            for number, handler in before.items():
                signal.signal(number, handler)


async def _keep_waking(awake: socket.socket) -> None:
    """Wake the main thread for a signal that the system gave to another one: only here its handler runs."""
    while True:
        await anyio.wait_readable(awake)
        awake.recv(4096)


async def _tell_at_end_of_input(told: Told) -> None:
    # A pipe from the parent: nothing is ever written to it, and it closes however the parent ends.
    await anyio.wait_readable(sys.stdin.fileno())
    told.tell("the end of standard input")


async def _tell_without_parent(told: Told) -> None:
    while not is_orphan():  # noqa: ASYNC110 - nobody announces the end of a parent
        await anyio.sleep(PARENT_POLL)
    told.tell("the end of its parent")
