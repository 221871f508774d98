"""The settings of a session, with their defaults and their bounds."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Any, Literal, TypeAlias

from flowctl_aio.errors import ConfigError
from flowctl_aio.security import Admission, ClientTls, Credentials, Pem, ServerTls

DialectChoice: TypeAlias = Literal["auto", "v1", "classic"]
HeartbeatMode: TypeAlias = Literal["loop", "thread"]
PEMS = ("tls_ca", "tls_cert", "tls_key", "serve_tls_cert", "serve_tls_key", "serve_tls_client_ca")
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
        heartbeat_mode: `loop` beats on the event loop; `thread` beats from a thread, also while code blocks the loop.
        lease_timeout: how long the plane counts a silent service as alive; a longer gap is healed explicitly.
        register_timeout, heartbeat_timeout, query_timeout: limits of one call to the plane.
        metrics_timeout: limit of a metrics provider.
        query_max_age: answers of the plane younger than this are given again.
        watch_interval: between two looks at the plane by `watch`.
        discover_timeout: how long to wait for a peer that the plane does not know yet.
        drain_timeout: from the wish to stop until everything is cancelled.
        unregister_timeout: limit of the farewell.
        bind: where the data plane listens; port 0 takes a free one.
        advertise_host: the host under which others reach the data plane; empty for that of `bind`.
        health_bind: where the health pages listen; empty for none.
        insecure: allow plaintext to and from other machines.
        tls: encrypt the channels to the plane and to peers.
        tls_ca, tls_cert, tls_key, tls_server_name: of those channels, see `ClientTls`; any of them implies `tls`.
        serve_tls_cert, serve_tls_key, serve_tls_client_ca: of the data plane, see `ServerTls`.
        token, token_file, api_key, api_key_file: what is shown with every call, see `Credentials`.
        accept_tokens_file: the tokens that let callers of the data plane in, one a line; empty lets everybody in.
        max_inflight: batches that may wait between the wire and the component, per stream.
        max_message_bytes: longest message to send or accept.
        target_message_bytes: larger batches are cut before they are sent.
        backpressure_threshold, recovery_threshold: load at which throttling begins, and at which it ends.
        throttle_rate: the rate while throttled, as a part of the full one.
        on_component_error: what a fault in a served component does to the session.
    """

    enabled: bool = True
    endpoint: str = "localhost:8080"
    component_id: str = ""
    dialect: DialectChoice = "auto"
    heartbeat_interval: float = 10.0
    heartbeat_mode: HeartbeatMode = "loop"
    lease_timeout: float = 30.0
    register_timeout: float = 10.0
    heartbeat_timeout: float = 5.0
    query_timeout: float = 5.0
    metrics_timeout: float = 1.0
    query_max_age: float = 0.5
    watch_interval: float = 10.0
    discover_timeout: float = 5.0
    drain_timeout: float = 15.0
    unregister_timeout: float = 1.0
    bind: str = "127.0.0.1:0"
    advertise_host: str = ""
    health_bind: str = ""
    insecure: bool = False
    tls: bool = False
    tls_ca: Pem = ""
    tls_cert: Pem = ""
    tls_key: Pem = field(default="", repr=False)
    tls_server_name: str = ""
    serve_tls_cert: Pem = ""
    serve_tls_key: Pem = field(default="", repr=False)
    serve_tls_client_ca: Pem = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    api_key: str = field(default="", repr=False)
    api_key_file: str = ""
    accept_tokens_file: str = ""
    max_inflight: int = 16
    max_message_bytes: int = 64 * MIB
    target_message_bytes: int = 2 * MIB
    backpressure_threshold: float = 0.8
    recovery_threshold: float = 0.6
    throttle_rate: float = 0.5
    on_component_error: Literal["continue", "stop"] = "continue"

    def __post_init__(self) -> None:
        problems = []
        for setting in fields(self):
            name, value = setting.name, getattr(self, setting.name)
            kind: type[Any] = type(setting.default)
            kinds: tuple[type[Any], ...] = (int, float) if kind is float else (kind,)
            if name in PEMS:
                kinds = (str, bytes, PathLike)
            shown = repr(value) if setting.repr else "what is given"
            if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
                problems.append(f"{name} must be of type {kind.__name__}, not {shown}")
            elif name.endswith(("_interval", "_timeout", "_bytes", "_inflight")) and not value > 0:
                problems.append(f"{name} must be above 0, not {value!r}")
        if problems:
            raise ConfigError(*problems)
        if self.max_message_bytes > 2**31 - 1:  # gRPC counts in an int32
            problems.append(f"max_message_bytes must be below 2 GiB, not {self.max_message_bytes!r}")
        if self.dialect not in ("auto", "v1", "classic"):
            problems.append(f"dialect must be auto, v1 or classic, not {self.dialect!r}")
        if self.heartbeat_mode not in ("loop", "thread"):
            problems.append(f"heartbeat_mode must be loop or thread, not {self.heartbeat_mode!r}")
        if not 0 < self.recovery_threshold <= self.backpressure_threshold <= 1:
            problems.append(
                "recovery_threshold and backpressure_threshold must lie above 0 and up to 1, in this order,"
                f" not {self.recovery_threshold!r} and {self.backpressure_threshold!r}"
            )
        if not 0 < self.throttle_rate <= 1:
            problems.append(f"throttle_rate must be above 0 and up to 1, not {self.throttle_rate!r}")
        if self.query_max_age < 0:
            problems.append(f"query_max_age must not be negative, not {self.query_max_age!r}")
        if self.on_component_error not in ("continue", "stop"):
            problems.append(f"on_component_error must be continue or stop, not {self.on_component_error!r}")
        for part in ("client_tls", "server_tls", "credentials", "admission"):
            try:
                getattr(self, part)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(*problems)

    @property
    def client_tls(self) -> ClientTls | None:
        """TLS of the channels to the plane and to peers; None for plaintext."""
        if not (self.tls or self.tls_ca or self.tls_cert or self.tls_key or self.tls_server_name):
            return None
        return ClientTls(self.tls_ca, self.tls_cert, self.tls_key, self.tls_server_name)

    @property
    def server_tls(self) -> ServerTls | None:
        """TLS of the data plane; None for plaintext."""
        if not (self.serve_tls_cert or self.serve_tls_key or self.serve_tls_client_ca):
            return None
        return ServerTls(self.serve_tls_cert, self.serve_tls_key, self.serve_tls_client_ca)

    @property
    def credentials(self) -> Credentials:
        """What is shown with every call."""
        return Credentials(self.token, self.token_file, self.api_key, self.api_key_file)

    @property
    def admission(self) -> Admission | None:
        """Whom the data plane lets in; None for everybody."""
        return Admission(tokens_file=self.accept_tokens_file) if self.accept_tokens_file else None

    @classmethod
    def from_env(cls, prefix: str = "", **arguments: Any) -> FlowctlConfig:
        """Settings from the environment; see `flowctl_aio.config.environment.read_environment`."""
        from flowctl_aio.config.environment import read_environment

        return read_environment(prefix, **arguments)
