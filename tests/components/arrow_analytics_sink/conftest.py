"""A folder, and a sink that writes to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def sink(out: Path) -> ArrowAnalyticsSink:
    return ArrowAnalyticsSink(out)
