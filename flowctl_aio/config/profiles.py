"""Named sets of settings: for an environment, and for a load. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowctl_aio.errors import ConfigError

PLANE = "localhost:8080"
ALIASES = {"dev": "development", "prod": "production"}


def _set(*, heartbeat: float, watch: float, pool: tuple[int, int], idle: float, **settings: Any) -> Mapping[str, Any]:
    least, most = pool
    return {
        "heartbeat_interval": heartbeat,
        "watch_interval": watch,
        "connection_pool_min_connections": least,
        "connection_pool_max_connections": most,
        "connection_pool_idle_timeout": idle,
        **settings,
    }


PROFILES: Mapping[str, Mapping[str, Any]] = {
    "local": {"enabled": False},
    "flowctl": _set(heartbeat=10.0, watch=5.0, pool=(2, 10), idle=300.0, enabled=True, endpoint=PLANE),
    "development": _set(heartbeat=5.0, watch=3.0, pool=(1, 5), idle=120.0, enabled=True, endpoint=PLANE),
    # Names no endpoint: a placeholder would be dialled for ever. `NEEDS_ENDPOINT` has it asked for.
    "production": _set(heartbeat=15.0, watch=5.0, pool=(5, 20), idle=600.0, enabled=True),
    # Both were slower than that, with beats every 30 and 60 s: a plane gives a silent service up after 30.
    "high_throughput": _set(heartbeat=10.0, watch=10.0, pool=(15, 50), idle=1800.0),
    "constrained": _set(heartbeat=10.0, watch=30.0, pool=(1, 3), idle=900.0),
    "low_latency": _set(heartbeat=3.0, watch=1.0, pool=(4, 8), idle=60.0),
}
TUNING = ("high_throughput", "low_latency", "constrained")
NEEDS_ENDPOINT = "production"


def profiles_named(text: str) -> list[str]:
    """The names in a text such as `production+low_latency`; later ones win.

    Raises:
        ConfigError: if one of them is unknown.
    """
    names = [ALIASES.get(name, name) for name in text.strip().lower().replace("-", "_").split("+")]
    for name in names:
        if name not in PROFILES:
            raise ConfigError(f"the profile {name[:40]!r} is unknown: there are {', '.join([*PROFILES, *ALIASES])}")
    return names
