"""What tests of services want to be sure of: that they are registered, and that they leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from flowctl_aio.control.lifecycle import State
from flowctl_aio.errors import SessionClosedError, UsageError
from flowctl_aio.plane import EmbeddedControlPlane
from flowctl_aio.session import FlowctlSession
from flowctl_aio.testing.plane import PlaneUnderTest
from flowctl_aio.testing.waiting import wait_known
from flowctl_aio.transport.server import open_server
from flowctl_aio.types import Health

OPEN_FILES = Path("/proc/self/fd")
# A server of gRPC that is up waits for each call in a new task, as anyio's plugin does for each fixture.
COMING_AND_GOING = ("_request_call", "TestRunner._call_in_runner_task")
POLLING = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]")
POLL_INTERVAL = 0.02


async def wait_registered(
    where: PlaneUnderTest | EmbeddedControlPlane | FlowctlSession, service_id: str = "", *, timeout: float = 5.0
) -> None:
    """Return once a plane holds a service for HEALTHY, or once a session says that it is registered.

    Args:
        service_id: whom to wait for at a plane; a session waits for itself.

    Raises:
        AssertionError: if that takes longer than `timeout` seconds, or the session ends first.
        UsageError: if a plane is asked without a `service_id`.

    Cancellation: loses nothing.
    """
    if isinstance(where, FlowctlSession):
        try:
            await where.wait_for(State.REGISTERED, timeout=timeout)
        except (TimeoutError, SessionClosedError) as error:
            raise AssertionError(f"{where!r} is not registered after {timeout:g} s") from error
        return
    if not service_id:
        raise UsageError("whom to wait for? give a service_id")
    await wait_known(where, service_id, Health.HEALTHY, timeout)


@asynccontextmanager
async def assert_no_leaks(*, within: float = 2.0) -> AsyncIterator[None]:
    """What the block starts and opens has to be gone after it: tasks of this loop, our threads, file descriptors.

    Descriptors are counted where the system shows them (Linux), except those that only poll: gRPC keeps some for the
    life of the process. Garbage is collected first, for it may hold the rest. A block that raises is not examined.

    Args:
        within: seconds until everything has to be gone.

    Raises:
        AssertionError: naming what is left.
    """
    # While there is an object of gRPC, so are the sockets with which it wakes the loop: they are there all the time.
    async with open_server({}) as keeps_grpc:
        pass
    before = _look()
    yield
    deadline = anyio.current_time() + within
    while left := _look().without(before):
        if anyio.current_time() > deadline:
            raise AssertionError(f"left behind: {'; '.join(left)}")
        await anyio.sleep(POLL_INTERVAL)
    del keeps_grpc


@dataclass(frozen=True, slots=True)
class _Held:
    """What this process holds at one moment."""

    tasks: frozenset[asyncio.Task[object]]
    threads: frozenset[threading.Thread]
    files: frozenset[tuple[str, str]]

    def without(self, before: _Held) -> list[str]:
        """What has come since, in words; who looks is no leak."""
        current = asyncio.current_task()
        return [
            *(f"task {task.get_name()} ({task.get_coro()})" for task in self.tasks - before.tasks - {current}),
            *(f"thread {thread.name}" for thread in self.threads - before.threads),
            *(f"file descriptor {number} ({target})" for number, target in sorted(self.files - before.files)),
        ]


def _look() -> _Held:
    gc.collect()
    tasks = frozenset(task for task in asyncio.all_tasks() if not any(part in repr(task) for part in COMING_AND_GOING))
    threads = frozenset(thread for thread in threading.enumerate() if thread.name.startswith("flowctl"))
    return _Held(tasks, threads, frozenset(_open_files()))


def _open_files() -> list[tuple[str, str]]:
    if not OPEN_FILES.is_dir():
        return []
    found = []
    for file in OPEN_FILES.iterdir():
        try:
            target = str(file.readlink())
        except OSError:
            continue  # closed since, as the one that lists them is
        if target not in POLLING:
            found.append((file.name, target))
    return found
