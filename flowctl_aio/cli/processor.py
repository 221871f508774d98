"""`flowctl-aio processor`: the ttp-arrow-processor as a service."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from flowctl_aio.cli.service import ServiceOptions, run_service
from flowctl_aio.components.stellar.transfers import Mode
from flowctl_aio.components.ttp_arrow_processor import TtpArrowProcessor


def processor(
    *,
    network: Annotated[str, Parameter(help="pubnet, testnet, or a passphrase.")],
    mode: Annotated[Mode, Parameter(help="Read the events in the ledgers, or work them out.")] = "derived",
    component_id: Annotated[str, Parameter(name="--id", help="Its identity.")] = "ttp-arrow-processor",
    service: ServiceOptions | None = None,
) -> None:
    """Serve token transfers out of ledgers, until a signal comes."""
    component = TtpArrowProcessor(network, mode=mode, component_id=component_id)
    asyncio.run(run_service(component, service or ServiceOptions(), component_id))
