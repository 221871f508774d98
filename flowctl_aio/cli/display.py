"""What a pipeline run looks like on a terminal: a live table on standard error, a summary at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import anyio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from flowctl_aio import FlowctlSession, Health, Progress, ServiceStatus
from flowctl_aio.errors import ControlError

MB = 1_000_000
WATCH_PAUSE = 0.1  # seconds between two questions, while services are missing


@dataclass(slots=True)
class Run:
    """The numbers of one run, as they stand.

    Attributes:
        kinds: events by kind.
        services: as the plane told last; None while it is away.
        bytes_read: by the source, from its store; known at the end.
    """

    total: int
    progress: Progress = field(default_factory=Progress)
    kinds: Counter[str] = field(default_factory=Counter)
    services: list[ServiceStatus] | None = None
    endpoints: dict[str, str] = field(default_factory=dict)
    plane_restarts: int = 0
    bytes_read: int = 0
    is_terminated: bool = False
    _began: float | None = None
    _ended: float | None = None

    def begin(self) -> None:
        """The first ledger is asked for."""
        self._began = time.monotonic()

    def end(self) -> None:
        """The last row is durable."""
        self._ended = time.monotonic()

    @property
    def seconds(self) -> float:
        """From the first request to the last acknowledgement, or to now."""
        now = time.monotonic()
        return max((self._ended or now) - (self._began or now), 1e-9)

    def as_json(self) -> dict[str, object]:
        acks = [ack.metadata for ack in self.progress.acks]
        return {
            "ledgers": self.progress.ledgers,
            "events": dict(sorted(self.kinds.items())),
            "rows_written": self.progress.rows_acknowledged,
            "files": sum(int(ack.get("files", 0)) for ack in acks),
            "bytes_written": sum(int(ack.get("bytes", 0)) for ack in acks),
            "seconds": round(self.seconds, 3),
            "bytes_read": self.bytes_read,
            "bytes_streamed": self.progress.bytes_in,
            "heartbeats": self.heartbeats,
            "services": {s.service_id: s.health.name.lower() for s in self.services or ()},
            "plane_restarts": self.plane_restarts,
        }

    @property
    def heartbeats(self) -> int:
        return int(sum(status.metrics.get("heartbeats_total", 0) for status in self.services or ()))


async def keep_watching(run: Run, session: FlowctlSession, interval: float) -> None:
    """Ask the plane how its services are, until cancelled."""
    while True:
        await watch_once(run, session)
        await anyio.sleep(interval)


async def watch_once(run: Run, session: FlowctlSession) -> None:
    """Ask the plane how its services are."""
    try:
        run.services = await session.list_services()
    except ControlError:
        run.services = None


async def watch_until_healthy(run: Run, session: FlowctlSession, count: int, limit: float) -> None:
    """Ask until the plane tells of `count` healthy services: one that has just come back learns of them beat by beat.

    After `limit` seconds what it told last has to do.
    """
    with anyio.move_on_after(limit):
        while True:
            await watch_once(run, session)
            if sum(status.health is Health.HEALTHY for status in run.services or ()) >= count:
                return
            await anyio.sleep(WATCH_PAUSE)


async def keep_showing(run: Run) -> None:
    """Draw the run four times a second, until cancelled; where there is no terminal, nothing is drawn."""
    if sys.stderr is None or not sys.stderr.isatty():
        await anyio.sleep_forever()
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while True:
            live.update(_live_table(run), refresh=True)
            await anyio.sleep(0.25)


def summary(run: Run) -> Table:
    """The run as a table."""
    figures = run.as_json()
    table = Table(title="done", show_header=False)
    rate = run.progress.ledgers / run.seconds
    table.add_row("ledgers", f"{figures['ledgers']} ({rate:.0f}/s)")
    for kind, count in sorted(run.kinds.items()):
        table.add_row(f"events: {kind}", str(count))
    table.add_row("rows written", str(figures["rows_written"]))
    table.add_row("files", str(figures["files"]))
    table.add_row("read", f"{run.bytes_read / MB:.1f} MB")
    table.add_row(
        "streamed", f"{run.progress.bytes_in / MB:.1f} MB ({run.progress.bytes_in / run.seconds / MB:.1f} MB/s)"
    )
    table.add_row("seconds", f"{run.seconds:.2f}")
    return table


def _live_table(run: Run) -> Table:
    progress = run.progress
    done = progress.ledgers / run.total
    table = Table(title=f"{done:.0%} of {run.total} ledgers", show_header=False)
    table.add_row("ledgers", f"{progress.ledgers} ({progress.ledgers / run.seconds:.0f}/s)")
    table.add_row("events", f"{progress.rows_out} ({progress.rows_acknowledged} durable)")
    table.add_row("streamed", f"{progress.bytes_in / run.seconds / MB:.1f} MB/s")
    if run.services is None:
        table.add_row("control plane", "away; the data flows on")
    for status in run.services or ():
        beats = int(status.metrics.get("heartbeats_total", 0))
        table.add_row(status.service_id, f"{status.health.name.lower()}, {beats} heartbeats")
    return table
