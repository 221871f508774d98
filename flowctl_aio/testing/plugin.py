"""The pytest plugin: a plane with faults, settings that talk to it, and sessions, in the loop of the test that asks.

The fixtures here are plain functions. What has to run in a loop is the work of twins, one for anyio's plugin and one
for each loop scope of pytest-asyncio; which of them runs, the test decides. Nothing but pytest is imported until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flowctl_aio.testing.twins import ANYIO, anyio_twins, asyncio_twin, asyncio_twins, marked, twin_name

if TYPE_CHECKING:
    from flowctl_aio import FlowctlConfig, FlowctlSession
    from flowctl_aio.testing import PlaneUnderTest
    from flowctl_aio.testing.opened import Serve

MARKER = (
    "flowctl(**settings): settings of the plane and of the sessions that the flowctl_* fixtures make for this test, "
    "such as dialect='classic', heartbeat_interval=0.05, heartbeat_ttl=1.0"
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    config.pluginmanager.register(anyio_twins())
    if _has_pytest_asyncio(config):
        config.pluginmanager.register(asyncio_twins())


@pytest.fixture
def flowctl_plane(request: pytest.FixtureRequest) -> PlaneUnderTest:
    """A control plane on a free port, in the loop of the test; it fails when told to."""
    plane: PlaneUnderTest = _twin(request, "flowctl_plane")
    return plane


@pytest.fixture
def flowctl_config(request: pytest.FixtureRequest, flowctl_plane: PlaneUnderTest) -> FlowctlConfig:
    """Settings that talk to `flowctl_plane`, at a pace for tests. Override it to have your own."""
    from flowctl_aio.testing.opened import config_settings
    from flowctl_aio.testing.settings import config_for

    return config_for(flowctl_plane, **config_settings(marked(request.node)))


@pytest.fixture
def flowctl_session(request: pytest.FixtureRequest, flowctl_config: FlowctlConfig) -> FlowctlSession:
    """A session without a component, registered at `flowctl_plane` under the name of the test."""
    session: FlowctlSession = _twin(request, "flowctl_session")
    return session


@pytest.fixture
def flowctl_serve(request: pytest.FixtureRequest, flowctl_config: FlowctlConfig) -> Serve:
    """Serves components until the test ends: `session = await flowctl_serve(component, **settings)`."""
    serve: Serve = _twin(request, "flowctl_serve")
    return serve


def _twin(request: pytest.FixtureRequest, fixture: str) -> Any:
    """What the twin of a fixture gives that runs in the loop of the test."""
    return request.getfixturevalue(twin_name(fixture, _runner_of(request, fixture)))


def _runner_of(request: pytest.FixtureRequest, fixture: str) -> str:
    config, node = request.config, request.node
    # Of two marks pytest-asyncio's wins, as its own way to run a test does.
    mark = node.get_closest_marker("asyncio") if _has_pytest_asyncio(config) else None
    if mark is not None:
        scope = mark.kwargs.get("loop_scope") or mark.kwargs.get("scope")
        return asyncio_twin(scope or config.getini("asyncio_default_test_loop_scope"))
    if "anyio_backend" not in request.fixturenames:
        pytest.fail(
            f"{fixture} runs in the loop of its test, and {node.nodeid} has none: make it an async test of"
            " pytest-asyncio or anyio (pytest.mark.asyncio, pytest.mark.anyio, or an auto mode)",
            pytrace=False,
        )
    if request.getfixturevalue("anyio_backend_name") != "asyncio":
        pytest.skip("flowctl_aio runs on asyncio: gRPC knows no other loop")
    return ANYIO


def _has_pytest_asyncio(config: pytest.Config) -> bool:
    # By its module, for the name of a plugin depends on how it was loaded.
    plugins = config.pluginmanager.get_plugins()
    return any(getattr(plugin, "__name__", "") == "pytest_asyncio.plugin" for plugin in plugins)
