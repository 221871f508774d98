"""Settings of the arrow-analytics-sink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from flowctl_aio.config.definition.kinds import Boolean, Choice, Duration, Endpoint, Integer, Text, Words
from flowctl_aio.config.definition.setting import Setting, check_settings, settings_of
from flowctl_aio.config.settings import MIB, FlowctlConfig

_SESSION = settings_of(FlowctlConfig)
_PORT = Integer(0, 65535)
_PARQUET = "events are written as Parquet"
_NO_HTTP = "nothing is served over HTTP or WebSocket"
_NO_ANALYTICS = "nothing is computed on the way"
_NO_RETENTION = "nothing is ever deleted"


@dataclass(frozen=True)
class Below(Text):
    """A folder inside the one that is given."""

    folder: str = ""

    def read(self, text: str) -> str:
        return f"{super().read(text).rstrip('/')}/{self.folder}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrowAnalyticsSinkSettings:
    """What the first implementation's sink could be told, and how much an epoch may hold.

    Raises:
        ConfigError: if a value is of another type, out of its bounds, or asks for what is not offered.
    """

    PREFIX: ClassVar[str | None] = None

    processor_endpoint: Annotated[
        str,
        Setting(
            Endpoint(), "the processor", lacking="whoever drives the pipeline connects the two, by discovery or address"
        ),
    ] = "localhost:8816"
    output_formats: Annotated[
        tuple[str, ...],
        Setting(
            Words(Choice(("parquet", "json", "csv", "websocket", "api"), ("parquet",))),
            "what is written. Was parquet and json, which is not offered yet",
        ),
    ] = ("parquet",)
    parquet_path: Annotated[
        str,
        Setting(
            Text(),
            "folder of the Parquet files",
            own=("DATA_PATH",),
            readings=(("DATA_PATH", Below(folder="parquet")),),
            is_ordered=True,
        ),
    ] = "./data/ttp_events"
    parquet_compression: Annotated[
        str, Setting(Choice(("none", "snappy", "gzip", "lz4", "zstd", "brotli")), "codec of the Parquet files")
    ] = "snappy"
    partition_by: Annotated[
        tuple[str, ...],
        Setting(Words(Choice(("date", "hour", "asset_code", "event_type"), ("date",))), "folders below that one"),
    ] = ("date",)
    parquet_batch_size: Annotated[
        int, Setting(Integer(1000, 100_000), "rows in a file", lacking="an epoch gives one file for each date")
    ] = 10_000
    max_epoch_bytes: Annotated[int, Setting(Integer(1), "what an epoch may hold in memory; new here")] = 256 * MIB
    row_group_rows: Annotated[int, Setting(Integer(1), "rows in a row group of Parquet, at most; new here")] = (
        128 * 1024
    )
    json_path: Annotated[
        str,
        Setting(
            Text(),
            "folder of the JSON files",
            own=("DATA_PATH",),
            readings=(("DATA_PATH", Below(folder="json")),),
            is_ordered=True,
            lacking=_PARQUET,
        ),
    ] = "./data/json"
    json_format: Annotated[
        str, Setting(Choice(("json", "jsonl", "pretty")), "how they are written", lacking=_PARQUET)
    ] = "jsonl"
    csv_path: Annotated[
        str,
        Setting(
            Text(),
            "folder of the CSV files",
            own=("DATA_PATH",),
            readings=(("DATA_PATH", Below(folder="csv")),),
            is_ordered=True,
            lacking=_PARQUET,
        ),
    ] = "./data/csv"
    csv_delimiter: Annotated[
        str, Setting(Text(r"[^\"]", "one character, and no quote"), "between two fields", lacking=_PARQUET)
    ] = ","
    websocket_port: Annotated[
        int, Setting(_PORT, "of the live stream; was 8080, the plane's own port", lacking=_NO_HTTP)
    ] = 8082
    websocket_path: Annotated[
        str, Setting(Text(r"/.*", "a path such as /ws"), "of the live stream", lacking=_NO_HTTP)
    ] = "/ws"
    max_websocket_connections: Annotated[
        int, Setting(Integer(10, 10_000), "clients of the live stream", lacking=_NO_HTTP)
    ] = 1000
    api_port: Annotated[
        int,
        Setting(
            _PORT,
            "of the REST API; was 8080 here and 8081 there",
            own=("WEBSOCKET_PORT",),
            is_ordered=True,
            lacking=_NO_HTTP,
        ),
    ] = 8081
    api_cache_size: Annotated[int, Setting(Integer(1000, 1_000_000), "events that the API holds", lacking=_NO_HTTP)] = (
        100_000
    )
    buffer_size: Annotated[
        int,
        Setting(Integer(1000, 100_000), "events in a buffer", lacking="a session's `max_inflight` bounds what waits"),
    ] = 10_000
    writer_threads: Annotated[
        int, Setting(Integer(1, 16), "threads that write", lacking="there are up to four, as they are needed")
    ] = 4
    flush_interval: Annotated[
        float, Setting(Duration(), "between two flushes", lacking="whoever drives the pipeline ends the epochs")
    ] = 30.0
    real_time_analytics: Annotated[
        bool, Setting(Boolean(), "aggregates on the way", lacking=_NO_ANALYTICS, is_refused=True)
    ] = False
    analytics_window: Annotated[float, Setting(Duration(), "of those aggregates", lacking=_NO_ANALYTICS)] = 60.0
    retention_policy_enabled: Annotated[
        bool, Setting(Boolean(), "delete old files", lacking=_NO_RETENTION, is_refused=True)
    ] = False
    retention_policy_max_age: Annotated[
        str, Setting(Text(r"[0-9]+[dwy]", "an age such as 30d"), "of files", lacking=_NO_RETENTION)
    ] = ""
    retention_policy_max_size: Annotated[
        str, Setting(Text(r"[0-9]+[KMGT]B", "a size such as 10GB"), "of all files", lacking=_NO_RETENTION)
    ] = ""
    flight_port: Annotated[str, _SESSION["bind"]] = "127.0.0.1:0"
    health_port: Annotated[str, _SESSION["health_bind"]] = ""
    metrics_enabled: Annotated[bool, Setting(Boolean(), "give metrics", lacking="they go with every heartbeat")] = True
    log_level: Annotated[str, _SESSION["log_level"]] = "info"

    def __post_init__(self) -> None:
        check_settings(self)
