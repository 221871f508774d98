"""`flowctl-aio source`: the stellar-arrow-source as a service."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Literal

from cyclopts import Parameter

from flowctl_aio import FlowctlConfig
from flowctl_aio.cli.lake_options import LakeOptions
from flowctl_aio.cli.service import ServiceOptions, run_service
from flowctl_aio.components.stellar_arrow_source import StellarArrowSource
from flowctl_aio.config.components import StellarArrowSourceSettings

NAME = "stellar_arrow_source"
PLACES = ("source_type", "backend_type", "rpc_endpoint", "storage_backend", "bucket_name", "storage_path")


def source(
    *,
    component_id: Annotated[str | None, Parameter(name="--id", help="Its identity [stellar-arrow-source].")] = None,
    batch_ledgers: Annotated[int, Parameter(help="A batch is full at so many ledgers ...")] = 64,
    batch_bytes: Annotated[int, Parameter(help="... or bytes of XDR.")] = 1024 * 1024,
    first: Annotated[
        Literal["latest"] | None,
        Parameter(name="--from", help="Begin at the latest ledger for a client that names no start [START_LEDGER]."),
    ] = None,
    lake: LakeOptions | None = None,
    service: ServiceOptions | None = None,
) -> None:
    """Serve ledgers of a lake, a server, files, or synthetic ones, until a signal comes."""
    service = service or ServiceOptions()
    own = service.load_own(StellarArrowSourceSettings, NAME, component_id)
    settings = own.config
    ledgers = batch_ledgers if own.origins["batch_size"] == "default" else settings.batch_size
    placed = {name for name in PLACES if own.origins[name] != "default"}
    options = _completed(lake or LakeOptions(), settings, placed)

    async def make(config: FlowctlConfig) -> StellarArrowSource:
        return StellarArrowSource(
            await options.open(),
            batch_ledgers=ledgers,
            batch_bytes=batch_bytes,
            first=first or config.start_ledger or None,
            last=config.end_ledger or None,
        )

    asyncio.run(run_service(service, NAME, component_id, make, own.notes))


def _completed(options: LakeOptions, settings: StellarArrowSourceSettings, placed: set[str]) -> LakeOptions:
    """The options, and where they name no place, the one that the environment or a file names in `placed`."""
    options = replace(options, network=options.network or settings.network_passphrase or None)
    if options.lake is not None or options.rpc is not None or options.files or not placed:
        return options
    if settings.is_rpc or placed == {"rpc_endpoint"}:
        return replace(options, rpc=settings.rpc_endpoint)
    return replace(
        options,
        lake=settings.lake_url or None,
        region=options.region or (settings.aws_region if settings.storage_backend == "s3" else None),
        ledgers_per_batch=options.ledgers_per_batch or settings.ledgers_per_file or None,
        batches_per_partition=options.batches_per_partition or settings.files_per_partition or None,
    )
