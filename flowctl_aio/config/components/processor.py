"""Settings of the ttp-arrow-processor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from flowctl_aio.config.definition.kinds import (
    Boolean,
    Choice,
    Duration,
    Endpoint,
    Integer,
    Kind,
    Raw,
    Text,
    UnfitError,
    Words,
)
from flowctl_aio.config.definition.setting import Setting, check_settings, settings_of
from flowctl_aio.config.settings import FlowctlConfig
from flowctl_aio.errors import ConfigError

TESTNET = "Test SDF Network ; September 2015"
EVENT_TYPES = (
    "payment",
    "path_payment_strict_receive",
    "path_payment_strict_send",
    "create_account",
    "account_merge",
)
KINDS = ("transfer", "mint", "burn", "clawback", "fee")

_SESSION = settings_of(FlowctlConfig)
_NO_THREADS = "a second thread would only wait for the first; `processes` are what helps"
_NO_COLUMN = "the columns of a transfer are fixed"
_AMOUNT = Text(r"\d{1,19}(\.\d{1,7})?", "an amount such as 10.5, in units of the asset")


@dataclass(frozen=True)
class Assets(Kind):
    """Assets as `native`, `CODE` or `CODE:ISSUER`; in a file also as mappings of asset_code and asset_issuer."""

    name = "list of assets"
    types = (tuple,)

    def parse(self, raw: Raw) -> tuple[str, ...]:
        items = raw.split(",") if isinstance(raw, str) else raw
        if isinstance(items, dict):
            raise UnfitError("must be a list of assets")
        value = tuple(self._asset(item) for item in items)
        self.check(value)
        return value

    def _asset(self, item: Raw) -> str:
        if isinstance(item, str):
            return item.strip()
        if isinstance(item, tuple) or not item.keys() <= {"asset_code", "asset_issuer"}:
            raise UnfitError("must be a list of assets with asset_code and asset_issuer")
        code, issuer = item.get("asset_code", ""), item.get("asset_issuer", "")
        return f"{code or 'native'}:{issuer}" if issuer else code or "native"

    def check(self, value: Any) -> None:
        super().check(value)
        for item in value:
            if not isinstance(item, str) or not re.fullmatch(r"native|[A-Za-z0-9]{1,12}(:G[A-Z2-7]{55})?", item):
                raise UnfitError("must be assets such as native, USDC or USDC:G...")

    def show(self, value: Any) -> str:
        return ", ".join(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class TtpArrowProcessorSettings:
    """What the first implementation's processor could be told, and how transfers are read.

    Raises:
        ConfigError: if a value is of another type, out of its bounds, or asks for what is not offered.
    """

    PREFIX: ClassVar[str | None] = None

    mode: Annotated[
        str, Setting(Choice(("derived", "unified")), "read the events in the ledgers, or work them out; new here")
    ] = "derived"
    network_passphrase: Annotated[str, _SESSION["network_passphrase"]] = TESTNET
    processor_type: Annotated[
        str, Setting(Choice(("ttp_event_extraction",)), "what it does", lacking="there is one sort")
    ] = "ttp_event_extraction"
    source_endpoint: Annotated[
        str,
        Setting(
            Endpoint(), "the source", lacking="whoever drives the pipeline connects the two, by discovery or address"
        ),
    ] = "localhost:8815"
    event_types: Annotated[
        tuple[str, ...],
        Setting(
            Words(Choice((*KINDS, *EVENT_TYPES), offered=KINDS)),
            "kinds of events that are wanted; empty for all. Was three sorts of payment: an event is no operation",
        ),
    ] = ()
    asset_filters: Annotated[
        tuple[str, ...],
        Setting(Assets(), "assets whose events are wanted; empty for all. A code alone is of any issuer"),
    ] = ()
    amount_filters_min_amount: Annotated[str, Setting(_AMOUNT, "smallest amount, included")] = ""
    amount_filters_max_amount: Annotated[str, Setting(_AMOUNT, "largest amount, included")] = ""
    processes: Annotated[
        int, Setting(Integer(0, 64), "worker processes that parse; 0 parses in a thread of the service; new here")
    ] = 0
    processor_threads: Annotated[
        int, Setting(Integer(1, 32), "threads that parse", own=("THREADS",), lacking=_NO_THREADS)
    ] = 4
    batch_size: Annotated[
        int, Setting(Integer(100, 10_000), "events in a batch", lacking="a batch of ledgers gives one batch of events")
    ] = 1000
    buffer_size: Annotated[
        int,
        Setting(Integer(1000, 100_000), "events in a buffer", lacking="a session's `max_inflight` bounds what waits"),
    ] = 10_000
    compute_threads: Annotated[
        int, Setting(Integer(0, 32), "threads that compute; 0 for a fitting number", lacking=_NO_THREADS)
    ] = 0
    memory_pool: Annotated[
        str,
        Setting(
            Choice(("default", "jemalloc", "system")), "Arrow's memory pool", lacking="Arrow's default pool is used"
        ),
    ] = "default"
    include_raw_xdr: Annotated[
        bool, Setting(Boolean(), "the operation's XDR in each event", lacking=_NO_COLUMN, is_refused=True)
    ] = False
    include_transaction_details: Annotated[
        bool, Setting(Boolean(), "the transaction in each event", lacking="its hash and index are given")
    ] = True
    deduplicate_events: Annotated[
        bool, Setting(Boolean(), "give each event once", lacking="a ledger gives each of its events once")
    ] = True
    flight_port: Annotated[str, _SESSION["bind"]] = "127.0.0.1:0"
    health_port: Annotated[str, _SESSION["health_bind"]] = ""
    metrics_enabled: Annotated[bool, Setting(Boolean(), "give metrics", lacking="they go with every heartbeat")] = True
    stats_interval: Annotated[
        float, Setting(Duration(), "between two lines of statistics", lacking="they go with every heartbeat")
    ] = 30.0
    log_level: Annotated[str, _SESSION["log_level"]] = "info"

    def __post_init__(self) -> None:
        check_settings(self)
        least, most = self.amount_filters_min_amount, self.amount_filters_max_amount
        if least and most and Decimal(least) > Decimal(most):
            raise ConfigError(f"amount_filters_min_amount {least} lies above amount_filters_max_amount {most}")
