"""`flowctl-aio transfers`: the token transfers of a range, as JSON lines."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Annotated

from anyio import to_thread
from cyclopts import Parameter

from flowctl_aio.cli.filter_options import FilterOptions
from flowctl_aio.cli.lake_options import LakeOptions
from flowctl_aio.cli.signals import run_interruptible
from flowctl_aio.components.stellar.transfers import Mode, TransferFilter, golden_line, token_transfers


def transfers(
    *,
    first: Annotated[int | None, Parameter(name="--from", help="First ledger.")] = None,
    last: Annotated[int | None, Parameter(name="--to", help="Last ledger, included.")] = None,
    mode: Annotated[Mode, Parameter(help="Read the events in the ledgers, or work them out.")] = "derived",
    lake: LakeOptions | None = None,
    wanted: FilterOptions | None = None,
) -> None:
    """Print the token transfers of a range of ledgers, one JSON object a line, in the order they are emitted."""
    run_interruptible(_transfers, lake or LakeOptions(), first, last, mode, (wanted or FilterOptions()).filter())


async def _transfers(
    options: LakeOptions, first: int | None, last: int | None, mode: Mode, wanted: TransferFilter
) -> None:
    start, end = options.range(first, last)
    supply = await options.open()
    uncovered: Counter[str] = Counter()
    async with supply.open_ledgers(start, end) as ledgers:
        async for ledger in ledgers:
            found = token_transfers(ledger.xdr, passphrase=supply.passphrase, mode=mode)
            uncovered.update(found.uncovered)
            lines = "".join(f"{golden_line(row)}\n" for row in wanted.pick(found.rows))
            await to_thread.run_sync(sys.stdout.write, lines)
        sys.stdout.flush()
    for name, count in sorted(uncovered.items()):
        print(
            f"flowctl-aio: {count} operations of kind {name} are not covered yet; their events are missing",
            file=sys.stderr,
        )
