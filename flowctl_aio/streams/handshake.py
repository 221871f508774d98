"""What two peers can do with each other, found out before the first message.

A client offers its capabilities in the metadata of every call, and a server answers with its own in the metadata of
`Ping` or `GetInfo` and of every stream. A peer that knows nothing of it neither offers nor answers, and
gets what everybody understands: one row a message, and an end of stream that means the end.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from flowctl_aio import _wire as wire
from flowctl_aio.codec.arrow import UNPACKS_ALL
from flowctl_aio.codec.envelope import Envelope
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import DeadlineExceededError, PeerUnavailableError, StreamError
from flowctl_aio.observe.calls import client_call
from flowctl_aio.transport.call import CallMetadata, Channel, Serializable, call_unary
from flowctl_aio.transport.status import is_unimplemented
from flowctl_aio.types import Dialect, Health, health_of, metrics_from_v1

T = TypeVar("T")
METADATA_KEY = "flowctl-aio"
ARROW = "arrow"
END_MARKER = "end-marker"
CREDITS = "credits"
COMPRESSION = "compression"
SHARED_MEMORY = "shared-memory"
SCHEMA_ONCE = "schema-once"
CAPABILITIES = frozenset({ARROW, END_MARKER, CREDITS, COMPRESSION, SHARED_MEMORY, SCHEMA_ONCE})
# What goes with a capability travels under a key of its own, such as `flowctl-aio-credits`.
RING = "ring"  # what the peer must know to use our shared memory, for one stream; a secret
FACTS = frozenset({RING})
MAX_OFFER, MAX_FACT = 1024, 256  # characters

HANDSHAKE_TIMEOUT = 5.0
IS_LINUX = platform.system() == "Linux"


@dataclass(frozen=True, slots=True)
class Offer:
    """What one side of a conversation can do.

    Attributes:
        capabilities: empty for a stranger.
        facts: what goes with them.
    """

    capabilities: frozenset[str] = frozenset()
    facts: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Offer:
        """What the other side offers and we know; the rest of it is as if it were not there."""
        capabilities = CAPABILITIES & set(metadata.get(METADATA_KEY, "")[:MAX_OFFER].split(","))
        facts = {name: metadata.get(f"{METADATA_KEY}-{name}", "") for name in FACTS} if capabilities else {}
        return cls(capabilities, {name: text for name, text in facts.items() if 0 < len(text) <= MAX_FACT})

    @property
    def has_credits(self) -> bool:
        """Whether a stream that goes both ways is bounded by credits. They need ends that both sides can tell."""
        return self.capabilities >= {ARROW, END_MARKER, CREDITS}

    @property
    def metadata(self) -> CallMetadata:
        """As it travels."""
        facts = [(f"{METADATA_KEY}-{name}", text) for name, text in self.facts.items()]
        return ((METADATA_KEY, ",".join(sorted(self.capabilities))), *facts)


# The least that a peer with this SDK offers.
LEAST = Offer(frozenset({ARROW, END_MARKER}))


def own_offer(config: FlowctlConfig) -> Offer:
    """What we can do, under these settings."""
    wished = {CREDITS: True, SCHEMA_ONCE: True, COMPRESSION: UNPACKS_ALL, SHARED_MEMORY: shares_memory(config)}
    return Offer(LEAST.capabilities | {name for name, is_there in wished.items() if is_there})


def shares_memory(config: FlowctlConfig) -> bool:
    """Whether we do, where a peer on the same host does; only Linux has all that it takes."""
    return config.shared_memory and IS_LINUX


class Role(Enum):
    """The service behind each kind of component, its stream, and the message that carries the data, per dialect."""

    SOURCE = (
        ("flowctl.LedgerSource", "StreamRawLedgers", Envelope.LEDGER),
        ("flowctl.v1.SourceService", "StreamEvents", Envelope.EVENT_V1),
    )
    PROCESSOR = (
        ("flowctl.EventProcessor", "Process", Envelope.EVENT),
        ("flowctl.v1.ProcessorService", "Process", Envelope.EVENT_V1),
    )
    SINK = (
        ("flowctl.EventSink", "Ingest", Envelope.EVENT),
        ("flowctl.v1.ConsumerService", "Consume", Envelope.EVENT_V1),
    )

    def service(self, dialect: Dialect) -> str:
        return self._row(dialect)[0]

    def method(self, dialect: Dialect) -> str:
        """Full name of the streaming method."""
        service, method, _ = self._row(dialect)
        return f"/{service}/{method}"

    def envelope(self, dialect: Dialect) -> Envelope:
        return self._row(dialect)[2]

    def _row(self, dialect: Dialect) -> tuple[str, str, Envelope]:
        classic, v1 = self.value
        return classic if dialect is Dialect.CLASSIC else v1


@dataclass(frozen=True, slots=True)
class PeerHealth:
    """How a peer is by its own account, and its numbers; Health.UNKNOWN of a peer that answers is no bad sign."""

    health: Health
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Peer:
    """The component at the other end of a channel."""

    address: str
    dialect: Dialect
    offer: Offer

    @property
    def capabilities(self) -> frozenset[str]:
        return self.offer.capabilities

    @property
    def speaks_arrow(self) -> bool:
        return ARROW in self.capabilities

    @property
    def marks_ends(self) -> bool:
        return END_MARKER in self.capabilities


async def meet(channel: Channel, role: Role, dialect: Dialect | None = None, *, offer: Offer = LEAST) -> Peer:
    """Find out what is at the other end of `channel`: first in the classic dialect, then in v1.

    Args:
        offer: our own, which the peer may want to know.

    Raises:
        PeerUnavailableError: if nobody answers.
        StreamError: if somebody does who does not serve `role` in either dialect.

    Cancellation: safe at any point.
    Source: `Ping` (classic), `GetInfo` (v1).
    """
    for candidate in (Dialect.CLASSIC, Dialect.V1) if dialect is None else (dialect,):
        try:
            return Peer(channel.peer, candidate, await _offered(channel, role, candidate, offer))
        except StreamError as error:
            if not is_unimplemented(error):
                raise
    raise StreamError(f"serves no {role.name.lower()}", peer=channel.peer, code="UNIMPLEMENTED")


async def ask_health(channel: Channel, role: Role) -> PeerHealth:
    """Ask a peer how it is.

    Raises:
        StreamError: if it does not answer, or speaks only classic, which has no such question.

    Cancellation: safe at any point.
    Source: `HealthCheck` (v1).
    """
    method = f"/{role.service(Dialect.V1)}/HealthCheck"
    request = wire.v1.HealthCheckRequest(include_details=True)
    answer, _ = await _ask(channel, method, request, wire.v1.HealthCheckResponse)
    return PeerHealth(health_of(answer.status), metrics_from_v1(answer.metrics))


async def _offered(channel: Channel, role: Role, dialect: Dialect, offer: Offer) -> Offer:
    method, answer = ("Ping", wire.Pong) if dialect is Dialect.CLASSIC else ("GetInfo", wire.v1.ComponentInfo)
    _, metadata = await _ask(channel, f"/{role.service(dialect)}/{method}", wire.Empty(), answer, offer)
    return Offer.of(metadata)


async def _ask(
    channel: Channel, method: str, request: Serializable, answer: type[T], offer: Offer = LEAST
) -> tuple[T, Mapping[str, str]]:
    try:
        with client_call(method, channel.peer) as span:
            heard: dict[str, str] = {}
            offered = (*offer.metadata, *span.metadata)
            result = await call_unary(
                channel, method, request, answer, timeout=HANDSHAKE_TIMEOUT, metadata=offered, heard=heard
            )
            return result, heard
    except DeadlineExceededError as error:
        raise PeerUnavailableError(f"no answer within {HANDSHAKE_TIMEOUT:g} s", peer=channel.peer) from error
