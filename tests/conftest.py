"""What the whole suite shares: the backend, the data, and a plane to register at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


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
def config(plane: EmbeddedControlPlane) -> FlowctlConfig:
    """Settings that talk to `plane`, at a pace for tests."""
    return FlowctlConfig(endpoint=plane.endpoint, heartbeat_interval=0.1, drain_timeout=2.0)
