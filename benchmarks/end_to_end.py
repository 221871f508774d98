"""A lake to Parquet through three services, against the same three components called in one process.

Part of `benchmarks.token_transfers`, which reports it as `end_to_end`. Both sides read the same lake and write epochs
of the same size: real ledgers, numbered on again and again until there are enough that a start does not count. Neither
has a control plane. In one process everything is a call; with services there are four processes, the driver included,
and each batch crosses four connections on loopback.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.harness import Answer, Worker, answer_requests, open_worker, parser
from flowctl_aio import (
    Epoch,
    FlowctlConfig,
    FlowctlSession,
    LedgerRange,
    Pipeline,
    ServiceInfo,
    ServiceType,
    StreamRequest,
    tune_malloc,
)
from flowctl_aio.component import Component
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.components.stellar.lake import Lake, LakeLayout, Manifest, StoredLedger, write_manifest, write_object
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.xdr.consensus import walk_header
from flowctl_aio.components.stellar.xdr.words import words_of
from flowctl_aio.components.stellar_arrow_source import LakeSupply, StellarArrowSource
from flowctl_aio.components.ttp_arrow_processor import TtpArrowProcessor

CONFIG = FlowctlConfig(enabled=False)
FIRST = 63_092_982
EPOCH = 16  # batches
HEAD = 4096  # bytes that a header does not exceed
MODULE = "benchmarks.end_to_end"
# Where the processor parses: in its own process, or in so many of its workers.
SERVICES = {"services": 0, "services-2-processes": 2}


def build_lake(folder: Path, ledgers: list[bytes], count: int) -> int:
    """Writes a lake of `count` ledgers from FIRST on, and returns their size."""
    layout = LakeLayout(1, 64_000)
    write_manifest(folder, Manifest(passphrase_of("pubnet"), layout.ledgers_per_batch, layout.batches_per_partition))
    size = 0
    for ledger in _numbered_on(ledgers, count):
        write_object(folder, layout, [ledger])
        size += len(ledger.xdr)
    return size


def _numbered_on(ledgers: list[bytes], count: int) -> Iterator[StoredLedger]:
    """The ledgers over and over; each names the one before it, as a reader of a lake demands."""
    previous: StoredLedger | None = None
    for index in range(count):
        data = bytearray(ledgers[index % len(ledgers)])
        _, header = walk_header(words_of(bytes(data[:HEAD])), 0)
        data[4 * header.sequence_at : 4 * header.sequence_at + 4] = (FIRST + index).to_bytes(4, "big")
        if previous is not None:
            data[4 * header.previous_hash : 4 * header.previous_hash + 32] = previous.hash
        previous = StoredLedger.of(bytes(data), stored_bytes=0)
        yield previous


async def open_source(folder: str) -> StellarArrowSource:
    return StellarArrowSource(LakeSupply(await Lake.open(f"{folder}/lake")))


async def work(side: str, folder: str, count: int) -> None:
    tune_malloc()
    if side == "one-process":
        await answer_requests({}, lambda _: in_one_process(folder, count))
    elif side == "source":
        await serve(await open_source(folder))
    elif side.startswith("processor"):
        await serve(TtpArrowProcessor("pubnet", mode="unified", processes=int(side.partition("-")[2])))
    elif side == "sink":
        await serve(ArrowAnalyticsSink(f"{folder}/services"))
    else:
        source, processor, sink = side.split(",")
        async with FlowctlSession(ServiceInfo("bench-driver", ServiceType.PIPELINE), CONFIG) as session:

            async def drive(_: Answer) -> Answer:
                start, cpu = time.perf_counter(), time.process_time()
                pipeline = Pipeline(session, source=source, processors=[processor], sink=sink, epoch_batches=EPOCH)
                progress = await pipeline.run(LedgerRange(FIRST, FIRST + count - 1))
                elapsed = time.perf_counter() - start
                rows = progress.rows_acknowledged
                return {"seconds": elapsed, "rows": rows, "cpu": {"driver": time.process_time() - cpu}}

            await answer_requests({}, drive)


async def serve(component: Component) -> None:
    """A service; asked, it tells the CPU time it has taken."""

    async def tell(_: Answer) -> Answer:
        return {"cpu": time.process_time()}

    async with FlowctlSession(component, CONFIG) as session:
        await answer_requests({"address": session.endpoint}, tell)


async def in_one_process(folder: str, count: int) -> Answer:
    """The components, called one after the other for each batch; a commit for each epoch."""
    source, processor = await open_source(folder), TtpArrowProcessor("pubnet", mode="unified")
    sink, epoch, rows = ArrowAnalyticsSink(f"{folder}/one-process"), Epoch(), 0
    start, cpu = time.perf_counter(), time.process_time()
    async with sink.lifespan():
        async for ledgers in source.stream(StreamRequest(start=FIRST, end=FIRST + count - 1)):
            events = await processor.process(ledgers)
            await sink.consume(events, epoch)
            epoch.note(events)
            rows += len(events)
            if epoch.batches == EPOCH:
                await sink.commit(epoch)
                epoch = Epoch()
        if epoch.batches:
            await sink.commit(epoch)
    elapsed = time.perf_counter() - start
    return {"seconds": elapsed, "rows": rows, "cpu": {"all": time.process_time() - cpu}}


def compare(
    ledgers: list[bytes], *, count: int, rounds: int, services: Mapping[str, int] = SERVICES
) -> Mapping[str, Any]:
    """The rates of all sides, in turns, and where CPU time went last; that of worker processes is not known."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flowctl-aio-end-to-end-"))
        size = build_lake(Path(folder) / "lake", ledgers, count)

        def opened(side: str) -> Worker:
            return stack.enter_context(open_worker(MODULE, side, "--address", f"{folder}:{count}"))

        serving = {name: opened(name) for name in ("source", "sink")}
        sides = {"one-process": opened("one-process")}
        for side, processes in services.items():
            name = f"processor-{processes}"
            serving[name] = opened(name)
            addresses = [serving[each].hello["address"] for each in ("source", name, "sink")]
            sides[side] = opened(",".join(addresses))
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        cpu: dict[str, dict[str, float]] = {}
        rows = set()
        for turn in range(-1, rounds):
            for side, worker in sides.items():
                before = {name: each.ask(seconds=0)["cpu"] for name, each in serving.items()}
                answer = worker.ask(seconds=60)
                rows.add(answer["rows"])
                if turn >= 0:  # the first is for the caches and the connections
                    seconds[side].append(answer["seconds"])
                used = {name: each.ask(seconds=0)["cpu"] - before[name] for name, each in serving.items()}
                cpu[side] = {name: round(each, 2) for name, each in (used | answer["cpu"]).items() if each > 0.01}
        assert len(rows) == 1, f"the sides wrote different numbers of rows: {rows}"
    rates = {side: size / 1e6 / statistics.median(each) for side, each in seconds.items()}
    return {
        "ratio": {side: round(rates[side] / rates["one-process"], 2) for side in services},
        "mb_per_second": {side: round(rate, 1) for side, rate in rates.items()},
        "cpu_seconds": cpu,
        "megabytes": round(size / 1e6, 1),
        "rows": rows.pop(),
    }


if __name__ == "__main__":
    chosen = parser(__doc__).parse_args()
    place, _, number = chosen.address.rpartition(":")
    asyncio.run(work(chosen.worker, place, int(number)))
