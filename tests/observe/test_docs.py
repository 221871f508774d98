"""The page about all this names what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowctl_aio.observe.meter import Meter
from flowctl_aio.observe.monitor import MonitorMetrics
from flowctl_aio.observe.standard import HELP

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "observability.md").read_text()


@pytest.mark.parametrize("name", HELP)
def test_every_standard_metric_is_explained(name):
    assert f"`{name}`" in PAGE


def test_every_metric_of_upstreams_monitor_is_named():
    meter = Meter()
    MonitorMetrics(meter)
    assert [family.name for family in meter.families() if f"`{family.name}`" not in PAGE] == []


def test_every_path_is_named():
    for path in ("/health", "/live", "/livez", "/healthz", "/ready", "/readyz", "/startupz", "/metrics"):
        assert f"`{path}`" in PAGE
