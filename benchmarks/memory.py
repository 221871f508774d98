"""Resident memory over a long stream whose reader is slow, or stops: it has to stay flat in every process.

    python -m benchmarks.memory [--quick]

Each side is a process of its own over gRPC loopback, sampled from outside. The first part of a stream fills the
windows and the pools of the allocator; what a process takes above its most of that part is what it used. The ratio
is allowed over used, of the process that used the most.

Two things can grow: the receive windows of gRPC, where it may guess them, and the heap of glibc, which by and by
keeps also long messages and tears. `returning` takes the second away: there every process has called
`tune_malloc(mmap_threshold=128 KiB, trim_threshold=128 KiB)`, and gives each long message back to the kernel.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager

import anyio
import psutil

from benchmarks.harness import Answer, answer_requests, open_worker, parser, report
from flowctl_aio import (
    FlowctlConfig,
    FlowctlSession,
    LedgerBatch,
    RawLedger,
    ServiceInfo,
    ServiceType,
    Source,
    tune_malloc,
)
from flowctl_aio.streams.stream import BatchStream
from flowctl_aio.testing.components import EchoProcessor

MIB = 1024 * 1024
ALLOWED_MIB, LEAST_MIB = 64, 1
ROWS, ROW_BYTES = 4, 256 * 1024
BATCH_BYTES = ROWS * ROW_BYTES
# What a reader does with a batch, in seconds: more than it takes to make and to send one.
PAUSE = 0.002
# Batches of the first part.
FIRST = 200
# Longest time for a part, in seconds.
LIMIT = 300.0
SAMPLE_INTERVAL = 0.02
CONFIG = FlowctlConfig(enabled=False, shared_memory=False)
CASES = ("reader", "processor", "stalled")
RETURN_ABOVE = 128 * 1024


class Ledgers(Source):
    """Makes each batch anew, so that none is shared."""

    component_id = "bench-source"

    async def stream(self, request):  # type: ignore[no-untyped-def]
        content = random.Random(1).randbytes(2 * ROW_BYTES)
        for first in range(request.start, request.end + 1, ROWS):
            at = first % ROW_BYTES
            yield LedgerBatch.from_ledgers(
                RawLedger(sequence, content[at : at + ROW_BYTES]) for sequence in range(first, first + ROWS)
            )


async def serve(component: Source | EchoProcessor) -> None:
    async with FlowctlSession(component, CONFIG) as session:
        await answer_requests({"address": session.endpoint, "pid": os.getpid()})


async def read(addresses: str) -> None:
    """Reads one stream to its end, a part with each request."""
    source_at, _, processor_at = addresses.partition(",")
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            FlowctlSession(ServiceInfo("bench-reader", ServiceType.PIPELINE), CONFIG)
        )
        source = await stack.enter_async_context(session.source(source_at))
        processor = await stack.enter_async_context(session.processor(processor_at)) if processor_at else None
        stream: BatchStream | None = None

        async def take(request: Answer) -> Answer:
            nonlocal stream
            if stream is None:
                inputs = source.stream(1, request["total"] * ROWS)
                stream = await stack.enter_async_context(inputs if processor is None else processor.stream(inputs))
            rows = 0
            await anyio.sleep(request["stall"])
            while request["batches"] is None or rows < request["batches"] * ROWS:
                batch = await anext(stream, None)
                if batch is None:
                    break
                rows += len(batch)
                await anyio.sleep(PAUSE)
            return {"rows": rows}

        await answer_requests({"pid": os.getpid()}, take)


class Sampler:
    """Looks at the resident memory of processes; the most that was seen, by name, since it was asked last."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._most: dict[str, float] = {}

    def look(self) -> None:
        for name, process in self._processes.items():
            self._most[name] = max(self._most.get(name, 0.0), process.memory_info().rss / MIB)

    def take(self) -> dict[str, float]:
        self.look()
        most, self._most = self._most, {}
        return most


@contextmanager
def sampling(pids: Mapping[str, int]) -> Iterator[Sampler]:
    sampler, is_over = Sampler(pids), threading.Event()

    def run() -> None:
        while not is_over.wait(SAMPLE_INTERVAL):
            sampler.look()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield sampler
    finally:
        is_over.set()
        thread.join()


def measure(case: str, *, batches: int, stall: float, is_returning: bool) -> Answer:
    """One stream of `batches`, behind whose first `FIRST` the memory has to stay flat."""
    with ExitStack() as stack:
        roles = ("source", "processor") if case == "processor" else ("source",)
        options = ("--returning",) if is_returning else ()
        servers = {role: stack.enter_context(open_worker("benchmarks.memory", role, *options)) for role in roles}
        addresses = ",".join(server.hello["address"] for server in servers.values())
        reader = stack.enter_context(open_worker("benchmarks.memory", "reader", "--address", addresses, *options))
        pids = {name: worker.hello["pid"] for name, worker in {**servers, "reader": reader}.items()}
        with sampling(pids) as sampler:
            start = time.perf_counter()
            rows = reader.ask(seconds=LIMIT, total=batches, batches=FIRST, stall=0.0)["rows"]
            before = sampler.take()
            rows += reader.ask(seconds=LIMIT, total=batches, batches=None, stall=stall)["rows"]
            after = sampler.take()
            seconds = time.perf_counter() - start
    if rows != batches * ROWS:
        raise RuntimeError(f"{case}: {rows} of {batches * ROWS} rows came")
    used = {name: round(after[name] - before[name], 1) for name in pids}
    return {
        "used_mib": used,
        "first_part_mib": {name: round(value, 1) for name, value in before.items()},
        "most_mib": {name: round(value, 1) for name, value in after.items()},
        "gigabytes": round(batches * BATCH_BYTES / 1e9, 2),
        "seconds": round(seconds, 1),
    }


WORKERS = {
    "source": lambda _: serve(Ledgers()),
    "processor": lambda _: serve(EchoProcessor()),
    "reader": read,
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--returning", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.worker:
        if chosen.returning:
            tune_malloc(RETURN_ABOVE, RETURN_ABOVE)
        asyncio.run(WORKERS[chosen.worker](chosen.address))
        return
    whole = 10_000 * 10**6 // BATCH_BYTES
    batches = dict.fromkeys(CASES, whole // 40 if chosen.quick else whole) | {"stalled": whole // 25}
    stall = 2.0 if chosen.quick else 30.0
    found = {}
    for is_returning in (False, True):
        for case in ("processor",) if chosen.quick and is_returning else CASES:
            name = f"{case}, returning" if is_returning else case
            wait = stall if case == "stalled" else 0.0
            found[name] = measure(case, batches=batches[case], stall=wait, is_returning=is_returning)
    report(
        "memory",
        {name: round(ALLOWED_MIB / max(LEAST_MIB, *one["used_mib"].values()), 2) for name, one in found.items()},
        allowed_mib=ALLOWED_MIB,
        cases=found,
        batch_bytes=BATCH_BYTES,
        pause_seconds=PAUSE,
        stall_seconds=stall,
    )


if __name__ == "__main__":
    main()
