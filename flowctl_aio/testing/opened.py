"""What the fixtures open, as async context managers of whatever loop enters them.

None of them holds a task group or a cancel scope, for pytest-asyncio enters and leaves in different tasks.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import fields, replace
from typing import Any, Protocol

import anyio

from flowctl_aio.component import Component
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import UsageError
from flowctl_aio.owner import OwnerTask, Started
from flowctl_aio.plane import EmbeddedControlPlane
from flowctl_aio.session import FlowctlSession
from flowctl_aio.testing.plane import PlaneUnderTest
from flowctl_aio.types import ServiceInfo, ServiceType

CONFIG_SETTINGS = frozenset(setting.name for setting in fields(FlowctlConfig)) - {"endpoint"}
PLANE_SETTINGS = frozenset(inspect.signature(EmbeddedControlPlane).parameters) - {"gate"} - CONFIG_SETTINGS
MAX_NAME = 60


class Serve(Protocol):
    """Serves a component at the plane of the test until the test ends."""

    async def __call__(self, component: Component | ServiceInfo, **settings: Any) -> FlowctlSession: ...


def config_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a mark that are for the sessions."""
    return {name: value for name, value in settings.items() if name in CONFIG_SETTINGS}


def plane_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a mark that are for the plane.

    Raises:
        UsageError: if one is neither for the plane nor for the sessions.
    """
    unknown = sorted(set(settings) - CONFIG_SETTINGS - PLANE_SETTINGS)
    if unknown:
        raise UsageError(f"pytest.mark.flowctl has no setting {unknown[0]!r}; the plane has {_listed(PLANE_SETTINGS)}")
    return {name: value for name, value in settings.items() if name in PLANE_SETTINGS}


def service_name(test: str) -> str:
    """The name of a test as the id of a service: `test_a[x/y]` → `test_a-x-y`."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", test).strip("-")[:MAX_NAME] or "test"


def open_plane(settings: Mapping[str, Any]) -> PlaneUnderTest:
    """A plane with the settings of a mark, to be entered."""
    return PlaneUnderTest(**plane_settings(settings))


def open_session(test: str, config: FlowctlConfig) -> AbstractAsyncContextManager[FlowctlSession]:
    """A session named after a test."""
    return _living(FlowctlSession(ServiceInfo(service_name(test), ServiceType.PIPELINE), config))


@asynccontextmanager
async def open_serve(config: FlowctlConfig) -> AsyncIterator[Serve]:
    """What serves components with these settings; leaving it ends them, the last one first."""
    async with AsyncExitStack() as stack:

        async def serve(component: Component | ServiceInfo, **settings: Any) -> FlowctlSession:
            session = FlowctlSession(component, replace(config, **settings))
            return await stack.enter_async_context(_living(session))

        yield serve


@asynccontextmanager
async def _living(session: FlowctlSession) -> AsyncIterator[FlowctlSession]:
    """A session whose block is in a task of its own.

    A failure in the background cancels the block, and in a fixture that would be the task of the test,
    or that of anyio's plugin for all tests. So the failure comes out of leaving, with either plugin.
    """
    end = anyio.Event()

    async def live(started: Started) -> None:
        async with session:
            started()
            await end.wait()

    block = OwnerTask(live, name=f"flowctl_aio fixture of {session.info.component_id}")
    await block.start()
    try:
        yield session
    finally:
        end.set()
        await block.wait()


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
