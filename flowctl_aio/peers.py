"""The components that a session works with: found by address or by discovery, and closed with the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol
from weakref import WeakSet

import anyio

from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.discovery.directory import Directory
from flowctl_aio.control.discovery.matching import PREFERENCE, Candidate
from flowctl_aio.errors import PeerNotFoundError, PlaneUnavailableError, UsageError
from flowctl_aio.instances import Choice, Instance, Turns, instances_at
from flowctl_aio.route import Route
from flowctl_aio.streams.epoch import EpochLimits
from flowctl_aio.streams.handshake import Peer, Role, own_offer
from flowctl_aio.streams.ingest import OnAck
from flowctl_aio.streams.processor import ProcessorClient
from flowctl_aio.streams.resume import Resume, position_of
from flowctl_aio.streams.sink import SinkClient
from flowctl_aio.streams.source import SourceClient
from flowctl_aio.streams.stream import BatchStream
from flowctl_aio.transport.channel import check_dialled, data_connection
from flowctl_aio.transport.local import find
from flowctl_aio.transport.pool import ConnectionPool, nobody_near
from flowctl_aio.transport.trunk import PoolRules, PoolStats
from flowctl_aio.types import Dialect, Health, ServiceInfo, ServiceType

DISCOVER_PAUSE = 0.25
# A stranger may never say how it is: what counts is that it answers, which the handshake finds out.
USABLE = (Health.HEALTHY, Health.DEGRADED, Health.UNKNOWN)
# What the calls of streams get to end by themselves when the session closes, in seconds.
CLOSE_LIMIT = 1.0


class _Abortable(Protocol):
    def abort(self, error: Exception) -> None: ...


class Peers:
    """Opens clients of other components, and remembers what is open.

    Args:
        info: who asks; its event types choose the peers.
        ask: gives the directory of the control plane.
    """

    def __init__(self, info: ServiceInfo, config: FlowctlConfig, ask: Callable[[], Directory]) -> None:
        self._info, self._config, self._ask = info, config, ask
        self._pool = ConnectionPool(
            partial(
                data_connection,
                max_message_bytes=config.max_message_bytes,
                max_inflight_bytes=config.max_inflight_bytes,
                insecure=config.insecure,
                tls=config.client_tls,
                credentials=config.credentials,
            ),
            PoolRules(
                least=config.connection_pool_min_connections,
                most=config.connection_pool_max_connections,
                idle_timeout=config.connection_pool_idle_timeout,
                check_interval=config.connection_pool_health_check_interval,
                spreads=config.connection_pool_load_balancing,
            ),
            # Whoever has set TLS up wants to see the certificate of a peer.
            near=find if config.local_streams and config.client_tls is None else nobody_near,
        )
        self._choice = Choice(self._pool.in_use)
        self._turns = Turns(config.discover_timeout)
        self._opened: WeakSet[_Abortable] = WeakSet()
        self._error: Exception | None = UsageError(f"the session of {info.component_id} is not open")

    def open(self) -> None:
        """From now on clients may be opened."""
        self._error = None

    def abort(self, error: Exception) -> None:
        """End every stream and epoch at once, and open no more; whoever waits for one gets `error`."""
        self._error = error
        for client in list(self._opened):
            client.abort(error)

    async def aclose(self) -> None:
        """Close all connections, after `abort`; calls get a moment to end by themselves.

        Cancellation: closes at once.
        """
        await self._pool.aclose(CLOSE_LIMIT)

    async def keep_connections(self) -> None:
        """Look after the connections; never returns.

        Cancellation: its only end.
        """
        await self._pool.keep()

    def connections(self) -> Mapping[str, PoolStats]:
        """The connections to peers, by endpoint."""
        return self._pool.stats()

    @asynccontextmanager
    async def open_source(
        self, address: str | Sequence[str] | None, dialect: Dialect | None, resume: Resume = None
    ) -> AsyncIterator[SourceClient]:
        """The source that gives what we take."""
        cursor, token = await position_of(resume)
        async with (
            self._route(Role.SOURCE, address, dialect, self._info.input_event_types) as (route, peer),
            self._streams() as streams,
        ):
            client = SourceClient(route, peer, self._config, adopt=streams.adopt, resume=cursor, resume_token=token)
            route.moved = partial(setattr, client, "peer")
            yield client

    @asynccontextmanager
    async def open_processor(
        self, address: str | Sequence[str] | None, dialect: Dialect | None
    ) -> AsyncIterator[ProcessorClient]:
        """The processor that takes what we give."""
        async with (
            self._route(Role.PROCESSOR, address, dialect, self._info.output_event_types) as (route, peer),
            self._streams() as streams,
        ):
            client = ProcessorClient(route, peer, self._config, adopt=streams.adopt)
            route.moved = partial(setattr, client, "peer")
            yield client

    @asynccontextmanager
    async def open_sink(
        self,
        address: str | Sequence[str] | None,
        dialect: Dialect | None,
        limits: EpochLimits | None = None,
        on_ack: OnAck | None = None,
    ) -> AsyncIterator[SinkClient]:
        """The sink that takes what we give."""
        if on_ack is not None and not callable(on_ack):
            raise UsageError(f"on_ack is an async function of an acknowledgement, not {on_ack!r}")
        async with self._route(Role.SINK, address, dialect, self._info.output_event_types) as (route, peer):
            client = SinkClient(route, peer, self._config, limits=limits, on_ack=on_ack)
            route.moved = partial(setattr, client, "peer")
            self._opened.add(client)
            try:
                yield client
                await client.flush()
            finally:
                await client.aclose()

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[_Streams]:
        streams = _Streams()
        self._opened.add(streams)
        try:
            yield streams
        finally:
            await streams.aclose()

    @asynccontextmanager
    async def _route(
        self, role: Role, address: str | Sequence[str] | None, dialect: Dialect | None, event_types: Sequence[str]
    ) -> AsyncIterator[tuple[Route, Peer]]:
        if self._error is not None:
            raise self._error
        if not isinstance(dialect, Dialect | None):
            raise UsageError(f"a dialect is one of {Dialect.V1}, {Dialect.CLASSIC} and None, not {dialect!r}")
        listed = () if address is None else self._dialled(address)
        service_type = ServiceType[role.name]
        # A service of the same kind as the peer, or one that names no event types, takes whatever there is.
        wanted = () if service_type is self._info.service_type else event_types

        async def find(is_news: bool) -> Sequence[Instance]:
            if is_news and not listed:
                self._ask().forget()
            return listed or await self._find(service_type, wanted)

        route = Route(
            self._pool,
            self._choice,
            self._turns,
            role,
            find,
            is_fixed=len(listed) == 1,
            dialect=dialect,
            offer=own_offer(self._config),
        )
        try:
            yield route, await route.open()
        finally:
            route.close()

    def _dialled(self, address: str | Sequence[str]) -> Sequence[Instance]:
        config, listed = self._config, instances_at(address)
        for one in listed:
            check_dialled(one.endpoint, insecure=config.insecure, tls=config.client_tls, credentials=config.credentials)
        return listed

    async def _find(self, service_type: ServiceType, event_types: Sequence[str]) -> Sequence[Instance]:
        """The peers that fit. Services start in any order, so one that is not there yet is waited for."""
        deadline = anyio.current_time() + self._config.discover_timeout
        while True:
            try:
                return await self._find_now(service_type, event_types)
            except (PeerNotFoundError, PlaneUnavailableError):
                if anyio.current_time() + DISCOVER_PAUSE >= deadline:
                    raise
            await anyio.sleep(DISCOVER_PAUSE)
            self._ask().forget()

    async def _find_now(self, service_type: ServiceType, event_types: Sequence[str]) -> Sequence[Instance]:
        found = [
            candidate
            for candidate in await self._ask().discover(service_type, event_types=event_types)
            if _fits(candidate.status.info, event_types)
            and candidate.status.info.component_id != self._info.component_id
        ]
        usable = [one for one in found if one.connection is not None and one.health in USABLE]
        if usable:
            return list({one.status.info.endpoint: _instance(one) for one in reversed(usable)}.values())
        kinds = f" for {', '.join(event_types)}" if event_types else ""
        others = f", only {', '.join(s.service_id for s in found)}" if found else ""
        raise PeerNotFoundError(
            f"the plane at {self._config.endpoint} knows no healthy {service_type.name.lower()}{kinds}{others}"
        )


def _instance(one: Candidate) -> Instance:
    rank = PREFERENCE.index(one.health) + (len(PREFERENCE) if one.is_stale else 0)
    return Instance(one.status.info.endpoint, rank, one.status.metrics)


def _fits(info: ServiceInfo, event_types: Sequence[str]) -> bool:
    """Whether one of `event_types` is at the end that counts: a source gives it, the others take it."""
    own = info.output_event_types if info.service_type is ServiceType.SOURCE else info.input_event_types
    return not event_types or not set(own).isdisjoint(event_types)


class _Streams:
    """The streams of one client, which come and go."""

    def __init__(self) -> None:
        self._open: list[BatchStream] = []
        self._error: Exception | None = None

    def adopt(self, stream: BatchStream) -> None:
        self._open = [known for known in self._open if not known.is_closed]
        self._open.append(stream)
        if self._error is not None:
            stream.abort(self._error)

    def abort(self, error: Exception) -> None:
        self._error = error
        for stream in self._open:
            stream.abort(error)

    async def aclose(self) -> None:
        self._error = self._error or UsageError("the client of this stream is closed")
        for stream in self._open:
            await stream.aclose()
