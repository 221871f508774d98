"""Lakes that the tests make on the spot, and how they read them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from flowctl_aio.components.stellar.lake import Lake, LakeLayout, Manifest, StoredLedger, write_manifest, write_object
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.errors import FlowctlError
from tests.conftest import DATA

TESTNET = "Test SDF Network ; September 2015"
real_ledgers = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real ledgers are not at {DATA}")


def made(first: int, last: int, *, seed: int = 0) -> list[StoredLedger]:
    synthetic = SyntheticLedgers("testnet", seed=seed, transactions_per_ledger=2)
    return [synthetic.ledger(sequence) for sequence in range(first, last + 1)]


def build_lake(folder: Path, ledgers: Iterable[StoredLedger], *, batch: int = 1, partition: int = 10) -> LakeLayout:
    """Writes a manifest and whatever ledgers are given, each into the object it belongs to."""
    layout = LakeLayout(batch, partition)
    write_manifest(folder, Manifest(TESTNET, batch, partition))
    objects: dict[tuple[int, int], list[StoredLedger]] = {}
    for ledger in ledgers:
        objects.setdefault(layout.batch_of(ledger.sequence), []).append(ledger)
    for members in objects.values():
        write_object(folder, layout, members)
    return layout


async def read(lake: Lake, first: int, last: int | None, **options: object) -> list[StoredLedger]:
    async with lake.open_ledgers(first, last, **options) as ledgers:  # type: ignore[arg-type]
        return [ledger async for ledger in ledgers]


async def read_until_failure(lake: Lake, first: int, last: int, **options: object) -> tuple[list[int], FlowctlError]:
    """Reads a range that must fail; gives the sequences that came before, and the failure."""
    came: list[int] = []
    async with lake.open_ledgers(first, last, **options) as ledgers:  # type: ignore[arg-type]
        try:
            async for ledger in ledgers:
                came.append(ledger.sequence)
        except FlowctlError as error:
            return came, error
    raise AssertionError(f"nothing failed, {came} came")
