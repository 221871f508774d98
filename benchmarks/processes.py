"""Worker processes of the ttp-arrow-processor: real ledgers through a served one, with 0, 1 and 2 processes.

    python -m benchmarks.processes [--quick]

One client streams the same ledgers, one in a batch, to each of the three in turns, over loopback, and takes the
transfers; client, services and workers share the machine. A rate is bytes of XDR per second of wall-clock time.
`ratio` is the median rate of two processes over that of one; `over_thread` is that of one and of two over none.
`machine_scaling` is two processes that count over one that does, in the same rounds: what the machine can give.

The ledgers are the real ones that lie beside the project. Without them there is nothing to measure: `ratio` is null.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack

from benchmarks.harness import parser, report
from benchmarks.token_transfers import LAKE, Stored, count_up, stored_objects
from flowctl_aio import FlowctlConfig, FlowctlSession, LedgerBatch, RawLedger, ServiceInfo, ServiceType
from flowctl_aio.components.stellar.lake.objects import decode_object
from flowctl_aio.components.ttp_arrow_processor import TtpArrowProcessor

SIZES = (0, 1, 2)
COUNT = 4_000_000
CONFIG = FlowctlConfig(enabled=False)


def batches_of(objects: list[Stored]) -> list[LedgerBatch]:
    return [
        LedgerBatch.from_ledgers([RawLedger(ledger.sequence, ledger.xdr, network="pubnet")])
        for each in objects
        for ledger in decode_object(each.data, key=each.key, first=each.first, last=each.last)
    ]


async def rate_of(driver: FlowctlSession, endpoint: str, batches: list[LedgerBatch], passes: int) -> float:
    """Megabytes of XDR per second through one stream."""

    async def inputs() -> AsyncIterator[LedgerBatch]:
        for _ in range(passes):
            for batch in batches:
                yield batch

    start = time.perf_counter()
    count = 0
    async with driver.processor(endpoint) as client, client.stream(inputs()) as stream:
        async for _ in stream:
            count += 1
    assert count == passes * len(batches)
    return passes * sum(batch.nbytes for batch in batches) / 1e6 / (time.perf_counter() - start)


def counting_rates() -> dict[int, float]:
    rates = {}
    for size in (1, 2):
        with ProcessPoolExecutor(size, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(count_up, [1] * size))  # started
            start = time.perf_counter()
            rates[size] = sum(pool.map(count_up, [COUNT] * 8)) / (time.perf_counter() - start)
    return rates


async def compare(objects: list[Stored], *, quick: bool) -> None:
    batches, rounds, passes = batches_of(objects), 3 if quick else 7, 2 if quick else 4
    rates: dict[int, list[float]] = {size: [] for size in SIZES}
    counting: list[float] = []
    async with AsyncExitStack() as stack:
        driver = await stack.enter_async_context(FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), CONFIG))
        endpoints = {
            size: (
                await stack.enter_async_context(
                    FlowctlSession(TtpArrowProcessor("pubnet", mode="unified", processes=size), CONFIG)
                )
            ).endpoint
            for size in SIZES
        }
        for turn in range(-1, rounds):
            for size, endpoint in endpoints.items():
                rate = await rate_of(driver, endpoint, batches, passes)
                if turn >= 0:  # the first fills what is remembered
                    rates[size].append(rate)
            counted = await asyncio.to_thread(counting_rates)
            counting.append(counted[2] / counted[1])
    median = {size: statistics.median(values) for size, values in rates.items()}
    report(
        "processes",
        round(median[2] / median[1], 2),
        over_thread={str(size): round(median[size] / median[0], 2) for size in (1, 2)},
        machine_scaling=round(statistics.median(counting), 2),
        mb_per_second={str(size): round(rate, 1) for size, rate in median.items()},
        spread={str(size): [round(min(values), 1), round(max(values), 1)] for size, values in rates.items()},
        ledgers=len(batches),
        rounds=rounds,
    )


def main() -> None:
    chosen = parser(__doc__).parse_args()
    objects = stored_objects(quick=chosen.quick)
    if not objects:
        print(f"nothing to measure: the real ledgers are not at {LAKE}", file=sys.stderr)
        report("processes", None, reason=f"the real ledgers are not at {LAKE}")
        return
    asyncio.run(compare(objects, quick=chosen.quick))


if __name__ == "__main__":
    main()
