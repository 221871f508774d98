"""The settings of a session, with their defaults and their bounds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from flowctl_aio.errors import ConfigError

DialectChoice: TypeAlias = Literal["auto", "v1", "classic"]
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowctlConfig:
    """How a session behaves. Times are seconds, sizes are bytes.

    Attributes:
        enabled: false runs the session without any control plane (streams by address still work).
        endpoint: the control plane, `host:port`.
        component_id: wins over the component's own id.
        dialect: `auto` tries v1 and falls back to classic where the plane does not know it.
        heartbeat_interval: between two beats; at most a third of the plane's lease is wise.
        register_timeout, heartbeat_timeout, query_timeout: limits of one call to the plane.
        discover_timeout: how long to wait for a peer that the plane does not know yet.
        drain_timeout: from the wish to stop until everything is cancelled.
        unregister_timeout: limit of the farewell.
        bind: where the data plane listens; port 0 takes a free one.
        advertise_host: the host under which others reach the data plane; empty for that of `bind`.
        insecure: allow plaintext to and from other machines.
        max_inflight: batches that may wait between the wire and the component, per stream.
        max_message_bytes: longest message to send or accept.
        target_message_bytes: larger batches are cut before they are sent.
        on_component_error: what a fault in a served component does to the session.
    """

    enabled: bool = True
    endpoint: str = "localhost:8080"
    component_id: str = ""
    dialect: DialectChoice = "auto"
    heartbeat_interval: float = 10.0
    register_timeout: float = 10.0
    heartbeat_timeout: float = 5.0
    query_timeout: float = 5.0
    discover_timeout: float = 5.0
    drain_timeout: float = 15.0
    unregister_timeout: float = 1.0
    bind: str = "127.0.0.1:0"
    advertise_host: str = ""
    insecure: bool = False
    max_inflight: int = 16
    max_message_bytes: int = 64 * MIB
    target_message_bytes: int = 2 * MIB
    on_component_error: Literal["continue", "stop"] = "continue"

    def __post_init__(self) -> None:
        problems = []
        for field in fields(self):
            value: Any = getattr(self, field.name)
            kind: type[object] = type(field.default)
            kinds: tuple[type, ...] = (int, float) if kind is float else (kind,)
            if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
                problems.append(f"{field.name} must be of type {kind.__name__}, not {value!r}")
            elif (
                field.name.endswith(("_interval", "_timeout", "_bytes", "_inflight"))
                and not getattr(self, field.name) > 0
            ):
                problems.append(f"{field.name} must be above 0, not {value!r}")
        if problems:
            raise ConfigError(*problems)
        if self.max_message_bytes > 2**31 - 1:  # gRPC counts in an int32
            problems.append(f"max_message_bytes must be below 2 GiB, not {self.max_message_bytes!r}")
        if self.dialect not in ("auto", "v1", "classic"):
            problems.append(f"dialect must be auto, v1 or classic, not {self.dialect!r}")
        if self.on_component_error not in ("continue", "stop"):
            problems.append(f"on_component_error must be continue or stop, not {self.on_component_error!r}")
        if problems:
            raise ConfigError(*problems)

    @classmethod
    def from_env(cls, prefix: str = "", **arguments: Any) -> FlowctlConfig:
        """Settings from the environment; see `flowctl_aio.config.environment.read_environment`."""
        from flowctl_aio.config.environment import read_environment

        return read_environment(prefix, **arguments)
