"""Where a real flowctl and a sound plane part: one table of rules for each of the two.

Whoever behaves differently asks the rules, and never which table they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from flowctl_aio import _wire as wire
from flowctl_aio.codec.plain import timestamp_to_wire
from flowctl_aio.errors import ConfigError
from flowctl_aio.plane.entry import Entry
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import Health, ServiceInfo, ServiceType

T = TypeVar("T")

# Told of each change: kind and id of a record, and what makes its bytes; None if it is gone.
Keep: TypeAlias = Callable[[str, str, Callable[[], bytes] | None], None]


def keep_nowhere(kind: str, record_id: str, change: Callable[[], bytes] | None) -> None:
    """What a plane without a file does with its changes."""


def _whole_status(entry: Entry) -> wire.ServiceStatus:
    status = entry.status()
    return wire.ServiceStatus(
        service_id=status.service_id,
        service_type=wire.ServiceType.ValueType(status.info.service_type),
        is_healthy=status.health is Health.HEALTHY,
        last_heartbeat=timestamp_to_wire(status.last_heartbeat),
        metrics=status.metrics,
        component_id=status.info.component_id,
    )


def _bare_status(entry: Entry) -> wire.ServiceStatus:
    """Three fields, one of them wrong."""
    return wire.ServiceStatus(
        service_id=entry.info.component_id,
        service_type=wire.ServiceType.ValueType(entry.info.service_type),
        component_id=entry.info.component_id,
    )


def _without_what_v1_lacks(info: ServiceInfo) -> ServiceInfo:
    kind = ServiceType.UNSPECIFIED if info.service_type is ServiceType.PIPELINE else info.service_type
    return replace(info, max_inflight=0, service_type=kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a plane behaves where planes differ. The defaults are those of a sound one.

    Attributes:
        one_code: the status code of every application error; empty for the one that fits.
        absent: how a request is refused that lacks its main field, by the name of its message; None if each field
            that a method needs is asked for by name.
        connection: the address in `connection_info`; empty for the real one.
        adopts_ids: whether a component without an id takes over the one that is made up for its service.
        stored_id: under which id an entry stands in a file.
        classic_info: what is kept of a classic registration.
        classic_ack: whether its acknowledgement tells topics and connection.
        classic_metrics: whether metrics of classic beats are kept.
        classic_health: what a classic beat says of health; None for proof of life.
        classic_status: how the classic list tells of a service.
        classic_get_status: whether one service can be asked for in classic.
        runs_end: whether a run id is taken once, and a run that has ended stays so.
        newest_first: whether runs and chunk runs are listed so; else by their ids.
        has_chunks: whether chunk runs are known at all.
    """

    one_code: str = ""
    absent: Mapping[str, tuple[str, str]] | None = None
    connection: str = ""
    adopts_ids: bool = True
    stored_id: Callable[[Entry], str] = lambda entry: entry.service_id
    classic_info: Callable[[ServiceInfo], ServiceInfo] = lambda info: info
    classic_ack: bool = True
    classic_metrics: bool = True
    classic_health: Health | None = None
    classic_status: Callable[[Entry], wire.ServiceStatus] = _whole_status
    classic_get_status: bool = True
    runs_end: bool = True
    newest_first: bool = True
    has_chunks: bool = True

    def refusal(self, code: str, details: str) -> Refused:
        """How an application error is answered."""
        return Refused(self.one_code or code, details)

    def in_order(self, records: dict[str, T]) -> Iterable[T]:
        """Runs or chunk runs, as they are listed."""
        return reversed(records.values()) if self.newest_first else (records[key] for key in sorted(records))


IDEAL = Rules()

# Source: the two control services of flowctl, as measured.
FLOWCTL = Rules(
    one_code="UNKNOWN",
    absent={
        # The whole process dies of this one; its client sees no more than that the connection is gone.
        "RegisterRequest": ("UNAVAILABLE", "Socket closed"),
        "CreatePipelineRunRequest": ("UNKNOWN", "key required"),
        "UpsertChunkRunRequest": ("UNKNOWN", "chunk is required"),
    },
    connection="localhost:8080",
    adopts_ids=False,
    stored_id=lambda entry: entry.info.component_id,
    classic_info=_without_what_v1_lacks,
    classic_ack=False,
    classic_metrics=False,
    classic_health=Health.UNKNOWN,
    classic_status=_bare_status,
    classic_get_status=False,
    runs_end=False,
    newest_first=False,
    has_chunks=False,
)

_TABLES = {None: IDEAL, "flowctl": FLOWCTL}


def rules_of(quirks: str | None, *, chunks: bool | None) -> Rules:
    """The rules that are asked for; `chunks` overrides whether there are chunk runs.

    Raises:
        ConfigError: if nobody has such quirks.
    """
    if quirks not in _TABLES:
        raise ConfigError(f"nobody has the quirks {quirks!r}; there are those of 'flowctl', and None")
    rules = _TABLES[quirks]
    return rules if chunks is None else replace(rules, has_chunks=chunks)
