"""Claims about the Parquet files themselves: schema, metadata, order and compression."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.components.stellar.transfers.schema import SCHEMA

from .data_sets import dated, files, ledgers, read, typed, write

pytestmark = pytest.mark.anyio


async def test_a_file_keeps_schema_range_and_the_order_of_the_rows(out: Path, sink: ArrowAnalyticsSink) -> None:
    rows = [*ledgers(1005, 1006), *ledgers(1001, 1002)]
    await write(sink, typed(rows))
    path = out / "date=2025-03-02/ledgers-0000001001-0000001006.parquet"
    file = pq.ParquetFile(path)
    assert file.read().to_pylist() == rows
    assert file.schema_arrow.equals(SCHEMA, check_metadata=True)
    keys = {key: value for key, value in file.metadata.metadata.items() if key.startswith(b"flowctl.")}
    assert keys.pop(b"flowctl.writer").startswith(b"flowctl_aio ")
    assert keys == {
        b"flowctl.schema": b"token_transfer@1",
        b"flowctl.first_ledger": b"1001",
        b"flowctl.last_ledger": b"1006",
    }


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "lz4", "zstd", "brotli"])
async def test_every_compression_is_written_and_read(out: Path, compression: str) -> None:
    await write(ArrowAnalyticsSink(out, compression=compression), typed(ledgers(1000, 1001)))
    (name,) = files(out)
    codec = {"none": "uncompressed"}.get(compression, compression).upper()
    assert pq.ParquetFile(out / name).metadata.row_group(0).column(0).compression == codec
    assert read(out) == dated(ledgers(1000, 1001))
