"""Claims about damaged ledgers: cut anywhere or with bits flipped anywhere, they give rows or the one named error.

A few hundred cases as it comes; `--fuzz-cases 100000 --timeout 0` for the long run. It says how long the slowest case
took, which is not asserted: machines differ.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest

from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.transfers import Mode, rows_to_batch, token_transfers
from flowctl_aio.components.stellar.xdr import split_ledgers
from flowctl_aio.errors import LedgerDecodeError

_MOST_FLIPS = 4


@dataclass
class Tally:
    """What came of the cases; seconds of CPU time and of wall time."""

    rows: int = 0
    errors: int = 0
    slowest_cpu: float = 0.0
    slowest_wall: float = 0.0
    slowest_case: str = ""
    strange: list[str] = field(default_factory=list)

    def told(self) -> str:
        cpu, wall = 1e3 * self.slowest_cpu, 1e3 * self.slowest_wall
        slowest = f"slowest {cpu:.1f} ms of CPU ({self.slowest_case}), {wall:.1f} ms by the clock"
        return f"{self.errors} errors, {self.rows} with rows; {slowest}"


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The ledger cut, or with one to four bits flipped. Half of the cuts keep whole words, which are harder to see."""
    if chance.random() < 0.3:
        cut = chance.randrange(len(data))
        return data[: cut & ~3 if chance.random() < 0.5 else cut]
    broken = bytearray(data)
    for _ in range(chance.randint(1, _MOST_FLIPS)):
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(broken)


def try_case(data: bytes, passphrase: str, mode: Mode, tally: Tally, case: str) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        rows_to_batch(token_transfers(data, passphrase=passphrase, mode=mode).rows)
    except LedgerDecodeError:
        tally.errors += 1
    except Exception as error:  # noqa: BLE001 - what the test looks for
        tally.strange.append(f"{case}: {error!r}")
    else:
        tally.rows += 1
    cpu = time.process_time() - cpu
    tally.slowest_wall = max(tally.slowest_wall, time.perf_counter() - wall)
    if cpu > tally.slowest_cpu:
        tally.slowest_cpu, tally.slowest_case = cpu, case


def test_damaged_ledgers_give_rows_or_the_named_error(
    real: Any, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    cases, seed = request.config.getoption("--fuzz-cases"), request.config.getoption("--fuzz-seed")
    names = [name for name in real.names() if not name.startswith("loadtest")]
    chance = random.Random(seed)
    tally = Tally()
    # Several cases of one ledger together: reading and decompressing it would take longer than they do.
    together = min(50, max(1, cases // len(names)))
    for block in range(0, cases, together):
        name = names[block // together % len(names)]
        passphrase, ledgers = passphrase_of(name.partition("-")[0]), real.ledgers(name)
        for nth in range(block, min(block + together, cases)):
            data, mode = damaged(chance.choice(ledgers), chance), get_args(Mode)[nth % 2]
            try_case(data, passphrase, mode, tally, f"case {nth} of seed {seed}, {name}, {mode}, {len(data)} bytes")
    with capfd.disabled():
        request.config.pluginmanager.getplugin("terminalreporter").write_line(f"\n{cases} cases: {tally.told()}")
    assert tally.strange == []
    assert tally.errors > cases // 10


def test_damaged_batches_are_cut_into_ledgers_or_give_the_named_error(real: Any) -> None:
    ledgers = real.ledgers("coretest-OfferTests-f7a7364752aecebb")[:8]
    chance = random.Random(5)
    for _ in range(200):
        try:
            pieces = split_ledgers(damaged(b"".join(ledgers), chance), len(ledgers))
        except LedgerDecodeError:
            continue
        assert len(pieces) == len(ledgers)
