"""The halves of the fixtures that run in a loop: once for anyio's plugin, once for each loop scope of pytest-asyncio.

An async fixture belongs to one of the two plugins, and with pytest-asyncio to one loop; so there is one for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any, Literal, TypeAlias, get_args

import pytest

ANYIO = "anyio"
LoopScope: TypeAlias = Literal["function", "class", "module", "package", "session"]
LOOP_SCOPES: tuple[LoopScope, ...] = get_args(LoopScope)

Twin: TypeAlias = Callable[..., AsyncIterator[Any]]


def twin_name(fixture: str, runner: str) -> str:
    """The name of a fixture's twin; the underscore hides it from `pytest --fixtures`."""
    return f"_{fixture}_{runner}"


def asyncio_twin(loop_scope: str) -> str:
    """The runner of tests of pytest-asyncio with this loop scope."""
    return f"asyncio_{loop_scope}"


def marked(node: Any) -> dict[str, Any]:
    """The settings of all `flowctl` marks of a test; the nearer one wins.

    Raises:
        UsageError: of pytest, if a mark has arguments without names.
    """
    settings: dict[str, Any] = {}
    for mark in reversed([*node.iter_markers("flowctl")]):
        if mark.args:
            raise pytest.UsageError(f"{node.nodeid}: pytest.mark.flowctl takes settings by name, not {mark.args!r}")
        settings.update(mark.kwargs)
    return settings


def anyio_twins() -> ModuleType:
    """A plugin with the twins for anyio's plugin, which runs async fixtures of tests with an `anyio_backend`."""
    plugin = ModuleType("flowctl_aio.testing.anyio_twins")
    for twin in _twins():
        name = twin_name(twin.__name__, ANYIO)
        setattr(plugin, name, pytest.fixture(name=name)(twin))
    return plugin


def asyncio_twins() -> ModuleType:
    """A plugin with the twins for pytest-asyncio, where there is one."""
    import pytest_asyncio

    plugin = ModuleType("flowctl_aio.testing.asyncio_twins")
    for loop_scope in LOOP_SCOPES:
        for twin in _twins():
            name = twin_name(twin.__name__, asyncio_twin(loop_scope))
            setattr(plugin, name, pytest_asyncio.fixture(loop_scope=loop_scope, name=name)(twin))
    return plugin


def _twins() -> list[Twin]:
    """New functions at each call, for both plugins write on them."""

    async def flowctl_plane(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
        from flowctl_aio.testing.opened import open_plane

        async with open_plane(marked(request.node)) as plane:
            yield plane

    async def flowctl_session(request: pytest.FixtureRequest, flowctl_config: Any) -> AsyncIterator[Any]:
        from flowctl_aio.testing.opened import open_session

        async with open_session(request.node.name, flowctl_config) as session:
            yield session

    async def flowctl_serve(flowctl_config: Any) -> AsyncIterator[Any]:
        from flowctl_aio.testing.opened import open_serve

        async with open_serve(flowctl_config) as serve:
            yield serve

    return [flowctl_plane, flowctl_session, flowctl_serve]
