"""`flowctl-aio transfers`: the token transfers of a range, as JSON lines, Parquet or Arrow."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from typing import Annotated

from anyio import to_thread
from cyclopts import Parameter

from flowctl_aio.cli.filter_options import FilterOptions
from flowctl_aio.cli.lake_options import LakeOptions, Start
from flowctl_aio.cli.progress import show_progress
from flowctl_aio.cli.row_output import OutputOptions, View, open_output
from flowctl_aio.cli.signals import run_interruptible
from flowctl_aio.components.stellar.transfers import (
    SCHEMA,
    Mode,
    Row,
    TransferFilter,
    golden_line,
    rows_to_batch,
    token_transfers,
)


def transfers(
    *,
    first: Annotated[Start | None, Parameter(name="--from", help="First ledger, or latest.")] = None,
    last: Annotated[int | None, Parameter(name="--to", help="Last ledger, included.")] = None,
    mode: Annotated[Mode, Parameter(help="Read the events in the ledgers, or work them out.")] = "derived",
    check_balances: Annotated[
        bool, Parameter(negative=(), help="Stop at a ledger whose transfers are not what happened to its balances.")
    ] = False,
    output: OutputOptions | None = None,
    lake: LakeOptions | None = None,
    wanted: FilterOptions | None = None,
) -> None:
    """Print the token transfers of a range of ledgers, in the order they are emitted: as JSON lines or in columns."""
    output = output or OutputOptions()
    output.check()
    picked = (wanted or FilterOptions()).filter()
    run = partial(_transfers, lake or LakeOptions(), output, first, last, mode, picked)
    run_interruptible(partial(run, check_balances=check_balances))


async def _transfers(
    options: LakeOptions,
    output: OutputOptions,
    first: Start | None,
    last: int | None,
    mode: Mode,
    wanted: TransferFilter,
    *,
    check_balances: bool,
) -> None:
    supply, start, end = await options.open_range(first, last)
    output.check_end(end)
    uncovered: Counter[str] = Counter()
    view = View(SCHEMA, _lines, rows_to_batch)
    with (
        show_progress(start, end, is_quiet=output.out is not None) as progress,
        open_output(output, view, at_once=end is None) as writer,
    ):
        async with supply.open_ledgers(start, end) as ledgers:
            async for ledger in ledgers:
                found = token_transfers(
                    ledger.xdr, passphrase=supply.passphrase, mode=mode, check_balances=check_balances
                )
                uncovered.update(found.uncovered)
                # Whoever follows a tip wants each ledger when it closes.
                await to_thread.run_sync(writer.write, wanted.pick(found.rows))
                progress.done(ledger.sequence)
    for name, count in sorted(uncovered.items()):
        print(
            f"flowctl-aio: {count} operations of kind {name} are not covered yet; their events are missing",
            file=sys.stderr,
        )


def _lines(rows: list[Row]) -> str:
    return "".join(f"{golden_line(row)}\n" for row in rows)
