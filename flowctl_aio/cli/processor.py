"""`flowctl-aio processor`: the ttp-arrow-processor as a service."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from flowctl_aio import FlowctlConfig
from flowctl_aio.cli.filter_options import FilterOptions
from flowctl_aio.cli.service import ServiceOptions, run_service
from flowctl_aio.components.stellar.transfers import Mode
from flowctl_aio.components.ttp_arrow_processor import OnBadLedger, TtpArrowProcessor
from flowctl_aio.config.components import TtpArrowProcessorSettings
from flowctl_aio.errors import ConfigError

NAME = "ttp_arrow_processor"


def processor(
    *,
    network: Annotated[str | None, Parameter(help="pubnet, testnet, or a passphrase [testnet].")] = None,
    mode: Annotated[Mode, Parameter(help="Read the events in the ledgers, or work them out.")] = "derived",
    component_id: Annotated[str | None, Parameter(name="--id", help="Its identity [ttp-arrow-processor].")] = None,
    on_bad_ledger: Annotated[
        OnBadLedger, Parameter(help="What a ledger that cannot be read does: stop the stream, or go into --quarantine.")
    ] = "stop",
    quarantine: Annotated[str | None, Parameter(help="Folder for such ledgers.")] = None,
    check_balances: Annotated[
        bool, Parameter(negative=(), help="Refuse a ledger whose transfers are not what happened to its balances.")
    ] = False,
    processes: Annotated[
        int | None, Parameter(help="Worker processes that parse; 0 for a thread of this one [0].")
    ] = None,
    wanted: FilterOptions | None = None,
    service: ServiceOptions | None = None,
) -> None:
    """Serve token transfers out of ledgers, until a signal comes."""
    service = service or ServiceOptions()
    own = service.load_own(TtpArrowProcessorSettings, NAME, component_id)
    settings = own.config
    network = network or settings.network_passphrase
    if not network:
        raise ConfigError("no network is known: give --network, or set TTP_ARROW_PROCESSOR_NETWORK_PASSPHRASE")

    filtered = (wanted or FilterOptions()).filter(settings)

    async def make(config: FlowctlConfig) -> TtpArrowProcessor:
        return TtpArrowProcessor(
            network,
            mode=mode,
            filter=filtered,
            on_bad_ledger=on_bad_ledger,
            quarantine=quarantine,
            check_balances=check_balances,
            processes=settings.processes if processes is None else processes,
        )

    asyncio.run(run_service(service, NAME, component_id, make, own.notes))
