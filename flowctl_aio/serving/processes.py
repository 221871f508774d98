"""A processor's worker processes: batches go to whichever is free, and what it makes of them comes back.

They are started when the session is, are never forked, and end with it. Whoever dies is replaced.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from flowctl_aio.batches import Batch
from flowctl_aio.component import Processor
from flowctl_aio.errors import ComponentError, ConfigError, UsageError
from flowctl_aio.owner import lone
from flowctl_aio.serving.process import WorkerProcess
from flowctl_aio.worker import MAIN, dumps, is_worker

# Far above what pays, and far below what a slip of the finger would take the machine down with.
MAX_PROCESSES = 256


@dataclass(eq=False, slots=True)
class _Job:
    batch: Batch
    error: Exception | None
    made: Any = None
    done: anyio.Event = field(default_factory=anyio.Event)


class Workers:
    """The worker processes of one component. Made by `open_workers`.

    Batches that find all of them busy wait, first come, first served.
    """

    def __init__(self, work: bytes, *, count: int, name: str) -> None:
        self._name = name
        self._all = [WorkerProcess(work, name) for _ in range(count)]
        self._busy: set[WorkerProcess] = set()
        self._limiter = anyio.CapacityLimiter(count)  # a thread waits for each
        # Without a buffer, so that a batch is with its stream until a worker has it.
        self._give, self._take = anyio.create_memory_object_stream[_Job](0)

    async def run(self, batch: Batch) -> Any:
        """What a worker makes of `batch`.

        Raises:
            ComponentError: if the worker dies of it.
            Exception: what the work raised, in the worker.

        Cancellation: a batch that a worker has is worked on to its end there, and dropped.
        """
        job = _Job(batch, ComponentError(f"the worker processes of {self._name} are closed"))
        await self._give.send(job)
        await job.done.wait()
        if job.error is not None:
            raise job.error
        return job.made

    async def start(self) -> None:
        """Return when all are ready.

        Raises:
            ConfigError: if they cannot be.

        Cancellation: safe at any point, if `close` follows.
        """
        try:
            async with anyio.create_task_group() as group:
                for worker in self._all:
                    group.start_soon(self._start_one, worker)
        except ExceptionGroup as errors:
            error = lone(errors.exceptions[0])
            raise ConfigError(f"{error}: {error.__cause__}") from error
        except asyncio.CancelledError:
            for worker in self._all:
                worker.kill()
            raise

    async def _start_one(self, worker: WorkerProcess) -> None:
        await to_thread.run_sync(worker.start, limiter=self._limiter, abandon_on_cancel=True)

    async def keep(self, worker: WorkerProcess) -> None:
        """Give it one batch after the other."""
        async for job in self._take:
            self._busy.add(worker)
            try:
                job.made = await to_thread.run_sync(worker.ask, job.batch, limiter=self._limiter)
                job.error = None
            except Exception as error:  # noqa: BLE001 - raised where the batch came from
                job.error = error
            finally:
                self._busy.discard(worker)
                job.done.set()

    async def close(self) -> None:
        """End them all; nobody is at work any more."""
        self._give.close()
        self._take.close()
        async with anyio.create_task_group() as group:
            for worker in self._all:
                group.start_soon(to_thread.run_sync, worker.close)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The block in which batches are given to them. Whoever is at work at its end is killed."""
        async with anyio.create_task_group() as group:
            for worker in self._all:
                group.start_soon(self.keep, worker)
            try:
                yield
            finally:
                for worker in self._busy:
                    worker.kill()
                group.cancel_scope.cancel()


@asynccontextmanager
async def open_workers(component: Any, name: str) -> AsyncIterator[Workers | None]:
    """The worker processes that a component asks for; None if it asks for none.

    Args:
        name: of the component, for errors.

    Raises:
        ConfigError: if its `work` cannot be sent to another process, or none can be started.
        UsageError: if this is a worker process itself.
    """
    if not isinstance(component, Processor) or not (count := processes_of(component)):
        yield None
        return
    if is_worker():
        raise UsageError(
            f"{name} is started by a worker process that imports it: put what runs it under `if __name__ == '__main__'`"
        )
    workers = Workers(_first_message(component, name), count=count, name=name)
    try:
        await workers.start()
        async with workers.running():
            yield workers
    finally:
        with anyio.CancelScope(shield=True):
            await workers.close()


def processes_of(component: Processor) -> int:
    """How many it asks for.

    Raises:
        ConfigError: if that is no number of processes.
    """
    count = component.processes
    if not isinstance(count, int) or not 0 <= count <= MAX_PROCESSES:
        name = type(component).__name__
        raise ConfigError(f"the processes of {name} are a whole number from 0 to {MAX_PROCESSES}, not {count!r}")
    return count


def _first_message(component: Processor, name: str) -> bytes:
    """What a worker needs to know: `work` itself, and the program that it may be defined in."""
    try:
        work = dumps(component.work)
    except Exception as error:
        raise ConfigError(f"`work` of {name} cannot be sent to a worker process: {error}") from error
    return dumps((_main_module(name) if b"__main__" in work else ("", ""), sys.argv, work))


def _main_module(name: str) -> tuple[str, str]:
    main = sys.modules["__main__"]
    sys.modules.setdefault(MAIN, main)  # what comes back may be of a class that is defined there
    if (spec := getattr(main, "__spec__", None)) is not None:
        return "module", spec.name
    if (path := getattr(main, "__file__", None)) is not None:
        return "path", str(Path(path).absolute())
    raise ConfigError(f"`work` of {name} is defined where no worker process can import it; put it into a module")
