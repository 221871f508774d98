"""What must not be left behind by a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest

from flowctl_aio import FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType

Until: TypeAlias = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def no_tasks_left(until: Until) -> Callable[[], AbstractAsyncContextManager[None]]:
    """A block after which every task that it started is gone."""

    @asynccontextmanager
    async def block() -> AsyncIterator[None]:
        before = asyncio.all_tasks()

        def left() -> set[asyncio.Task[Any]]:
            # A server that is still up waits for its next call in a task that is new after each one.
            return {task for task in asyncio.all_tasks() - before if "_request_call" not in repr(task)}

        yield
        try:
            await until(lambda: not left())
        except TimeoutError:
            pytest.fail(f"left behind: {left()}")

    return block


@pytest.fixture
def drive() -> Callable[..., AbstractAsyncContextManager[FlowctlSession]]:
    """Whoever works with the components, with settings of its own."""

    def drive(**settings: Any) -> AbstractAsyncContextManager[FlowctlSession]:
        info = ServiceInfo("driver", ServiceType.PIPELINE)
        return FlowctlSession(info, FlowctlConfig(enabled=False, drain_timeout=0.2, **settings))

    return drive
