"""Batches through shared memory, in messages of four sizes: the SDK's source stream against Arrow Flight's DoGet.

    python -m benchmarks.shared [--quick]

Both ways carry the same record batches from one process to another on this machine, in turns, hand them over as
record batches, and look at the first and the last byte of each of their buffers. `ratio` is bytes per second through
the SDK with its shared memory, tuned by `tune_malloc()` as the command line runs it, over Flight as it comes, which has
no shared memory; `same_setting` is over Flight tuned. `inline` is the SDK with its shared memory off.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pyarrow as pa
from pyarrow import flight

from benchmarks.harness import Answer, alternate, answer_requests, open_pairs, parser, report
from benchmarks.ledgers import LEDGER_BYTES, Ledgers, rate, serve_flight
from flowctl_aio import FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio.transport.malloc import tune_malloc

MIB = 1024 * 1024
# Ledgers in a batch, by the size of the message.
SIZES = {"0.4MiB": 4, "1MiB": 10, "4MiB": 40, "16MiB": 160}
SIDES = ("shared", "inline", "flight", "flight-tuned")


def config(side: str) -> FlowctlConfig:
    """Nothing is cut: a batch is a message on every side."""
    return FlowctlConfig(enabled=False, target_message_bytes=32 * MIB, shared_memory=side == "shared")


def touch(batch: pa.RecordBatch) -> int:
    """The rows of a batch, after a look at the ends of all its buffers."""
    for column in batch.columns:
        for buffer in column.buffers():
            if buffer is not None and buffer.size:
                view = memoryview(buffer)
                _ = view[0] + view[-1]
    rows: int = batch.num_rows
    return rows


async def serve_sdk(side: str) -> None:
    async with FlowctlSession(Ledgers(), config(side)) as session:
        await answer_requests({"address": session.endpoint})


async def read_sdk(side: str, address: str) -> None:
    info = ServiceInfo("bench-client", ServiceType.PIPELINE)
    async with FlowctlSession(info, config(side)) as session, session.source(address) as source:

        async def measure(request: Answer) -> Answer:
            rows = 0
            start = time.perf_counter()
            async with source.stream(params={key: str(value) for key, value in request.items()}) as stream:
                async for batch in stream:
                    rows += touch(batch.record_batch)
            return rate(rows, start)

        await answer_requests({}, measure)


async def read_flight(address: str) -> None:
    with flight.connect(address) as client:

        async def measure(request: Answer) -> Answer:
            rows = 0
            start = time.perf_counter()
            reader = client.do_get(flight.Ticket(json.dumps(request).encode()))
            try:
                while True:
                    rows += touch(reader.read_chunk().data)
            except StopIteration:
                return rate(rows, start)

        await answer_requests({}, measure)


def work(worker: str, address: str) -> Any:
    """What a worker runs."""
    side, _, end = worker.rpartition("-")
    if side != "flight" and not tune_malloc():
        raise RuntimeError("the tuned sides need glibc")
    if side.startswith("flight"):
        return serve_flight() if end == "server" else read_flight(address)
    return serve_sdk(side) if end == "server" else read_sdk(side, address)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES), help="only these")
    chosen = options.parse_args()
    if chosen.worker:
        asyncio.run(work(chosen.worker, chosen.address))
        return
    compare(chosen.sizes, rounds=3 if chosen.quick else 9, seconds=0.4 if chosen.quick else 1.0)


def compare(sizes: list[str], *, rounds: int, seconds: float) -> None:
    with open_pairs("benchmarks.shared", SIDES) as clients:
        rates = {size: alternate(clients, rounds, seconds=seconds, ledgers=SIZES[size]) for size in sizes}

    def ratios(ours: str, peer: str) -> dict[str, float]:
        return {size: round(rate[ours] / rate[peer], 2) for size, rate in rates.items()}

    report(
        "shared",
        ratios("shared", "flight"),
        same_setting=ratios("shared", "flight-tuned"),
        inline=ratios("inline", "flight"),
        mb_per_second={side: {size: round(rate[side]) for size, rate in rates.items()} for side in SIDES},
        ledger_bytes=LEDGER_BYTES,
        rounds=rounds,
        seconds_per_round=seconds,
    )


if __name__ == "__main__":
    main()
