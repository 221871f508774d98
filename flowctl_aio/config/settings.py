"""The settings of a session: values, defaults, bounds and names, all in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from flowctl_aio.config.definition.kinds import (
    Bind,
    Boolean,
    Choice,
    Duration,
    Endpoint,
    Integer,
    LetterPlace,
    Milliseconds,
    PemFile,
    Share,
    Text,
    Token,
)
from flowctl_aio.config.definition.setting import Setting, check_settings
from flowctl_aio.errors import ConfigError
from flowctl_aio.security import Admission, ClientTls, Credentials, Pem, ServerTls

DialectChoice: TypeAlias = Literal["auto", "v1", "classic"]
OnEventError: TypeAlias = Literal["fail", "skip", "dead-letter"]
Compression: TypeAlias = Literal["none", "lz4", "zstd"]
HeartbeatMode: TypeAlias = Literal["loop", "thread"]
MIB = 1024 * 1024
MAX_LEDGER = 2**32 - 1

_BOOLEAN, _TEXT, _BIND, _PEM, _TOKEN, _SHARE = Boolean(), Text(), Bind(), PemFile(), Token(), Share()
_SECONDS, _COUNT, _LEDGER = Duration(), Integer(1), Integer(0, MAX_LEDGER)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowctlConfig:
    """How a session behaves. Times are seconds, sizes are bytes.

    What each setting means stands beside it; `docs/configuration.md` has them all as a table.

    Raises:
        ConfigError: if a value is of another type, out of its bounds, or contradicts another.
    """

    PREFIX: ClassVar[str | None] = "FLOWCTL_"

    enabled: Annotated[
        bool,
        Setting(
            _BOOLEAN,
            "whether there is a control plane; without one, streams by address still work",
            ("ENABLE_FLOWCTL",),
        ),
    ] = True
    endpoint: Annotated[str, Setting(Endpoint(), "the control plane")] = "localhost:8080"
    component_id: Annotated[
        str,
        Setting(
            _TEXT,
            "wins over the component's own id; a runner's variable wins over the argument",
            ("FLOWCTL_COMPONENT_ID", "FLOWCTL_SERVICE_ID", "COMPONENT_ID"),
            is_ordered=True,
            beats_arguments=True,
        ),
    ] = ""
    dialect: Annotated[
        DialectChoice,
        Setting(
            Choice(("auto", "v1", "classic")),
            "of the plane; `auto` tries v1 and falls back to classic where the plane does not know it",
        ),
    ] = "auto"
    heartbeat_interval: Annotated[
        float,
        Setting(
            _SECONDS,
            "between two beats; at most a third of the plane's lease is wise",
            ("FLOWCTL_HEARTBEAT_INTERVAL", "FLOWCTL_HEARTBEAT_INTERVAL_MS"),
            readings=(("FLOWCTL_HEARTBEAT_INTERVAL_MS", Milliseconds()),),
        ),
    ] = 10.0
    heartbeat_mode: Annotated[
        HeartbeatMode,
        Setting(
            Choice(("loop", "thread")),
            "`loop` beats on the event loop; `thread` from a thread, also while code blocks the loop",
        ),
    ] = "loop"
    lease_timeout: Annotated[
        float,
        Setting(_SECONDS, "how long the plane counts a silent service as alive; a longer gap is healed explicitly"),
    ] = 30.0
    max_rejected_beats: Annotated[
        int, Setting(_COUNT, "so many refused beats in a row make the session DEGRADED, and it registers anew")
    ] = 3
    register_timeout: Annotated[float, Setting(_SECONDS, "limit of a registration")] = 10.0
    heartbeat_timeout: Annotated[float, Setting(_SECONDS, "limit of a beat")] = 5.0
    query_timeout: Annotated[float, Setting(_SECONDS, "limit of a question to the plane")] = 5.0
    metrics_timeout: Annotated[float, Setting(_SECONDS, "limit of a metrics provider")] = 1.0
    query_max_age: Annotated[
        float, Setting(Duration(zero=True), "answers of the plane younger than this are given again")
    ] = 0.5
    watch_interval: Annotated[
        float, Setting(_SECONDS, "between two looks at the plane by `watch`", ("MONITORING_INTERVAL",))
    ] = 10.0
    discover_timeout: Annotated[
        float, Setting(_SECONDS, "how long to wait for a peer that the plane does not know yet")
    ] = 5.0
    drain_timeout: Annotated[float, Setting(_SECONDS, "from the wish to stop until everything is cancelled")] = 15.0
    unregister_timeout: Annotated[float, Setting(_SECONDS, "limit of the farewell")] = 1.0
    bind: Annotated[
        str, Setting(_BIND, "where the data plane listens; port 0 takes a free one", ("PORT",), own=("FLIGHT_PORT",))
    ] = "127.0.0.1:0"
    advertise_host: Annotated[
        str, Setting(_TEXT, "host under which others reach the data plane; empty for that of `bind`")
    ] = ""
    health_bind: Annotated[str, Setting(_BIND, "where the health pages listen; empty for none", ("HEALTH_PORT",))] = ""
    insecure: Annotated[bool, Setting(_BOOLEAN, "allow plaintext to and from other machines")] = False
    tls: Annotated[
        bool, Setting(_BOOLEAN, "encrypt the channels to the plane and to peers", ("FLOWCTL_TLS_ENABLED",))
    ] = False
    tls_ca: Annotated[Pem, Setting(_PEM, "whom those channels trust; any of the `tls_` settings implies `tls`")] = ""
    tls_cert: Annotated[Pem, Setting(_PEM, "what they show to a server that asks for a certificate")] = ""
    tls_key: Annotated[Pem, Setting(_PEM, "the key of it", is_secret=True)] = field(default="", repr=False)
    tls_server_name: Annotated[
        str, Setting(_TEXT, "the name in the server's certificate, if it is not the host that is dialled")
    ] = ""
    serve_tls_cert: Annotated[Pem, Setting(_PEM, "what the data plane shows to its clients")] = ""
    serve_tls_key: Annotated[Pem, Setting(_PEM, "the key of it", is_secret=True)] = field(default="", repr=False)
    serve_tls_client_ca: Annotated[
        Pem, Setting(_PEM, "who must have signed the certificates of its clients; empty asks for none")
    ] = ""
    token: Annotated[
        str, Setting(_TOKEN, "bearer token that is shown with every call", ("FLOWCTL_AUTH_TOKEN",), is_secret=True)
    ] = field(default="", repr=False)
    token_file: Annotated[
        str, Setting(_TEXT, "file of that token, read again when it changes", ("FLOWCTL_AUTH_TOKEN_FILE",))
    ] = ""
    api_key: Annotated[str, Setting(_TOKEN, "key that is shown with every call, as `x-api-key`", is_secret=True)] = (
        field(default="", repr=False)
    )
    api_key_file: Annotated[str, Setting(_TEXT, "file of that key, read again when it changes")] = ""
    accept_tokens_file: Annotated[
        str, Setting(_TEXT, "the tokens that let callers of the data plane in, one a line; empty lets everybody in")
    ] = ""
    max_inflight: Annotated[
        int, Setting(_COUNT, "batches that may wait between the wire and the component, per stream")
    ] = 16
    max_inflight_bytes: Annotated[
        int,
        Setting(
            Integer(1, 2**31 - 1),
            "bytes that may wait there, and on the wire before it, per stream; a single message may be longer",
        ),
    ] = 8 * MIB
    max_message_bytes: Annotated[int, Setting(Integer(1, 2**31 - 1), "longest message to send or accept")] = 64 * MIB
    stranger_message_bytes: Annotated[
        int,
        Setting(
            Integer(1, 2**31 - 1),
            "longest message to a peer that does not know this SDK; Go components take 4 MiB, `flowctl run` 50 MiB",
        ),
    ] = 4 * MIB
    target_message_bytes: Annotated[int, Setting(_COUNT, "larger batches are cut before they are sent")] = 2 * MIB
    local_streams: Annotated[
        bool,
        Setting(_BOOLEAN, "join peers of the same event loop in memory, without gRPC or copying, if both have it on"),
    ] = True
    linger: Annotated[
        float,
        Setting(
            Duration(zero=True),
            "how long a small batch for a sink or processor waits for more of its kind; 0 joins none",
        ),
    ] = 0.0
    compression: Annotated[
        Compression,
        Setting(Choice(("none", "lz4", "zstd")), "of the batches that are sent, to peers that can read it"),
    ] = "none"
    shared_memory: Annotated[
        bool,
        Setting(_BOOLEAN, "batches between processes of one user on one host go through memory that both have"),
    ] = True
    shared_memory_bytes: Annotated[
        int,
        Setting(Integer(1, 2**38), "of such memory, at most, that a peer may fill on one stream to this process"),
    ] = 64 * MIB
    shared_memory_folder: Annotated[
        str, Setting(_TEXT, "where each user has a folder for it; on a file system in memory")
    ] = "/dev/shm"  # noqa: S108 - the folder in it is checked
    connection_pool_max_connections: Annotated[
        int, Setting(Integer(1, 50), "connections to one peer, at most", ("CONNECTION_POOL_MAX_CONNECTIONS",))
    ] = 10
    connection_pool_min_connections: Annotated[
        int,
        Setting(
            Integer(1, 50),
            "so many are opened before two streams share one, and stay when nobody uses them",
            ("CONNECTION_POOL_MIN_CONNECTIONS",),
        ),
    ] = 2
    connection_pool_idle_timeout: Annotated[
        float, Setting(_SECONDS, "until an unused one above those is closed", ("CONNECTION_POOL_IDLE_TIMEOUT",))
    ] = 300.0
    connection_pool_health_check_interval: Annotated[
        float,
        Setting(_SECONDS, "between two looks at them; no call is made", ("CONNECTION_POOL_HEALTH_CHECK_INTERVAL",)),
    ] = 60.0
    connection_pool_load_balancing: Annotated[
        bool,
        Setting(
            _BOOLEAN,
            "a new stream takes the connection with the fewest; else the first that has room",
            ("CONNECTION_POOL_LOAD_BALANCING",),
        ),
    ] = True
    backpressure_threshold: Annotated[
        float, Setting(_SHARE, "load at which throttling begins", ("FLOW_CONTROL_BACKPRESSURE_THRESHOLD",))
    ] = 0.8
    recovery_threshold: Annotated[
        float, Setting(_SHARE, "load at which it ends", ("FLOW_CONTROL_RECOVERY_THRESHOLD",))
    ] = 0.6
    throttle_rate: Annotated[float, Setting(_SHARE, "the rate while throttled, as a part of the full one")] = 0.5
    flow_scope: Annotated[
        Literal["service", "pipeline"],
        Setting(
            Choice(("service", "pipeline")),
            "whose load counts: this service's alone, or that of all, which the plane is asked for",
        ),
    ] = "service"
    loop_lag_timeout: Annotated[float, Setting(_SECONDS, "an event loop that is late by more is DEGRADED")] = 5.0
    stall_timeout: Annotated[float, Setting(_SECONDS, "a component that is at one batch for longer is DEGRADED")] = 60.0
    max_error_rate: Annotated[
        float, Setting(_SHARE, "a component that lately failed at a larger part of its batches is DEGRADED")
    ] = 0.5
    on_component_error: Annotated[
        Literal["continue", "stop"],
        Setting(Choice(("continue", "stop")), "what a fault in a served component does to the session"),
    ] = "continue"
    on_event_error: Annotated[
        OnEventError,
        Setting(
            Choice(("fail", "skip", "dead-letter")),
            "what an event does that the component fails at: `fail` ends the stream, the others set the event aside",
        ),
    ] = "fail"
    max_retries: Annotated[
        int, Setting(Integer(0, 1000), "how often the component gets a batch again that it failed at, before that")
    ] = 0
    retry_delay: Annotated[
        float, Setting(_SECONDS, "longest wait before the first retry; doubles each time, up to 30 s, and is jittered")
    ] = 0.1
    dead_letters: Annotated[
        str,
        Setting(LetterPlace(), "where `dead-letter` puts events: a file of JSON, a folder of Parquet files, or a sink"),
    ] = ""
    state_file: Annotated[
        str, Setting(_TEXT, "where a source keeps what its clients save there; empty for memory only")
    ] = ""
    run_id: Annotated[str, Setting(_TEXT, "the run of a pipeline, as its runner counts it")] = ""
    attempt: Annotated[int, Setting(_COUNT, "how many times the runner has started this component, with this one")] = 1
    start_ledger: Annotated[
        int,
        Setting(
            _LEDGER,
            "first ledger for a source, if nobody asks for one; 0 for none",
            ("CHUNK_START", "START_LEDGER"),
            is_ordered=True,
        ),
    ] = 0
    end_ledger: Annotated[
        int, Setting(_LEDGER, "last ledger, included; 0 for no end", ("CHUNK_END", "END_LEDGER"), is_ordered=True)
    ] = 0
    network_passphrase: Annotated[
        str, Setting(_TEXT, "passphrase or name of the network, for the component", ("NETWORK_PASSPHRASE",))
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warn", "error"],
        Setting(
            Choice(("debug", "info", "warn", "error")),
            "for programs: the SDK itself configures no logging",
            ("LOG_LEVEL",),
        ),
    ] = "info"

    def __post_init__(self) -> None:
        check_settings(self, self._contradictions)

    def _contradictions(self) -> list[str]:
        """What is wrong with values that are each in order."""
        problems = []
        if self.recovery_threshold > self.backpressure_threshold:
            problems.append(
                "recovery_threshold must not lie above backpressure_threshold,"
                f" not {self.recovery_threshold!r} above {self.backpressure_threshold!r}"
            )
        if self.on_event_error == "dead-letter" and not self.dead_letters:
            problems.append("dead_letters must name a place while on_event_error is dead-letter")
        if self.start_ledger and self.end_ledger and self.end_ledger < self.start_ledger:
            problems.append(f"end_ledger {self.end_ledger} lies before start_ledger {self.start_ledger}")
        least, most = self.connection_pool_min_connections, self.connection_pool_max_connections
        if least > most:
            problems.append(
                f"connection_pool_min_connections {least} lies above connection_pool_max_connections {most}"
            )
        for part, names in (
            ("client_tls", "tls_cert, tls_key: "),
            ("server_tls", "serve_tls_cert, serve_tls_key: "),
            ("credentials", ""),
            ("admission", ""),
        ):
            try:
                getattr(self, part)
            except ConfigError as error:
                problems += [f"{names}{problem}" for problem in error.problems]
        return problems

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
    def load(
        cls,
        component: str = "",
        *,
        file: str | PathLike[str] | None = None,
        profile: str = "",
        environ: Mapping[str, str] | None = None,
        id_from_runner: bool = True,
        **arguments: Any,
    ) -> FlowctlConfig:
        """Settings from arguments, the environment, a YAML file and a profile, in this order.

        What is known but has no effect is logged as a warning. See `resolve` for where each value came from.

        Args:
            component: such as `stellar_arrow_source`: its variables begin with that, and it may have a section.
            file: of YAML; without one, what FLOWCTL_CONFIG_FILE names.
            profile: one or several, such as `production+low_latency`; without one, FLOWCTL_PROFILE, or what the
                file names.
            environ: instead of that of the process.
            id_from_runner: a component id in the environment wins over the argument.
            arguments: settings by name; None counts as not given.

        Raises:
            ConfigError: if anything cannot be read, is out of its bounds or unknown; all of it is named at once.
        """
        from flowctl_aio.config.reading.resolve import load

        return load(
            component, file=file, profile=profile, environ=environ, id_from_runner=id_from_runner, arguments=arguments
        )

    @classmethod
    def from_env(cls, prefix: str = "", **arguments: Any) -> FlowctlConfig:
        """Settings from the environment and arguments; see `load`."""
        return cls.load(prefix, **arguments)
