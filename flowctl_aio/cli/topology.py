"""`flowctl-aio topology`: who feeds whom at a plane."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from flowctl_aio.cli.plane_options import PlaneOptions
from flowctl_aio.cli.signals import run_interruptible
from flowctl_aio.cli.words import plain
from flowctl_aio.control.overview.topology import Topology, topology_of
from flowctl_aio.errors import ConfigError


def topology(
    *,
    mermaid: Annotated[bool, Parameter(negative=(), help="Print a Mermaid flowchart.")] = False,
    dot: Annotated[bool, Parameter(negative=(), help="Print a graph for Graphviz.")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object.")] = False,
    plane: PlaneOptions | None = None,
) -> None:
    """Print who feeds whom, by the event types that the services have registered."""
    if mermaid + dot + as_json > 1:
        raise ConfigError("--mermaid, --dot and --json exclude each other")
    found = run_interruptible(_topology, plane or PlaneOptions())
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    elif mermaid or dot:
        print((found.to_mermaid() if mermaid else found.to_dot()).rstrip())
    else:
        print("\n".join(plain(line) for line in _lines(found)))


async def _topology(options: PlaneOptions) -> Topology:
    async with options.open_directory() as (directory, _):
        return topology_of(await directory.list_services())


def _lines(found: Topology) -> list[str]:
    """The chains, then what is wrong with the rest."""
    lines = [" -> ".join(chain) for chain in found.chains]
    if found.chains_cut:
        lines.append("... and more")
    for cycle in found.cycles:
        lines.append(f"circle: {', '.join(cycle)}")
    lines += [f"circle: {service_id} takes what it gives" for service_id in found.self_loops]
    for orphan in found.orphans:
        if orphan.inputs:
            lines.append(f"nobody gives {orphan.service_id}: {', '.join(orphan.inputs)}")
        if orphan.outputs:
            lines.append(f"nobody takes from {orphan.service_id}: {', '.join(orphan.outputs)}")
    return lines or ["no services that feed each other"]
