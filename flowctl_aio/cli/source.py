"""`flowctl-aio source`: the stellar-arrow-source as a service."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from flowctl_aio.cli.lake_options import LakeOptions
from flowctl_aio.cli.service import ServiceOptions, run_service
from flowctl_aio.components.stellar_arrow_source import StellarArrowSource


def source(
    *,
    component_id: Annotated[str, Parameter(name="--id", help="Its identity.")] = "stellar-arrow-source",
    batch_ledgers: Annotated[int, Parameter(help="A batch is full at so many ledgers ...")] = 64,
    batch_bytes: Annotated[int, Parameter(help="... or bytes of XDR.")] = 1024 * 1024,
    lake: LakeOptions | None = None,
    service: ServiceOptions | None = None,
) -> None:
    """Serve ledgers of a lake, or synthetic ones, until a signal comes."""
    asyncio.run(_source(component_id, batch_ledgers, batch_bytes, lake or LakeOptions(), service or ServiceOptions()))


async def _source(
    component_id: str, batch_ledgers: int, batch_bytes: int, lake: LakeOptions, service: ServiceOptions
) -> None:
    component = StellarArrowSource(
        await lake.open(), component_id=component_id, batch_ledgers=batch_ledgers, batch_bytes=batch_bytes
    )
    await run_service(component, service, component_id)
