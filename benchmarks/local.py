"""Peers in one event loop, joined in memory, against the same two joined by gRPC.

    python -m benchmarks.local [--quick]

Both ways are the same code in one process and one loop; the only difference is the setting `local_streams`. `events`
are rows per second of a source of 4096 events of 200 bytes a batch, `ledgers` those of batches of 1 MiB, and `p50` and
`p99` the microseconds of one small batch to a processor and back; `cpu_p50` and `cpu_p99` are what both ends need for
that on all threads, to which other processes of a busy machine do not add. The ratios are memory over gRPC for rates,
and gRPC over memory for times.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio

from benchmarks.events import Events
from benchmarks.harness import parser, report
from benchmarks.latency import small_batch
from flowctl_aio import (
    EventBatch,
    FlowctlConfig,
    FlowctlSession,
    LedgerBatch,
    RawLedger,
    ServiceInfo,
    ServiceType,
    Source,
    StreamRequest,
)
from flowctl_aio.testing.components import EchoProcessor

WAYS = {"memory": True, "grpc": False}
RATES = ("events", "ledgers")
INFO = ServiceInfo("bench-client", ServiceType.PIPELINE)


class Ledgers(Source):
    """One batch of a MiB, again and again."""

    def __init__(self) -> None:
        self.batch = LedgerBatch.from_ledgers([RawLedger(number, bytes(64 * 1024)) for number in range(16)])

    async def stream(self, request: StreamRequest) -> AsyncIterator[LedgerBatch]:
        end = time.perf_counter() + float(request.params["seconds"])
        while time.perf_counter() < end:
            yield self.batch


async def rows_per_second(component: Source, config: FlowctlConfig, seconds: float) -> float:
    async with (
        FlowctlSession(component, config) as served,
        FlowctlSession(INFO, config) as session,
        session.source(served.endpoint) as source,
    ):
        start, rows = time.perf_counter(), 0
        async for batch in source.stream(1, params={"seconds": str(seconds)}):
            rows += len(batch)
        return rows / (time.perf_counter() - start)


async def timed(seconds: float, echo: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """Microseconds from sending to receiving, on the wall and of this process."""
    took, needed = [], []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        cpu = time.process_time()
        await echo()
        took.append(1e6 * (time.perf_counter() - start))
        needed.append(1e6 * (time.process_time() - cpu))
    wall, own = statistics.quantiles(took, n=100), statistics.quantiles(needed, n=100)
    return {"p50": wall[49], "p99": wall[98], "cpu_p50": own[49], "cpu_p99": own[98]}


async def echo_times(config: FlowctlConfig, seconds: float) -> dict[str, float]:
    batch = small_batch()
    async with (
        FlowctlSession(EchoProcessor(), config) as served,
        FlowctlSession(INFO, config) as session,
        session.processor(served.endpoint) as processor,
    ):
        send, receive = anyio.create_memory_object_stream[EventBatch](1)
        async with send, receive, processor.stream(receive) as stream:

            async def echo() -> None:
                send.send_nowait(batch)
                await anext(stream)

            await echo()
            return await timed(seconds, echo)


async def measured(config: FlowctlConfig, seconds: float) -> dict[str, float]:
    events = await rows_per_second(Events(), config, seconds)
    ledgers = await rows_per_second(Ledgers(), config, seconds)
    return {"events": events, "ledgers": ledgers, **await echo_times(config, seconds)}


async def compare(*, rounds: int, seconds: float) -> None:
    heard: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for turn in range(-1, rounds):
        for way, is_local in WAYS.items():
            figures = await measured(FlowctlConfig(enabled=False, local_streams=is_local, shared_memory=False), seconds)
            if turn >= 0:
                heard[way].append(figures)
    took = {
        way: {name: round(statistics.median(one[name] for one in found)) for name in found[0]}
        for way, found in heard.items()
    }
    memory, grpc = took["memory"], took["grpc"]
    ratios = {name: round(memory[name] / grpc[name], 1) for name in RATES}
    ratios |= {name: round(grpc[name] / memory[name], 1) for name in memory if name not in RATES}
    report("local", ratios, **took, rounds=rounds, seconds_per_round=seconds)


def main() -> None:
    options = parser(__doc__).parse_args()
    asyncio.run(compare(rounds=3 if options.quick else 10, seconds=0.5 if options.quick else 2.0))


if __name__ == "__main__":
    main()
