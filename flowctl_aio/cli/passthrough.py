"""`flowctl-aio passthrough`: a processor that changes nothing, as a service."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from flowctl_aio import FlowctlConfig
from flowctl_aio.cli.service import ServiceOptions, run_service
from flowctl_aio.components.passthrough import PassThrough

NAME = "passthrough"


def passthrough(
    *,
    event_type: Annotated[
        tuple[str, ...], Parameter(help="What it says it takes and gives, once for each type [whatever comes].")
    ] = (),
    component_id: Annotated[str | None, Parameter(name="--id", help="Its identity [passthrough].")] = None,
    service: ServiceOptions | None = None,
) -> None:
    """Give events on as they come, until a signal comes: `flowctl run` moves nothing without a processor."""

    async def make(config: FlowctlConfig) -> PassThrough:
        return PassThrough(event_type)

    asyncio.run(run_service(service or ServiceOptions(), NAME, component_id, make))
