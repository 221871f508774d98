"""`flowctl-aio sink`: the arrow-analytics-sink as a service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flowctl_aio import FlowctlConfig
from flowctl_aio.cli.service import ServiceOptions, run_service
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.config.components import ArrowAnalyticsSinkSettings

NAME = "arrow_analytics_sink"


def sink(
    *,
    out: Annotated[Path | None, Parameter(help="Folder for the Parquet files [./data/ttp_events].")] = None,
    compression: Annotated[str | None, Parameter(help="none, snappy, gzip, lz4, zstd or brotli [snappy].")] = None,
    component_id: Annotated[str | None, Parameter(name="--id", help="Its identity [arrow-analytics-sink].")] = None,
    service: ServiceOptions | None = None,
) -> None:
    """Write events into Parquet files by date, until a signal comes."""
    service = service or ServiceOptions()
    own = service.load_own(ArrowAnalyticsSinkSettings, NAME, component_id)
    settings = own.config

    async def make(config: FlowctlConfig) -> ArrowAnalyticsSink:
        folder = out or Path(settings.parquet_path)
        return ArrowAnalyticsSink(folder, compression=compression or settings.parquet_compression)

    asyncio.run(run_service(service, NAME, component_id, make, own.notes))
