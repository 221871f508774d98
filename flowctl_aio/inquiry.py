"""What a session asks its plane about the others, and the records that it keeps there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

from flowctl_aio.control.discovery.matching import Candidate
from flowctl_aio.control.discovery.watch import Watch
from flowctl_aio.control.overview.report import health_report
from flowctl_aio.control.overview.rollup import PipelineHealth, PipelineMetrics, pipeline_health, pipeline_metrics
from flowctl_aio.control.overview.topology import Topology, topology_of
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.control.records.chunks import ChunkRecord, open_chunk
from flowctl_aio.control.records.runs import RunRecord, open_run
from flowctl_aio.life import Life
from flowctl_aio.types import NOTHING, ServiceStatus, ServiceType


class Inquiry:
    """The part of a session that talks about services and pipelines; see `FlowctlSession`."""

    _life: Life

    async def get_service_status(self, service_id: str | None = None) -> ServiceStatus:
        """One service as the plane knows it; without an id this one.

        Raises:
            NotRegisteredError: if the plane does not know it.
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        return await self._life.ask().get_service_status(service_id or self._service_id())

    async def list_services(self) -> list[ServiceStatus]:
        """All services that the plane knows.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        return await self._life.ask().list_services()

    async def discover(
        self,
        role: ServiceType = ServiceType.UNSPECIFIED,
        *,
        event_type: str | None = None,
        event_types: Sequence[str] = (),
        metadata: Mapping[str, str] = NOTHING,
        healthy_only: bool = False,
    ) -> list[Candidate]:
        """Services of a role that take or give one of the event types and have all of `metadata`, the best first.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        wanted = (*event_types, *([event_type] if event_type else []))
        return await self._life.ask().discover(role, event_types=wanted, metadata=metadata, healthy_only=healthy_only)

    async def upstream(self, *, include_unhealthy: bool = False) -> list[Candidate]:
        """Who gives what this service takes, the healthiest first.

        Args:
            include_unhealthy: also those that are UNHEALTHY or STOPPING.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        return await self._life.ask().upstream(self._life.info, include_unhealthy=include_unhealthy)

    async def downstream(self, *, include_unhealthy: bool = False) -> list[Candidate]:
        """Who takes what this service gives, the healthiest first.

        Args:
            include_unhealthy: also those that are UNHEALTHY or STOPPING.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        return await self._life.ask().downstream(self._life.info, include_unhealthy=include_unhealthy)

    def watch(self, *, interval: float | None = None, metrics: bool = False, outages: bool = False) -> Watch:
        """What the plane knows, first as a snapshot, then as changes: `async for news in session.watch()`.

        It ends with the session.

        Args:
            interval: seconds between two looks; `watch_interval` if not given.
            metrics: whether new numbers are news.
            outages: whether a plane that goes away, and comes back, is.
        """
        pause = self._life.config.watch_interval if interval is None else interval
        watch = Watch(self._life.ask().list_services, interval=pause, metrics=metrics, outages=outages)
        self._life.watches.add(watch)
        return watch

    async def topology(self) -> Topology:
        """Who feeds whom, by event types.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        return topology_of(await self.list_services())

    async def pipeline_health(self) -> PipelineHealth:
        """How all services together are.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        return pipeline_health(await self.list_services(), now=datetime.now(UTC), lease=self._life.config.lease_timeout)

    async def pipeline_metrics(self) -> PipelineMetrics:
        """What all services together get through, from the numbers of their beats.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        return pipeline_metrics(await self.list_services())

    async def health_report(self) -> dict[str, Any]:
        """Everything about the pipeline's health, with what to do about it; always valid JSON.

        Of a plane that is away it tells what is left: `errors` names the parts that could not be had.

        Cancellation: safe at any point.
        """
        return await health_report(self.list_services, self._life.flow.state, lease=self._life.config.lease_timeout)

    # Records

    def run(
        self, name: str, *, config: str = "", component_ids: Sequence[str] = (), run_id: str = ""
    ) -> AbstractAsyncContextManager[RunRecord]:
        """A record at the plane that a pipeline runs while the block does, and how it ended.

        Args:
            config: the pipeline's YAML, kept with the record.
            run_id: a key of your own; one that exists already is taken up.

        Raises, on entering:
            UsageError: if the session has no control plane.

        Cancellation: the run ends as STOPPED.
        """
        return open_run(
            self._plane(),
            name,
            config=config,
            component_ids=component_ids,
            run_id=run_id,
            timeout=self._life.config.query_timeout,
        )

    def chunk(
        self,
        first: int,
        last: int,
        *,
        run_id: str = "",
        attempt: int = 0,
        metadata: Mapping[str, str] = NOTHING,
    ) -> AbstractAsyncContextManager[ChunkRecord]:
        """A record at the plane of one attempt at ledgers `first` to `last`, both included, while the block runs.

        Raises, on entering:
            ConfigError: if that is no range.
            UsageError: if the session has no control plane.

        Cancellation: the chunk ends as ABORTED.
        """
        return open_chunk(
            self._plane(),
            first,
            last,
            component_id=self._service_id(),
            run_id=run_id,
            attempt=attempt,
            metadata=metadata,
            timeout=self._life.config.query_timeout,
        )

    def _service_id(self) -> str:
        self._life.ask()
        assert self._life.registration is not None
        return self._life.registration.id_at_plane

    def _plane(self) -> PlaneClient:
        self._life.ask()
        assert self._life.plane is not None
        return self._life.plane
