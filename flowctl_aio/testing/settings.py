"""Settings of sessions under test: a pace at which a test need not wait."""

from __future__ import annotations

from typing import Any, Protocol

from flowctl_aio.config import FlowctlConfig


class Dialled(Protocol):
    """Whatever has an address."""

    @property
    def endpoint(self) -> str: ...


def config_for(plane: Dialled, **settings: Any) -> FlowctlConfig:
    """Settings that talk to `plane`, a plane or a link to one, at a pace for tests; `settings` win.

    Beats come every 0.1 s and have 1 s, peers are looked for during 1 s, draining has 2 s, and no answer of the
    plane is given twice.
    """
    pace: dict[str, Any] = {
        "endpoint": plane.endpoint,
        "heartbeat_interval": 0.1,
        "heartbeat_timeout": 1.0,
        "query_max_age": 0.0,
        "watch_interval": 0.1,
        "discover_timeout": 1.0,
        "drain_timeout": 2.0,
    }
    return FlowctlConfig(**(pace | settings))
