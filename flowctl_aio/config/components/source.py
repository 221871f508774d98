"""Settings of the stellar-arrow-source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from flowctl_aio.config.definition.kinds import Boolean, Choice, Integer, Text
from flowctl_aio.config.definition.setting import Setting, check_settings, settings_of
from flowctl_aio.config.settings import FlowctlConfig

_SESSION = settings_of(FlowctlConfig)
_NO_CORE = "ledgers come out of a data lake, or from Stellar RPC"
_NO_POOL = "Arrow's default pool is used"
_NETWORK = "passphrase or name of the network; empty lets the lake's manifest tell. Was testnet's"


@dataclass(frozen=True, slots=True, kw_only=True)
class StellarArrowSourceSettings:
    """What the first implementation's source could be told.

    Raises:
        ConfigError: if a value is of another type, out of its bounds, or contradicts another.
    """

    PREFIX: ClassVar[str | None] = None

    source_type: Annotated[
        str,
        Setting(
            Choice(
                ("rpc", "archive", "captive", "storage", "datalake", "synthetic"),
                ("rpc", "storage", "datalake", "synthetic"),
            ),
            "where ledgers come from; `storage` is another word for `datalake`. Was `rpc`",
        ),
    ] = "datalake"
    backend_type: Annotated[
        str,
        Setting(
            Choice(("rpc", "archive", "captive", "storage"), ("rpc", "storage")),
            "the same once more: with `rpc` here, `datalake` above means it too. Was `rpc`",
        ),
    ] = "storage"
    rpc_endpoint: Annotated[
        str,
        Setting(
            Text(r"https?://.+", "an http or https URL"),
            "the Stellar RPC server, for `rpc`; if it is the only place that is set, it is the source",
        ),
    ] = "https://soroban-testnet.stellar.org"
    archive_url: Annotated[
        str, Setting(Text(r"https?://.+", "an http or https URL"), "history archive", lacking=_NO_CORE)
    ] = "https://history.stellar.org/prd/core-live/core_live_001"
    core_binary_path: Annotated[str, Setting(Text(), "stellar-core, for a captive one", lacking=_NO_CORE)] = ""
    network_passphrase: Annotated[str, replace(_SESSION["network_passphrase"], text=_NETWORK)] = ""
    storage_backend: Annotated[str, Setting(Choice(("s3", "gcs", "filesystem")), "where the lake is")] = "filesystem"
    bucket_name: Annotated[str, Setting(Text(), "bucket of the lake, with a path behind it if there is one")] = ""
    gcp_project: Annotated[str, Setting(Text(), "project of a bucket", lacking="a bucket's name is enough")] = ""
    aws_region: Annotated[str, Setting(Text(), "region of an S3 bucket")] = "us-west-2"
    storage_path: Annotated[str, Setting(Text(), "folder of the lake, for `filesystem`")] = "./data/ledgers"
    ledgers_per_file: Annotated[
        int,
        Setting(
            Integer(0, 2**32 - 1),
            "for a lake without manifest; 0 lets the manifest tell. Was 64, which contradicts most lakes",
        ),
    ] = 0
    files_per_partition: Annotated[
        int, Setting(Integer(0, 2**32 - 1), "likewise. Was 10, which contradicts most lakes")
    ] = 0
    start_ledger: Annotated[int, _SESSION["start_ledger"]] = 0
    end_ledger: Annotated[int, _SESSION["end_ledger"]] = 0
    batch_size: Annotated[int, Setting(Integer(100, 10_000), "ledgers in a batch, at most")] = 1000
    buffer_size: Annotated[
        int,
        Setting(Integer(1000, 100_000), "batches in a buffer", lacking="a session's `max_inflight` bounds what waits"),
    ] = 10_000
    concurrent_readers: Annotated[
        int, Setting(Integer(1, 32), "objects read at a time", lacking="the lake reads up to ten ahead")
    ] = 4
    arrow_memory_pool: Annotated[
        str, Setting(Choice(("default", "jemalloc", "system")), "Arrow's memory pool", lacking=_NO_POOL)
    ] = "default"
    compression: Annotated[
        str,
        Setting(
            Choice(("none", "lz4", "zstd", "snappy")),
            "of frames on the wire",
            lacking="`flowctl.compression` does it, for every batch that is sent",
        ),
    ] = "none"
    flight_port: Annotated[str, _SESSION["bind"]] = "127.0.0.1:0"
    health_port: Annotated[str, _SESSION["health_bind"]] = ""
    metrics_enabled: Annotated[bool, Setting(Boolean(), "give metrics", lacking="they go with every heartbeat")] = True
    log_level: Annotated[str, _SESSION["log_level"]] = "info"

    def __post_init__(self) -> None:
        check_settings(self, self._contradictions)

    def _contradictions(self) -> list[str]:
        problems = []
        if self.start_ledger and self.end_ledger and self.end_ledger < self.start_ledger:
            problems.append(f"end_ledger {self.end_ledger} lies before start_ledger {self.start_ledger}")
        is_lake = self.source_type != "synthetic" and not self.is_rpc
        if self.storage_backend != "filesystem" and is_lake and not self.bucket_name:
            problems.append(f"storage_backend {self.storage_backend} needs a bucket_name")
        return problems

    @property
    def is_rpc(self) -> bool:
        """Whether ledgers come from a Stellar RPC server."""
        return self.source_type == "rpc" or (self.source_type != "synthetic" and self.backend_type == "rpc")

    @property
    def lake_url(self) -> str:
        """The lake as one address; empty where ledgers come from elsewhere."""
        if self.source_type == "synthetic" or self.is_rpc:
            return ""
        scheme = {"s3": "s3://", "gcs": "gs://"}.get(self.storage_backend)
        return f"{scheme}{self.bucket_name}" if scheme else self.storage_path
