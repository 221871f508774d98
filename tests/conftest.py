"""What the whole suite shares: the loop, the data, a plane to register at, and sessions that need none."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest
from hypothesis import settings

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio.component import Component

Serve: TypeAlias = Callable[..., Awaitable[FlowctlSession]]
Until: TypeAlias = Callable[[Callable[[], bool]], Awaitable[None]]

# How long an example takes tells of the machine; every test has a timeout for what hangs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    soak = parser.getgroup("soak", "flowctl_aio soak")
    soak.addoption("--soak-sessions", type=int, default=200, help="sessions of the soak scenario (default: 200)")
    soak.addoption("--soak-restarts", type=int, default=10, help="restarts of its plane (default: 10)")
    soak.addoption("--outage-seconds", type=float, default=4.0, help="how long a plane stays away (default: 4)")
    soak.addoption("--soak-seconds", type=float, default=0.0, help="go on restarting for at least so long (default: 0)")
    fuzz = parser.getgroup("fuzz", "flowctl_aio fuzz")
    fuzz.addoption("--fuzz-cases", type=int, default=300, help="damaged ledgers to try (default: 300)")
    fuzz.addoption("--fuzz-seed", type=int, default=1, help="of their damage (default: 1)")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
async def one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """One event loop for all tests: what gRPC still has to say when a loop is closed, the next loop stumbles over."""
    yield  # noqa: PT022 - a generator keeps the loop


@pytest.fixture(autouse=True)
def _in_one_loop(request: pytest.FixtureRequest) -> None:
    """Only where anyio's plugin runs the test: those of pytest-asyncio have loops of their own."""
    if request.node.get_closest_marker("anyio") is not None:
        request.getfixturevalue("one_loop")


@pytest.fixture(scope="session")
def data() -> Path:
    """Real ledgers and the answers expected from them; they lie beside the project, not in it."""
    if not DATA.is_dir():
        pytest.skip(f"the real ledgers are not at {DATA}")
    return DATA


@pytest.fixture
async def plane() -> AsyncIterator[EmbeddedControlPlane]:
    async with EmbeddedControlPlane() as plane:
        yield plane


@pytest.fixture
def local_streams() -> bool:
    """Whether sessions of one test are joined in memory. What is promised of streams is promised of gRPC first.

    A module whose tests shall show both overrides this by one with both parameters.
    """
    return False


@pytest.fixture
def config(plane: EmbeddedControlPlane, local_streams: bool) -> FlowctlConfig:
    """Settings that talk to `plane`, at a pace for tests."""
    return FlowctlConfig(
        endpoint=plane.endpoint,
        heartbeat_interval=0.1,
        discover_timeout=0.3,
        drain_timeout=2.0,
        local_streams=local_streams,
    )


@pytest.fixture
async def serve(local_streams: bool) -> AsyncIterator[Serve]:
    """Serves a component until the test ends."""
    async with AsyncExitStack() as stack:

        async def serve(component: Component, **settings: Any) -> FlowctlSession:
            config = FlowctlConfig(
                **{"enabled": False, "drain_timeout": 0.2, "local_streams": local_streams, **settings}
            )
            return await stack.enter_async_context(FlowctlSession(component, config))

        yield serve


@pytest.fixture
async def driver(local_streams: bool) -> AsyncIterator[FlowctlSession]:
    """Whoever works with the components."""
    info = ServiceInfo("driver", ServiceType.PIPELINE)
    config = FlowctlConfig(enabled=False, drain_timeout=0.2, local_streams=local_streams)
    async with FlowctlSession(info, config) as session:
        yield session


@pytest.fixture
def free_port() -> int:
    """A port at which nobody listens, yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def until() -> Until:
    """Waits for what nobody announces."""

    async def until(condition: Callable[[], bool]) -> None:
        with anyio.fail_after(5):
            while not condition():  # noqa: ASYNC110 - nobody sets an event for it
                await anyio.sleep(0.005)

    return until
