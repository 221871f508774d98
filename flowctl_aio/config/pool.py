"""Settings of a connection pool: known and checked, and without effect as long as there is no pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from flowctl_aio.config.definition.kinds import Boolean, Duration, Integer
from flowctl_aio.config.definition.setting import Setting, check_settings

_NO_POOL = "there is no connection pool yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPoolSettings:
    """How many connections to peers would be kept, and for how long.

    Raises:
        ConfigError: if a value is of another type, out of its bounds, or contradicts another.
    """

    PREFIX: ClassVar[str | None] = ""

    connection_pool_max_connections: Annotated[
        int, Setting(Integer(1, 50), "connections to a peer, at most", lacking=_NO_POOL)
    ] = 10
    connection_pool_min_connections: Annotated[
        int,
        Setting(Integer(1, 50), "connections that are kept; was up to 10, below a set of its own", lacking=_NO_POOL),
    ] = 2
    connection_pool_idle_timeout: Annotated[
        float, Setting(Duration(), "until an unused one is closed", lacking=_NO_POOL)
    ] = 300.0
    connection_pool_health_check_interval: Annotated[
        float, Setting(Duration(), "between two looks at them", lacking=_NO_POOL)
    ] = 60.0
    connection_pool_load_balancing: Annotated[bool, Setting(Boolean(), "spread calls over them", lacking=_NO_POOL)] = (
        True
    )

    def __post_init__(self) -> None:
        check_settings(self, self._contradictions)

    def _contradictions(self) -> list[str]:
        least, most = self.connection_pool_min_connections, self.connection_pool_max_connections
        if least > most:
            return [f"connection_pool_min_connections {least} lies above connection_pool_max_connections {most}"]
        return []
