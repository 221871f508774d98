"""Records of pipeline runs: who started what, how it went, when it ended.

Takes values and the time, gives values; it starts and stops nothing itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from itertools import islice

from flowctl_aio import _wire as wire
from flowctl_aio.codec.plain import timestamp_to_wire
from flowctl_aio.errors import ControlError
from flowctl_aio.plane.quirks import IDEAL, Keep, Rules, keep_nowhere

logger = logging.getLogger(__name__)

DEFAULT_LIMIT = 10


class RunStatus(IntEnum):
    """How a run is. The numbers are those of `flowctl.RunStatus`."""

    UNKNOWN = 0
    STARTING = 1
    RUNNING = 2
    COMPLETED = 3
    FAILED = 4
    STOPPED = 5

    def is_final(self) -> bool:
        return self in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.STOPPED)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a pipeline. Every change makes a new one, so a run is a snapshot.

    Attributes:
        start_time, end_time: timezone-aware, by the plane's own clock; no end while it is under way.
        metrics: the latest it reported, None before the first.
        component_ids: the services that take part.
    """

    run_id: str
    pipeline_name: str
    status: RunStatus
    start_time: datetime
    end_time: datetime | None = None
    config_yaml: str = ""
    metrics: wire.RunMetrics | None = None
    error: str = ""
    component_ids: Sequence[str] = ()


class UnknownRunError(ControlError):
    """There is no such run."""


class RunExistsError(ControlError):
    """There is such a run already."""


class Runs:
    """The runs of one plane, by run id.

    Args:
        now: the wall clock, timezone-aware.
        changed: called after each change.
        keep: told of each change too, with the record that it leaves.
        rules: whether an end is one, and in which order runs are listed.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        changed: Callable[[], None] = lambda: None,
        keep: Keep = keep_nowhere,
        rules: Rules = IDEAL,
    ) -> None:
        self._now, self._changed, self._keep, self._rules = now, changed, keep, rules
        self._runs: dict[str, Run] = {}

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over what a file kept.

        Raises:
            ValueError, google.protobuf.message.DecodeError: if a record is none of ours.
        """
        self._runs = {run_id: run_from_wire(wire.PipelineRun.FromString(record)) for run_id, record in records.items()}

    def create(
        self, run_id: str, *, pipeline_name: str, config_yaml: str = "", component_ids: Sequence[str] = ()
    ) -> Run:
        """Enter a run as STARTING, from now on.

        Raises:
            RunExistsError: if the id is taken; a real flowctl overwrites the old record.

        Source: `flowctl.ControlPlane/CreatePipelineRun`.
        """
        if self._rules.runs_end and run_id in self._runs:
            raise RunExistsError(f"pipeline run already exists: {run_id}")
        run = Run(
            run_id=run_id,
            pipeline_name=pipeline_name,
            status=RunStatus.STARTING,
            start_time=self._now(),
            config_yaml=config_yaml,
            component_ids=tuple(component_ids),
        )
        return self._put(run)

    def update(
        self,
        run_id: str,
        *,
        status: RunStatus = RunStatus.UNKNOWN,
        metrics: wire.RunMetrics | None = None,
        error: str = "",
    ) -> Run:
        """Note news of a run; a final status sets the end.

        What is UNKNOWN, None or empty stays as it was. A final status is final: later news may still bring
        metrics and an error, but a report that crossed with a stop does not bring the run back to life.
        Who reports sees the status that stands in the answer.

        Raises:
            UnknownRunError: if there is no such run.

        Source: `flowctl.ControlPlane/UpdatePipelineRun`.
        """
        try:
            run = self.get(run_id)
        except UnknownRunError as unknown:
            raise UnknownRunError(f"failed to update pipeline run: {unknown}") from None
        if self._rules.runs_end and (run.status.is_final() or status is RunStatus.UNKNOWN):
            status = run.status
        ends = status.is_final() and (run.end_time is None or not self._rules.runs_end)
        return self._put(
            replace(
                run,
                status=status,
                end_time=self._now() if ends else run.end_time,
                metrics=metrics if metrics is not None else run.metrics,
                error=error or run.error,
            )
        )

    def stop(self, run_id: str) -> Run:
        """Mark a run STOPPED; one that has ended already stays as it ended.

        Raises:
            UnknownRunError: if there is no such run.

        Source: `flowctl.ControlPlane/StopPipelineRun`.
        """
        self.get(run_id)
        return self.update(run_id, status=RunStatus.STOPPED)

    def get(self, run_id: str) -> Run:
        """One run.

        Raises:
            UnknownRunError: if there is no such run.

        Source: `flowctl.ControlPlane/GetPipelineRun`.
        """
        try:
            return self._runs[run_id]
        except KeyError:
            raise UnknownRunError(f"pipeline run not found: {run_id}") from None

    def latest(
        self, *, pipeline_name: str = "", status: RunStatus = RunStatus.UNKNOWN, limit: int | None = DEFAULT_LIMIT
    ) -> list[Run]:
        """The runs that were created last, newest first.

        Args:
            pipeline_name: only of this pipeline; empty for all.
            status: only those; UNKNOWN for all.
            limit: how many at most; None for all.

        Source: `flowctl.ControlPlane/ListPipelineRuns`; a real flowctl gives some ten, in no order.
        """
        fitting = (
            run
            for run in self._rules.in_order(self._runs)
            if pipeline_name in ("", run.pipeline_name) and status in (RunStatus.UNKNOWN, run.status)
        )
        return list(islice(fitting, limit))

    def _put(self, run: Run) -> Run:
        before = self._runs.get(run.run_id)
        self._runs[run.run_id] = run
        if before is None or before.status is not run.status:
            logger.info("run %s is %s", run.run_id, run.status.name)
        self._keep("run", run.run_id, lambda: run_to_wire(run).SerializeToString())
        self._changed()
        return run


def run_to_wire(run: Run) -> wire.PipelineRun:
    return wire.PipelineRun(
        run_id=run.run_id,
        pipeline_id=run.pipeline_name,
        pipeline_name=run.pipeline_name,
        status=wire.RunStatus.ValueType(run.status),
        start_time=timestamp_to_wire(run.start_time),
        end_time=timestamp_to_wire(run.end_time),
        config_yaml=run.config_yaml,
        metrics=run.metrics,
        error=run.error,
        component_ids=run.component_ids,
    )


def run_from_wire(message: wire.PipelineRun) -> Run:
    """What `run_to_wire` made a message of.

    Raises:
        ValueError: if it is no such message.
    """
    return Run(
        run_id=message.run_id,
        pipeline_name=message.pipeline_name,
        status=RunStatus(message.status),
        start_time=message.start_time.ToDatetime(tzinfo=UTC),
        end_time=message.end_time.ToDatetime(tzinfo=UTC) if message.HasField("end_time") else None,
        config_yaml=message.config_yaml,
        metrics=message.metrics if message.HasField("metrics") else None,
        error=message.error,
        component_ids=tuple(message.component_ids),
    )
