"""`flowctl-aio ledgers`: the ledgers of a range, as JSON lines, or as rows in Parquet or Arrow."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from cyclopts import Parameter

from flowctl_aio.cli.lake_options import LakeOptions, Start
from flowctl_aio.cli.progress import show_progress
from flowctl_aio.cli.row_output import OutputOptions, View, open_output
from flowctl_aio.cli.signals import run_interruptible
from flowctl_aio.components.stellar.ledgers import SCHEMA, ledger_rows
from flowctl_aio.components.stellar.xdr import walk_ledger
from flowctl_aio.components.stellar_arrow_source import Supply
from flowctl_aio.errors import ConfigError

# As the columns name what the first implementation had; what it had not keeps its own name.
_SOURCE_TYPES = {"lake": "datalake"}


def ledgers(
    *,
    first: Annotated[Start | None, Parameter(name="--from", help="First ledger, or latest.")] = None,
    last: Annotated[int | None, Parameter(name="--to", help="Last ledger, included.")] = None,
    xdr: Annotated[bool, Parameter(negative=(), help="Put the ledgers themselves into the rows, as raw XDR.")] = False,
    output: OutputOptions | None = None,
    lake: LakeOptions | None = None,
) -> None:
    """Print the ledgers of a range, each when it is there: as JSON, one object a line, or in columns."""
    output = output or OutputOptions()
    output.check()
    if xdr and output.format == "jsonl":
        raise ConfigError("--xdr puts bytes into a column: give --format=parquet or --format=arrow")
    run_interruptible(partial(_ledgers, lake or LakeOptions(), output, first, last, xdr=xdr))


async def _ledgers(
    options: LakeOptions,
    output: OutputOptions,
    first: Start | None,
    last: int | None,
    *,
    xdr: bool,
) -> None:
    supply, start, end = await options.open_range(first, last)
    output.check_end(end)
    with (
        show_progress(start, end, is_quiet=output.out is not None) as progress,
        open_output(output, _view(supply, with_xdr=xdr), at_once=end is None) as writer,
    ):
        async with supply.open_ledgers(start, end) as found:
            async for ledger in found:
                await to_thread.run_sync(writer.write, ledger.xdr)
                progress.done(ledger.sequence)


def _view(supply: Supply, *, with_xdr: bool) -> View[bytes]:
    def batch(data: bytes) -> Any:
        return ledger_rows(
            [data],
            passphrase=supply.passphrase,
            source_type=_SOURCE_TYPES.get(supply.kind, supply.kind),
            source_url=supply.where,
            with_xdr=with_xdr,
        )

    return View(SCHEMA, lambda data: f"{line_of(data)}\n", batch)


def line_of(data: bytes) -> str:
    """One ledger as a line.

    Raises:
        LedgerDecodeError: if it cannot be read to its end.
    """
    ledger = walk_ledger(data)
    header = ledger.header
    successful = sum(transaction.result.success for transaction in ledger.transactions)
    facts = {
        "sequence": header.sequence,
        "hash": header.hash.hex(),
        "previous_hash": header.previous_hash.hex(),
        "closed_at": datetime.fromtimestamp(header.closed_at, UTC).isoformat(),
        "protocol": header.protocol,
        "transactions": len(ledger.transactions),
        "failed": len(ledger.transactions) - successful,
        "bytes": len(data),
    }
    return json.dumps(facts)
