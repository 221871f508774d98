"""`flowctl-aio ledgers`: the ledgers of a range, as JSON lines."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

from anyio import to_thread
from cyclopts import Parameter

from flowctl_aio.cli.lake_options import LakeOptions
from flowctl_aio.cli.progress import show_progress
from flowctl_aio.cli.signals import run_interruptible
from flowctl_aio.components.stellar.xdr import walk_ledger


def ledgers(
    *,
    first: Annotated[int | None, Parameter(name="--from", help="First ledger.")] = None,
    last: Annotated[int | None, Parameter(name="--to", help="Last ledger, included.")] = None,
    lake: LakeOptions | None = None,
) -> None:
    """Print the ledgers of a range, one JSON object a line, each when it is there."""
    run_interruptible(_ledgers, lake or LakeOptions(), first, last)


async def _ledgers(options: LakeOptions, first: int | None, last: int | None) -> None:
    supply, start, end = await options.open_range(first, last)
    with show_progress(start, end) as progress:
        async with supply.open_ledgers(start, end) as found:
            async for ledger in found:
                await to_thread.run_sync(_print, ledger.xdr)
                progress.done(ledger.sequence)


def _print(data: bytes) -> None:
    sys.stdout.write(f"{line_of(data)}\n")
    sys.stdout.flush()


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
