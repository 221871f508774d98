"""The values that everything else passes around: plain, immutable, without I/O.

Nothing here knows gRPC, protobuf or Arrow; batches of values live in `batches.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import SupportsIndex

from flowctl_aio.errors import ConfigError

NOTHING: Mapping[str, str] = MappingProxyType({})


class ServiceType(IntEnum):
    """What a service is. The numbers are those of both dialects (a v1 consumer is a sink).

    Source: `flowctl.ServiceType`, `flowctl.v1.ComponentType`.
    """

    UNSPECIFIED = 0
    SOURCE = 1
    PROCESSOR = 2
    SINK = 3
    PIPELINE = 4


class Health(IntEnum):
    """How a service is, by its own account. The numbers are those of `flowctl.v1.HealthStatus`."""

    UNKNOWN = 0
    STARTING = 1
    HEALTHY = 2
    DEGRADED = 3
    UNHEALTHY = 4
    STOPPING = 5


class Dialect(Enum):
    """Which protobuf package a conversation uses."""

    V1 = "v1"
    CLASSIC = "classic"


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A position in the ledger stream: a ledger's sequence, and an index inside it.

    Written `63092982:5`, or `63092982` for index 0. Ledgers are final when they close,
    so a cursor never has to be taken back.
    """

    sequence: int
    index: int = 0

    def __str__(self) -> str:
        return f"{self.sequence}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `str` writes.

        Raises:
            ConfigError: if `text` is anything else.
        """
        match = re.fullmatch(r"(\d{1,20})(?::(\d{1,10}))?", text, re.ASCII) if isinstance(text, str) else None
        cursor = cls(int(match[1]), int(match[2] or 0)) if match is not None else None
        if cursor is None or cursor.sequence >= 2**64 or cursor.index >= 2**32:
            raise ConfigError(f"{text!r} is not a cursor (a ledger sequence, or sequence:index)")
        return cursor


@dataclass(frozen=True, slots=True)
class LedgerRange:
    """Ledgers `first` to `last`, both included; `last=None` goes on as the network does."""

    first: int
    last: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.first, SupportsIndex) and isinstance(self.last, SupportsIndex | None)):
            raise ConfigError(f"a range goes from a ledger to a ledger or None, not {self.first!r} to {self.last!r}")
        if self.first < 0:
            raise ConfigError(f"a range cannot start at ledger {self.first}")
        if self.last is not None and self.last < self.first:
            raise ConfigError(f"the range {self.first} to {self.last} ends before it starts")

    def __str__(self) -> str:
        return f"{self.first}-{'' if self.last is None else self.last}"


@dataclass(frozen=True, slots=True)
class RawLedger:
    """One closed ledger as XDR.

    Attributes:
        sequence: its number.
        xdr: the bytes of its LedgerCloseMeta.
        closed_at: when it closed (timezone-aware, microseconds), None if the sender did not say.
        network: name or passphrase of its network.
        metadata: whatever else the source says of it.
    """

    sequence: int
    xdr: bytes
    closed_at: datetime | None = None
    network: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """One event, of any kind.

    Attributes:
        event_type: fully qualified name of what the payload is.
        payload: its bytes, in the encoding that `content_type` names.
        id: identifies it for deduplication; v1 only on the wire, metadata in classic.
        schema_version: version of the payload's schema; classic only.
        timestamp: timezone-aware, microseconds; None if the sender did not say.
        source: id of the component that made it.
        cursor: where in the ledger stream it belongs.
    """

    event_type: str
    payload: bytes
    id: str = ""
    schema_version: int = 0
    timestamp: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str = ""
    source: str = ""
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """What a service tells the control plane of itself.

    Attributes:
        component_id: stable identity, from configuration; proposed to the plane as the service id.
        endpoint: `host:port` at which its data plane can be dialled; empty if it serves none.
        max_inflight: batches it is willing to have in flight.
    """

    component_id: str
    service_type: ServiceType
    input_event_types: Sequence[str] = ()
    output_event_types: Sequence[str] = ()
    endpoint: str = ""
    max_inflight: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    version: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What the control plane tells of a service.

    Attributes:
        last_heartbeat: timezone-aware; None if the plane does not say (the classic one never does).
        registered_at: timezone-aware; None if the plane does not say.
    """

    service_id: str
    info: ServiceInfo
    health: Health
    last_heartbeat: datetime | None = None
    registered_at: datetime | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What a client asks of a source.

    Attributes:
        start: first ledger, None if the client leaves it to the source.
        end: last ledger, included; None to go on for ever.
        network: name or passphrase, empty if the client does not care.
        params: anything else, as text.
        resume_token: where an earlier stream stopped; empty for a fresh start.
    """

    start: int | None = None
    end: int | None = None
    network: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    resume_token: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """A sink's answer to one epoch.

    Attributes:
        batches, rows: what the sink took, by its own count.
        failed: rows it could not take.
        errors: a sentence for each failure the sink wants to tell.
        metadata: whatever else it says, such as the files it wrote.
        first_cursor, last_cursor: the part of the ledger stream that the epoch covers, both included; None where
            its batches do not say.
    """

    batches: int
    rows: int
    failed: int = 0
    errors: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    first_cursor: Cursor | None = None
    last_cursor: Cursor | None = None


def health_of(number: int) -> Health:
    """Unknown for a number that only a newer peer knows."""
    return Health(number) if number in set(Health) else Health.UNKNOWN


def metrics_from_v1(metrics: Mapping[str, str]) -> dict[str, float]:
    """The numbers among them; other components also send words."""
    numbers = {}
    for name, text in metrics.items():
        try:
            numbers[name] = float(text)
        except ValueError:
            continue
    return numbers
