"""`flowctl-aio services`: who is registered at a plane, once or again and again."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import anyio
from cyclopts import Parameter
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flowctl_aio import Health, ServiceStatus
from flowctl_aio.cli.plane_options import PlaneOptions
from flowctl_aio.cli.signals import run_interruptible
from flowctl_aio.cli.words import plain
from flowctl_aio.errors import ConfigError, ControlError

LATE = 0.5  # of the lease: a beat that is older is on its way to be missed
COLOURS = {Health.HEALTHY: "green", Health.UNHEALTHY: "red", Health.UNKNOWN: "dim"}


def services(
    *,
    watch: Annotated[bool, Parameter(negative=(), help="Go on looking, until Ctrl-C.")] = False,
    interval: Annotated[float, Parameter(help="Seconds between two looks.")] = 2.0,
    as_json: Annotated[
        bool, Parameter(name="--json", negative=(), help="Print JSON, one array for each look.")
    ] = False,
    plane: PlaneOptions | None = None,
) -> None:
    """Print the services that a control plane knows: how they are, where they are, and when they were last heard of."""
    if not interval > 0:
        raise ConfigError(f"--interval must be above 0, not {interval:g}")
    run_interruptible(_services, plane or PlaneOptions(), interval if watch else None, as_json)


async def _services(options: PlaneOptions, interval: float | None, as_json: bool) -> None:
    async with options.open_directory() as (directory, config):
        if interval is None:
            _print(await directory.list_services(), config.lease_timeout, as_json=as_json)
            return
        if as_json or not _is_terminal():
            while True:
                _print(await directory.list_services(), config.lease_timeout, as_json=as_json)
                await anyio.sleep(interval)
        with Live(auto_refresh=False) as live:
            while True:
                try:
                    shown: Table | str = table_of(await directory.list_services(), config.lease_timeout)
                except ControlError as error:  # it may come back
                    shown = f"the plane is away: {error}"
                live.update(shown, refresh=True)
                await anyio.sleep(interval)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()  # it may be closed


def _print(statuses: Sequence[ServiceStatus], lease: float, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([values_of(status) for status in statuses]), flush=True)
    elif _is_terminal():
        Console().print(table_of(statuses, lease))
    else:
        # Nobody's window is as wide as a line may be, and whoever reads a pipe wants one line a service.
        for row in rows_of(statuses):
            print("\t".join(row), flush=True)


def table_of(statuses: Sequence[ServiceStatus], lease: float) -> Table:
    """The services as a table, the age of the last beat in the colour of what it means for the lease."""
    table = Table("id", "type", "health", "heard", "endpoint", "takes", "gives")
    for status, row in zip(statuses, rows_of(statuses), strict=True):
        # Names come from strangers: as Text they are no markup.
        cells = [Text(cell) for cell in row]
        cells[2].stylize(COLOURS.get(status.health, "yellow"))
        cells[3].stylize(_colour_of(age_of(status), lease))
        table.add_row(*cells)
    return table


def rows_of(statuses: Sequence[ServiceStatus]) -> list[list[str]]:
    """One row of words for each service, no word with anything in it that moves a cursor."""
    rows = []
    for status in statuses:
        age = age_of(status)
        info = status.info
        row = [
            status.service_id,
            info.service_type.name.lower(),
            status.health.name.lower(),
            "-" if age is None else f"{age:.1f} s ago",
            info.endpoint or "-",
            ", ".join(info.input_event_types) or "-",
            ", ".join(info.output_event_types) or "-",
        ]
        rows.append([plain(word) for word in row])
    return rows


def values_of(status: ServiceStatus) -> dict[str, Any]:
    """A service as values that `json` can write; its metadata stays out."""
    info = status.info
    heard = status.last_heartbeat
    return {
        "id": status.service_id,
        "type": info.service_type.name.lower(),
        "health": status.health.name.lower(),
        "last_heartbeat": heard.isoformat() if heard is not None else None,
        "age": age_of(status),
        "endpoint": info.endpoint,
        "inputs": list(info.input_event_types),
        "outputs": list(info.output_event_types),
    }


def age_of(status: ServiceStatus) -> float | None:
    """Seconds since the last beat by this machine's clock, never below 0; None if the plane does not say."""
    if status.last_heartbeat is None:
        return None
    return round(max((datetime.now(UTC) - status.last_heartbeat).total_seconds(), 0.0), 3)


def _colour_of(age: float | None, lease: float) -> str:
    if age is None:
        return "dim"
    return "green" if age <= LATE * lease else "yellow" if age <= lease else "red"
