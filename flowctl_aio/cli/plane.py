"""`flowctl-aio plane`: the embedded control plane as a process of its own."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from flowctl_aio import EmbeddedControlPlane
from flowctl_aio.cli.service import print_ready
from flowctl_aio.cli.signals import until_told


def plane(
    *,
    bind: Annotated[str, Parameter(help="Where to listen; port 0 takes a free one.")] = "127.0.0.1:8080",
    heartbeat_ttl: Annotated[float, Parameter(help="Seconds without a heartbeat until a service is unhealthy.")] = 30.0,
    insecure: Annotated[bool, Parameter(help="Listen in plaintext for other machines too.")] = False,
    with_parent: Annotated[bool, Parameter(help="End when standard input closes.", show=False)] = False,
) -> None:
    """Run a control plane, in memory, for development and single machines."""
    asyncio.run(_plane(bind, heartbeat_ttl, insecure=insecure, with_parent=with_parent))


async def _plane(bind: str, heartbeat_ttl: float, *, insecure: bool, with_parent: bool) -> None:
    async with (
        until_told(with_parent=with_parent) as told,
        EmbeddedControlPlane(bind, heartbeat_ttl=heartbeat_ttl, insecure=insecure) as running,
    ):
        print_ready("plane", running.endpoint)
        await told.wait()
