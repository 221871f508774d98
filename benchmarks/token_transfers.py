"""Token transfers: compressed objects of a data lake to Arrow rows, against `stellar_sdk` decoding the same ledgers.

    python -m benchmarks.token_transfers [--quick]

Each side has a process of its own; they run in turns, and a rate is bytes of XDR per second of CPU time, so per core.
Our sides decompress, walk, make rows and build a record batch, and forget every remembered address before each
pass; `stellar_sdk` gets the bare ledgers, decodes one at a time, and drops each. `ratio` is the median of ours over
its median. `ratio_kept` is the same where it keeps what it decoded, as a list of ledgers would, which gives the
collector of cyclic garbage more to look at. `ratio_without_gc` is the same with that collector off.

`scaling` is the wall-clock rate of a pool of two spawned processes over that of a pool of one: compressed objects in,
Arrow streams out. `machine_scaling` is the same for counting in a loop, in the same rounds: what the machine can give.

`end_to_end` is the rate of a lake to Parquet through three services over that of the same components called in one
process, all on the cores that there are; see `benchmarks.end_to_end`.

The ledgers are the real ones that lie beside the project. Without them there is nothing to measure: `ratio` is null.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from benchmarks import end_to_end
from benchmarks.harness import Answer, Worker, answer_requests, open_worker, parser, report
from flowctl_aio.components.stellar import assets, strkey
from flowctl_aio.components.stellar.lake.keys import parse_object_name
from flowctl_aio.components.stellar.lake.objects import decode_object
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.transfers import Mode, events, rows_to_batch, token_transfers

LAKE = Path(__file__).resolve().parents[2] / "shared" / "data" / "lake" / "pubnet"
PASSPHRASE = passphrase_of("pubnet")
TARGETS = {"unified": 60, "derived": 40, "scaling": 1.8, "end_to_end": 0.8}
# These have no unified events; the figures of both modes are to be of the same ledgers.
WITHOUT_EVENTS = {6154623, 16154623, 46154623, 53312000}
QUICK = {63092987, 63092989}
REMEMBERED = (
    strkey.account_address,
    strkey.contract_address,
    strkey.pool_address,
    assets.asset_of,
    assets.proven_asset,
    events._address,
    events._named,
)
OURS: tuple[Mode, ...] = ("unified", "derived")
EXPLAINING = ("stellar_sdk-kept", "stellar_sdk-without-gc")
POOL_OBJECTS, COUNT = 60, 1_000_000
PEERS = {"stellar_sdk": "ratio", "stellar_sdk-kept": "ratio_kept", "stellar_sdk-without-gc": "ratio_without_gc"}


class Stored(NamedTuple):
    """One object of the lake as it is stored, and the range in its name."""

    data: bytes
    key: str
    first: int
    last: int


def stored_objects(*, quick: bool) -> list[Stored]:
    found = []
    for path in LAKE.glob("*/*.xdr.zst"):
        name = parse_object_name(path.name)
        if name is not None and name[0] not in WITHOUT_EVENTS and (not quick or name[0] in QUICK):
            found.append(Stored(path.read_bytes(), path.name, name[0], name[1]))
    return sorted(found, key=lambda each: each.first)


def chained_ledgers() -> list[bytes]:
    """The real ledgers that follow each other: ten, of a megabyte each."""
    objects = [each for each in stored_objects(quick=False) if each.first >= end_to_end.FIRST]
    return [decode_object(each.data, key=each.key, first=each.first, last=each.last)[0].xdr for each in objects]


def transfers_of(stored: Stored, mode: Mode) -> tuple[int, Any]:
    """What is measured: a compressed object in; the size of its ledgers and a record batch out."""
    ledgers = decode_object(stored.data, key=stored.key, first=stored.first, last=stored.last)
    rows = [row for each in ledgers for row in token_transfers(each.xdr, passphrase=PASSPHRASE, mode=mode).rows]
    return sum(len(each.xdr) for each in ledgers), rows_to_batch(rows)


def transfers_as_stream(stored: Stored, mode: Mode) -> tuple[int, bytes]:
    """The same in a process of a pool, which sends the batch back as bytes."""
    size, batch = transfers_of(stored, mode)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return size, sink.getvalue().to_pybytes()


def pass_of_ours(objects: list[Stored], mode: Mode) -> int:
    for remembered in REMEMBERED:
        remembered.cache_clear()
    return sum(transfers_of(each, mode)[0] for each in objects)


def pass_of_sdk(ledgers: Iterable[bytes], *, keep: bool) -> int:
    # Only here: thousands of classes would be there for the collector to look at in the processes of our sides too.
    import stellar_sdk.xdr

    size, kept = 0, []
    for data in ledgers:
        decoded = stellar_sdk.xdr.LedgerCloseMeta.from_xdr_bytes(data)
        if keep:
            kept.append(decoded)
        size += len(data)
    return size


async def work(side: str, *, quick: bool) -> None:
    """One side: whole passes over the ledgers, for at least so long."""
    objects = stored_objects(quick=quick)
    ledgers = [
        ledger.xdr
        for each in objects
        for ledger in decode_object(each.data, key=each.key, first=each.first, last=each.last)
    ]
    if side == "stellar_sdk-without-gc":
        gc.disable()

    async def measure(request: Answer) -> Answer:
        size, start = 0, time.process_time()
        while True:
            if side in OURS:
                size += pass_of_ours(objects, side)
            else:
                size += pass_of_sdk(ledgers, keep=side == "stellar_sdk-kept")
            elapsed = time.process_time() - start
            if elapsed >= request["seconds"]:
                return {"rate": size / 1e6 / elapsed}

    await answer_requests({}, measure)


def in_turns(workers: dict[str, Worker], rounds: int, *, seconds: float) -> dict[str, list[float]]:
    """The rates of each side; the slow ones that only explain are asked in the first round alone.

    A pass of `stellar_sdk` takes as long as dozens of ours, and the machine is not the same all the while: so ours are
    asked before and after it, for half of the time each.
    """
    rates: dict[str, list[float]] = {side: [] for side in workers}
    for side in OURS:
        workers[side].ask(seconds=0)  # a first pass compiles what later ones only use
    for turn in range(rounds):
        for side in (*OURS, "stellar_sdk", *OURS, *(EXPLAINING if turn == 0 else ()), *OURS):
            part = seconds / 2 if side in OURS else seconds
            rates[side].append(workers[side].ask(seconds=part)["rate"])
    return rates


def scaling(objects: list[Stored], rounds: int) -> dict[str, dict[int, float]]:
    """Wall-clock rates of pools of one and of two processes: transfers in unified mode and in order, and counting."""
    rates: dict[str, dict[int, list[float]]] = {"transfers": {1: [], 2: []}, "counting": {1: [], 2: []}}
    with ExitStack() as stack:
        spawn = multiprocessing.get_context("spawn")
        pools = {size: stack.enter_context(ProcessPoolExecutor(size, mp_context=spawn)) for size in (1, 2)}
        for turn in range(-1, rounds):
            for size, pool in pools.items():
                measured = {"transfers": _transfer_rate(pool, objects), "counting": _counting_rate(pool)}
                for what, rate in measured.items():
                    if turn >= 0:  # the first is for starting the processes
                        rates[what][size].append(rate)
    return {what: {size: statistics.median(of) for size, of in sizes.items()} for what, sizes in rates.items()}


def _transfer_rate(pool: ProcessPoolExecutor, objects: list[Stored]) -> float:
    start = time.perf_counter()
    # Enough that it does not matter how long, at the end, one process waits for the other.
    many = objects * (POOL_OBJECTS // len(objects))
    done = sum(size for size, _ in pool.map(transfers_as_stream, many, ["unified"] * len(many)))
    return done / 1e6 / (time.perf_counter() - start)


def _counting_rate(pool: ProcessPoolExecutor) -> float:
    start = time.perf_counter()
    return sum(pool.map(count_up, [COUNT] * 16)) / 1e6 / (time.perf_counter() - start)


def count_up(limit: int) -> int:
    reached = 0
    while reached < limit:
        reached += 1
    return reached


def main() -> None:
    options = parser(__doc__)
    chosen = options.parse_args()
    if chosen.worker:
        asyncio.run(work(chosen.worker, quick=chosen.quick))
        return
    objects = stored_objects(quick=chosen.quick)
    if not objects:
        print(f"nothing to measure: the real ledgers are not at {LAKE}", file=sys.stderr)
        report("token_transfers", None, reason=f"the real ledgers are not at {LAKE}")
        return
    compare(objects, quick=chosen.quick)


def compare(objects: list[Stored], *, quick: bool) -> None:
    rounds, seconds = (3, 0.5) if quick else (5, 2.0)
    arguments = ["--quick"] if quick else []
    with ExitStack() as stack:
        workers = {
            side: stack.enter_context(open_worker("benchmarks.token_transfers", side, *arguments))
            for side in (*OURS, *PEERS)
        }
        rates = in_turns(workers, rounds, seconds=seconds)
    medians = {side: statistics.median(values) for side, values in rates.items()}
    pools = scaling(objects, 2 if quick else rounds)
    if quick:
        whole = end_to_end.compare(chained_ledgers(), count=30, rounds=2, services={"services": 0})
    else:
        whole = end_to_end.compare(chained_ledgers(), count=200, rounds=rounds)
    ratios = {name: {mode: round(medians[mode] / medians[peer], 1) for mode in OURS} for peer, name in PEERS.items()}
    gain = {what: round(rate[2] / rate[1], 2) for what, rate in pools.items()}
    report(
        "token_transfers",
        {**ratios.pop("ratio"), "scaling": gain["transfers"], "end_to_end": whole["ratio"]["services"]},
        **ratios,
        targets=TARGETS,
        mb_per_second={side: round(rate, 2) for side, rate in medians.items()},
        spread={side: [round(min(values), 2), round(max(values), 2)] for side, values in rates.items()},
        pool_mb_per_second={str(size): round(rate, 1) for size, rate in pools["transfers"].items()},
        machine_scaling=gain["counting"],
        end_to_end=whole,
        ledgers=[each.first for each in objects],
        rounds=rounds,
        seconds_per_round=seconds,
    )


if __name__ == "__main__":
    main()
