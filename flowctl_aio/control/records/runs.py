"""The record of one pipeline run at the plane: created, running, and completed, failed or stopped with its numbers."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio

from flowctl_aio import _wire as wire
from flowctl_aio.control.plane import CLASSIC, PlaneClient
from flowctl_aio.errors import ControlError, NotRegisteredError

logger = logging.getLogger(__name__)
MAX_ERROR_CHARS = 4000
LAST_WORD_LIMIT = 1.0


@dataclass(slots=True)
class ComponentCounts:
    """What one component of a run did."""

    events_in: int = 0
    events_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    processing_time_ms: float = 0.0


@dataclass(slots=True)
class RunCounts:
    """What a run did so far.

    Attributes:
        events_processed: rows; bytes_processed: bytes of payload, as the run counts them.
        components: the same by component id.
    """

    events_processed: int = 0
    bytes_processed: int = 0
    components: dict[str, ComponentCounts] = field(default_factory=dict)


class RunRecord:
    """One run, as its owner sees it; made by `session.run`.

    Attributes:
        run_id: its key at the plane.
        counts: what it did; set by whoever works, told to the plane by `report` and at the end.
        is_recorded: whether the plane has the record; false towards a plane that is away, or keeps none.
    """

    def __init__(
        self, plane: PlaneClient, request: wire.CreatePipelineRunRequest, *, timeout: float, clock: Callable[[], float]
    ) -> None:
        self.run_id = request.run_id
        self.counts = RunCounts()
        self.is_recorded = False
        self._plane, self._request, self._timeout, self._clock = plane, request, timeout, clock
        self._began = clock()

    def __repr__(self) -> str:
        return f"<RunRecord {self.run_id} of {self._request.pipeline_name}>"

    async def report(self) -> None:
        """Tell the plane the counts. One that does not answer is a log line, not a failure of the run.

        Cancellation: whether the plane heard it is unknown.
        Source: `UpdatePipelineRun`.
        """
        await self.note(wire.RunStatus.RUN_STATUS_RUNNING)

    async def note(self, status: wire.RunStatus.ValueType, error: str = "") -> None:
        """Tell the plane a status, and the counts."""
        update = wire.UpdatePipelineRunRequest(run_id=self.run_id, status=status, metrics=self._metrics(), error=error)
        try:
            if not self.is_recorded:
                await self._create()
            try:
                await self._plane.ask(f"{CLASSIC}/UpdatePipelineRun", update, wire.PipelineRun, self._timeout)
            except NotRegisteredError:  # it restarted, and has forgotten the run
                await self._create()
                await self._plane.ask(f"{CLASSIC}/UpdatePipelineRun", update, wire.PipelineRun, self._timeout)
        except ControlError as refusal:
            name = wire.RunStatus.Name(status).removeprefix("RUN_STATUS_").lower()
            logger.warning("run %s goes on without a record that it is %s: %s", self.run_id, name, refusal)

    async def _create(self) -> None:
        try:
            await self._plane.ask(f"{CLASSIC}/CreatePipelineRun", self._request, wire.PipelineRun, self._timeout)
        except ControlError as refusal:
            # `flowctl run` has made the record before it starts its components.
            if "already exists" not in str(refusal):
                raise
        self.is_recorded = True

    def _metrics(self) -> wire.RunMetrics:
        seconds = self._clock() - self._began
        components = {
            component_id: wire.ComponentMetrics(
                events_in=counts.events_in,
                events_out=counts.events_out,
                bytes_in=counts.bytes_in,
                bytes_out=counts.bytes_out,
                processing_time_ms=counts.processing_time_ms,
            )
            for component_id, counts in self.counts.components.items()
        }
        return wire.RunMetrics(
            events_processed=self.counts.events_processed,
            events_per_second=self.counts.events_processed / seconds if seconds > 0 else 0.0,
            bytes_processed=self.counts.bytes_processed,
            component_metrics=components,
        )


@asynccontextmanager
async def open_run(
    plane: PlaneClient,
    name: str,
    *,
    config: str = "",
    component_ids: Sequence[str] = (),
    run_id: str = "",
    timeout: float,
) -> AsyncIterator[RunRecord]:
    """Record that a run goes on while the block does, and how it ended.

    The block's own exception passes through; it makes the run FAILED, and a cancellation makes it STOPPED.

    Source: `CreatePipelineRun`, `UpdatePipelineRun`.
    """
    request = wire.CreatePipelineRunRequest(
        run_id=run_id or f"{name}-{secrets.token_hex(8)}",
        pipeline_name=name,
        config_yaml=config,
        component_ids=component_ids,
    )
    record = RunRecord(plane, request, timeout=timeout, clock=time.monotonic)
    status, why = wire.RunStatus.RUN_STATUS_COMPLETED, ""
    try:
        await record.report()  # in here, for if it is cancelled the plane may have the record all the same
        yield record
    except Exception as error:
        status, why = wire.RunStatus.RUN_STATUS_FAILED, told(error)
        raise
    except BaseException:
        status = wire.RunStatus.RUN_STATUS_STOPPED
        raise
    finally:
        is_cancelled = status == wire.RunStatus.RUN_STATUS_STOPPED
        with farewell(f"run {record.run_id}", LAST_WORD_LIMIT if is_cancelled else timeout):
            await record.note(status, why)


@contextmanager
def farewell(what: str, limit: float) -> Iterator[None]:
    """A block that is not cancelled, and that takes no longer than `limit`; whoever is cancelled has little time."""
    with anyio.move_on_after(limit, shield=True) as scope:
        yield
    if scope.cancelled_caught:
        logger.warning("%s ended without a record of how: the plane did not answer within %g s", what, limit)


def told(error: BaseException) -> str:
    """An error as the plane's record of it: bounded, and without characters that go into no message."""
    return f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS].encode(errors="replace").decode()


__all__ = ["ComponentCounts", "RunCounts", "RunRecord", "farewell", "told"]
