"""`flowctl-aio health`: how the pipeline at a plane is, in words, as JSON, and as an exit code."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter

from flowctl_aio.cli.plane_options import PlaneOptions
from flowctl_aio.cli.signals import run_interruptible
from flowctl_aio.cli.words import plain
from flowctl_aio.control.overview.report import health_report


def health(
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help="Print the whole report as JSON.")] = False,
    plane: PlaneOptions | None = None,
) -> int:
    """Print how the services of a plane are together, and what to do about it; exit code 1 unless all are healthy."""
    report = run_interruptible(_report, plane or PlaneOptions())
    overall = (report["pipeline_health"] or {}).get("overall_status")
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(plain(line) for line in _lines(report)))
    return 0 if overall == "healthy" else 1


async def _report(options: PlaneOptions) -> dict[str, Any]:
    async with options.open_directory() as (directory, config):
        return await health_report(directory.list_services, lease=config.lease_timeout)


def _lines(report: dict[str, Any]) -> list[str]:
    found = report["pipeline_health"]
    if found is None:
        return [f"unknown: {report['errors'].get('pipeline_health', 'the plane does not say')}"]
    counts = f"{found['healthy_services']} of {found['total_services']} services are healthy"
    return [f"{found['overall_status']}: {counts}", *report["recommendations"]]
