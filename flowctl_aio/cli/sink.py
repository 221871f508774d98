"""`flowctl-aio sink`: the arrow-analytics-sink as a service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flowctl_aio.cli.service import ServiceOptions, run_service
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink


def sink(
    *,
    out: Annotated[Path, Parameter(help="Folder for the Parquet files.")],
    compression: Annotated[str, Parameter(help="none, snappy, gzip, lz4, zstd or brotli.")] = "snappy",
    component_id: Annotated[str, Parameter(name="--id", help="Its identity.")] = "arrow-analytics-sink",
    service: ServiceOptions | None = None,
) -> None:
    """Write events into Parquet files by date, until a signal comes."""
    component = ArrowAnalyticsSink(out, compression=compression)
    asyncio.run(run_service(component, service or ServiceOptions(), component_id))
