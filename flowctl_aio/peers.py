"""The components that a session works with: found by address or by discovery, and closed with the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol
from weakref import WeakSet

import anyio

from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.discovery.directory import Directory
from flowctl_aio.errors import PeerNotFoundError, PlaneUnavailableError, UsageError
from flowctl_aio.streams.epoch import EpochLimits
from flowctl_aio.streams.handshake import Role, meet
from flowctl_aio.streams.ingest import OnAck
from flowctl_aio.streams.processor import ProcessorClient
from flowctl_aio.streams.resume import Resume, position_of
from flowctl_aio.streams.sink import SinkClient
from flowctl_aio.streams.source import SourceClient
from flowctl_aio.streams.stream import BatchStream
from flowctl_aio.transport.call import Channel
from flowctl_aio.transport.channel import open_data_channel
from flowctl_aio.types import Dialect, Health, ServiceInfo, ServiceType

DISCOVER_PAUSE = 0.25
USABLE = (Health.HEALTHY, Health.DEGRADED)


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

    @asynccontextmanager
    async def open_source(
        self, address: str | None, dialect: Dialect | None, resume: Resume = None
    ) -> AsyncIterator[SourceClient]:
        """The source that gives what we take."""
        cursor, token = await position_of(resume)
        async with self._channel(address, ServiceType.SOURCE, self._info.input_event_types) as channel:
            peer = await meet(channel, Role.SOURCE, dialect)
            async with self._streams() as streams:
                yield SourceClient(channel, peer, self._config, adopt=streams.adopt, resume=cursor, resume_token=token)

    @asynccontextmanager
    async def open_processor(self, address: str | None, dialect: Dialect | None) -> AsyncIterator[ProcessorClient]:
        """The processor that takes what we give."""
        async with self._channel(address, ServiceType.PROCESSOR, self._info.output_event_types) as channel:
            peer = await meet(channel, Role.PROCESSOR, dialect)
            async with self._streams() as streams:
                yield ProcessorClient(channel, peer, self._config, adopt=streams.adopt)

    @asynccontextmanager
    async def open_sink(
        self,
        address: str | None,
        dialect: Dialect | None,
        limits: EpochLimits | None = None,
        on_ack: OnAck | None = None,
    ) -> AsyncIterator[SinkClient]:
        """The sink that takes what we give."""
        async with self._channel(address, ServiceType.SINK, self._info.output_event_types) as channel:
            peer = await meet(channel, Role.SINK, dialect)
            client = SinkClient(channel, peer, self._config, limits=limits, on_ack=on_ack)
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
    async def _channel(
        self, address: str | None, service_type: ServiceType, event_types: Sequence[str]
    ) -> AsyncIterator[Channel]:
        if self._error is not None:
            raise self._error
        if address is None:
            # A service of the same kind as the peer, or one that names no event types, takes whatever there is.
            same_kind = service_type is self._info.service_type
            address = await self._find(service_type, () if same_kind else event_types)
        config = self._config
        async with open_data_channel(
            address,
            max_message_bytes=config.max_message_bytes,
            insecure=config.insecure,
            tls=config.client_tls,
            credentials=config.credentials,
        ) as channel:
            yield channel

    async def _find(self, service_type: ServiceType, event_types: Sequence[str]) -> str:
        """The endpoint of a peer that fits. Services start in any order, so one that is not there yet is waited for."""
        deadline = anyio.current_time() + self._config.discover_timeout
        while True:
            try:
                return await self._find_now(service_type, event_types)
            except (PeerNotFoundError, PlaneUnavailableError):
                if anyio.current_time() + DISCOVER_PAUSE >= deadline:
                    raise
            await anyio.sleep(DISCOVER_PAUSE)
            self._ask().forget()

    async def _find_now(self, service_type: ServiceType, event_types: Sequence[str]) -> str:
        found = [
            candidate.status
            for candidate in await self._ask().discover(service_type, event_types=event_types)
            if _fits(candidate.status.info, event_types)
            and candidate.status.info.component_id != self._info.component_id
        ]
        for status in found:
            if status.info.endpoint and status.health in USABLE:
                return status.info.endpoint
        kinds = f" for {', '.join(event_types)}" if event_types else ""
        others = f", only {', '.join(s.service_id for s in found)}" if found else ""
        raise PeerNotFoundError(
            f"the plane at {self._config.endpoint} knows no healthy {service_type.name.lower()}{kinds}{others}"
        )


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
