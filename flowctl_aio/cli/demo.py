"""`flowctl-aio demo`: the plane and the three components as processes, and a range of ledgers through them."""

from __future__ import annotations

import json
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
from anyio.abc import TaskGroup, TaskStatus
from cyclopts import Parameter
from rich.console import Console

from flowctl_aio import (
    EventBatch,
    FlowctlConfig,
    FlowctlSession,
    LedgerBatch,
    LedgerRange,
    Pipeline,
    ServiceInfo,
    ServiceType,
    tune_malloc,
)
from flowctl_aio.cli.children import Child, ChildError, open_child
from flowctl_aio.cli.display import Run, keep_showing, keep_watching, summary, watch_until_healthy
from flowctl_aio.cli.lake_options import LakeOptions
from flowctl_aio.cli.signals import run_interruptible
from flowctl_aio.components.stellar.transfers import Mode
from flowctl_aio.errors import ConfigError, StreamError

EPOCH = 16  # batches of about a MiB until the sink has to make them durable
PLANE_ATTEMPTS, PLANE_PAUSE = 10, 0.5  # to start the plane again, and the seconds between them
LAST_BEATS = 10  # so many intervals at most for a plane that has just come back to know its services
LAST_WORDS = 0.5  # seconds for a process that has died to say why
DRAIN = 3.0  # seconds for each service to end its streams, once the range is through


def demo(
    *,
    first: Annotated[int | None, Parameter(name="--from", help="First ledger.")] = None,
    last: Annotated[int | None, Parameter(name="--to", help="Last ledger, included.")] = None,
    out: Annotated[Path, Parameter(help="Folder for the Parquet files.")] = Path("demo-out"),
    mode: Annotated[Mode, Parameter(help="Read the events in the ledgers, or work them out.")] = "unified",
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object last.")] = False,
    heartbeat_interval: Annotated[float, Parameter(help="Seconds between two heartbeats.")] = 1.0,
    verbose: Annotated[bool, Parameter(negative=(), help="Show what the services log.")] = False,
    lake: LakeOptions | None = None,
) -> int:
    """Run the whole pipeline on this machine: ledgers in, token transfers out, in Parquet."""
    options = lake or LakeOptions()
    run = partial(_demo, options, first, last, out, mode, heartbeat_interval, as_json=as_json, verbose=verbose)
    return run_interruptible(run)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for, checked."""

    ledgers: LedgerRange
    lake: LakeOptions
    passphrase: str
    out: Path
    mode: Mode
    heartbeat_interval: float
    verbose: bool

    def arguments(self, verb: str, plane: str) -> list[str]:
        """The command line of one service."""
        own = {
            "source": self.lake.arguments(),
            "processor": [f"--network={self.passphrase}", f"--mode={self.mode}"],
            "sink": [f"--out={self.out}"],
        }
        common = [f"--plane={plane}", f"--heartbeat-interval={self.heartbeat_interval}", f"--drain-timeout={DRAIN}"]
        return [verb, *common, *own[verb]]


async def _demo(
    lake: LakeOptions,
    first: int | None,
    last: int | None,
    out: Path,
    mode: Mode,
    heartbeat_interval: float,
    *,
    as_json: bool,
    verbose: bool,
) -> int:
    # What is wrong with the range, or the place, is said before anything starts.
    supply, start, end = await lake.open_range(first, last)
    if end is None:
        raise ConfigError("a demo has an end: give --to")
    plan = _Plan(LedgerRange(start, end), lake, supply.passphrase, out, mode, heartbeat_interval, verbose)
    run = Run(total=end - start + 1)
    tune_malloc()
    async with anyio.create_task_group() as group:
        group.start_soon(keep_showing, run)
        plane = await group.start(_keep_plane, run, group)
        # Services first, the plane last: they take their registrations back.
        async with anyio.create_task_group() as watchers, AsyncExitStack() as stack:
            group.start_soon(_cancel_on_sigterm, run, watchers.cancel_scope)
            children: list[Child] = []
            try:
                for verb in ("source", "processor", "sink"):
                    child = await stack.enter_async_context(
                        open_child(group, verb, *plan.arguments(verb, plane), verbose=plan.verbose)
                    )
                    children.append(child)
                for child in children:
                    run.endpoints[child.name] = await child.wait_ready()
                    watchers.start_soon(_watch, child, name=f"watch {child.name}")
                await _stream(run, plan, plane)
            except StreamError:
                # A peer that has died says more about it itself, through its watcher.
                await anyio.sleep(LAST_WORDS)
                raise
            finally:
                watchers.cancel_scope.cancel()  # from here on they may end
                for child in children:
                    child.tell()
        group.cancel_scope.cancel()
    if run.is_terminated:
        return 143
    if as_json:
        print(json.dumps({**run.as_json(), "out": str(out)}))
    else:
        Console().print(summary(run))
    return 0


async def _stream(run: Run, plan: _Plan, plane: str) -> None:
    """Drive the range through the discovered services, watching them all the while."""
    info = ServiceInfo("flowctl-aio-demo", ServiceType.PIPELINE)
    config = FlowctlConfig(endpoint=plane, heartbeat_interval=plan.heartbeat_interval)

    def count(batch: LedgerBatch | EventBatch) -> None:
        for entry in batch.record_batch.column("kind").value_counts().to_pylist():
            run.kinds[entry["values"]] += entry["counts"]

    async with FlowctlSession(info, config) as session:
        session.start_soon(keep_watching, run, session, plan.heartbeat_interval)
        pipeline = Pipeline(session, epoch_batches=EPOCH, on_batch=count)
        run.progress = pipeline.progress
        run.begin()
        await pipeline.run(plan.ledgers)
        run.end()
        async with session.source(run.endpoints["source"]) as source:
            run.bytes_read = int((await source.health()).metrics["bytes_read_total"])
        await watch_until_healthy(run, session, len(run.endpoints) + 1, LAST_BEATS * plan.heartbeat_interval)


async def _keep_plane(run: Run, group: TaskGroup, *, task_status: TaskStatus[str]) -> None:
    """Keep a plane running, on the same port if it has to start again."""
    async with open_child(group, "plane", "plane", "--bind=127.0.0.1:0") as child:
        endpoint = await child.wait_ready()
        task_status.started(endpoint)
        await child.wait()
    while True:
        run.plane_restarts += 1
        for attempt in range(PLANE_ATTEMPTS):
            try:
                async with open_child(group, "plane", "plane", f"--bind={endpoint}") as child:
                    await child.wait_ready()
                    await child.wait()
                break
            except ChildError:
                # Somebody's outgoing connection may have the port for a moment.
                if attempt == PLANE_ATTEMPTS - 1:
                    raise
                await anyio.sleep(PLANE_PAUSE)


async def _watch(child: Child) -> None:
    """Fail when a service ends on its own."""
    raise await child.wait()


async def _cancel_on_sigterm(run: Run, scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            run.is_terminated = True
            scope.cancel()
            return
