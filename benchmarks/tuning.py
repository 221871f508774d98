"""What the knobs of a stream do, each alone against the defaults: all variants run in turns, on the same machine.

    python -m benchmarks.tuning [--quick]

`ledgers` is a source stream of batches of 2 MiB, 20 ledgers each, half of whose bytes are random; `small` is a sink
that is sent batches of one event of 200 bytes. Both go from one process to another over loopback. The ratios are the
rate with the knob over the rate as it comes; `wire_bytes_per_row` is what a row takes on the wire.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

from benchmarks.harness import Answer, Worker, answer_requests, open_pairs, parser, report
from flowctl_aio import (
    Cursor,
    Event,
    EventBatch,
    FlowctlConfig,
    FlowctlSession,
    LedgerBatch,
    RawLedger,
    ServiceInfo,
    ServiceType,
    Sink,
    Source,
    StreamRequest,
)
from flowctl_aio.transport.malloc import tune_malloc

MIB, LEDGER_BYTES, LEDGERS = 1024 * 1024, 100 * 1024, 20
PLAIN: dict[str, Any] = {}
LEDGER_SIDES: dict[str, dict[str, Any]] = {
    "as-it-comes": PLAIN,
    "max_inflight_bytes=1MiB": {"max_inflight_bytes": MIB},
    "max_inflight_bytes=32MiB": {"max_inflight_bytes": 32 * MIB},
    "target_message_bytes=0.5MiB": {"target_message_bytes": MIB // 2},
    "target_message_bytes=8MiB": {"target_message_bytes": 8 * MIB},
    "compression=lz4": {"compression": "lz4"},
    "compression=zstd": {"compression": "zstd"},
    "tune_malloc": PLAIN,
}
SMALL_SIDES: dict[str, dict[str, Any]] = {
    "small:as-it-comes": PLAIN,
    "small:max_inflight=64": {"max_inflight": 64},
    "small:linger=1ms": {"linger": 0.001},
    "small:linger=1ms,max_inflight=256": {"linger": 0.001, "max_inflight": 256},
}


@cache
def ledgers() -> list[LedgerBatch]:
    now, half = datetime.now(UTC), LEDGER_BYTES // 2
    return [
        LedgerBatch.from_ledgers(
            RawLedger(1000 + index, os.urandom(half) + bytes(half), now, "testnet") for index in range(LEDGERS)
        )
        for _ in range(3)
    ]


class Ledgers(Source):
    outputs = (LedgerBatch.event_type,)

    async def stream(self, request: StreamRequest) -> AsyncIterator[LedgerBatch]:
        end = time.perf_counter() + float(request.params["seconds"])
        while time.perf_counter() < end:
            for batch in ledgers():
                yield batch


class Nowhere(Sink):
    async def consume(self, batch: Any, epoch: Any) -> None: ...

    async def commit(self, epoch: Any) -> None: ...

    async def abort(self, epoch: Any) -> None: ...


async def serve(side: str, settings: dict[str, Any]) -> None:
    component = Nowhere() if side in SMALL_SIDES else Ledgers()
    async with FlowctlSession(component, FlowctlConfig(enabled=False, shared_memory=False, **settings)) as session:
        await answer_requests({"address": session.endpoint})


async def drive(side: str, settings: dict[str, Any], address: str) -> None:
    info = ServiceInfo("bench-client", ServiceType.PIPELINE)
    async with FlowctlSession(info, FlowctlConfig(enabled=False, shared_memory=False, **settings)) as session:

        async def read(request: Answer) -> Answer:
            rows, start = 0, time.perf_counter()
            async with (
                session.source(address) as source,
                source.stream(params={"seconds": str(request["seconds"])}) as stream,
            ):
                async for batch in stream:
                    rows += len(batch)
                return {"rate": rows / (time.perf_counter() - start), "wire": stream.bytes / max(rows, 1)}

        async def send(request: Answer) -> Answer:
            rows, start = 0, time.perf_counter()
            batch = EventBatch.from_events([Event("bench.event", bytes(200), id="event-1", cursor=Cursor(1))])
            async with session.sink(address) as sink:
                while time.perf_counter() < start + request["seconds"]:
                    await sink.send(batch)
                    rows += 1
                await sink.flush()
            return {"rate": rows / (time.perf_counter() - start)}

        await answer_requests({}, send if side in SMALL_SIDES else read)


def work(worker: str, address: str) -> None:
    side, _, end = worker.rpartition("-")
    settings = (LEDGER_SIDES | SMALL_SIDES)[side]
    if side == "tune_malloc" and not tune_malloc():
        raise RuntimeError("tune_malloc needs glibc")
    asyncio.run(serve(side, settings) if end == "server" else drive(side, settings, address))


def main() -> None:
    chosen = parser(__doc__).parse_args()
    if chosen.worker:
        work(chosen.worker, chosen.address)
        return
    rounds, seconds = (3, 0.25) if chosen.quick else (15, 1.0)
    found = {}
    for name, sides in (("ledgers", LEDGER_SIDES), ("small", SMALL_SIDES)):
        with open_pairs("benchmarks.tuning", tuple(sides)) as clients:
            found[name] = measure(clients, rounds, seconds=seconds)
    report("tuning", {name: answer["ratio"] for name, answer in found.items()}, **found, rounds=rounds)


def measure(clients: dict[str, Worker], rounds: int, *, seconds: float) -> Answer:
    """The median rate of each side, in turns, and its ratio to the first."""
    answers: dict[str, list[Answer]] = {side: [] for side in clients}
    for turn in range(rounds + 1):
        for side, client in clients.items():
            answer = client.ask(seconds=seconds)
            if turn:  # the first one warms up
                answers[side].append(answer)
    rates = {side: sorted(one["rate"] for one in told)[rounds // 2] for side, told in answers.items()}
    first = next(iter(rates.values()))
    wire = {side: round(told[-1]["wire"]) for side, told in answers.items() if "wire" in told[-1]}
    return {
        "ratio": {side: round(rate / first, 2) for side, rate in rates.items()},
        "rows_per_second": {side: round(rate) for side, rate in rates.items()},
        **({"wire_bytes_per_row": wire} if wire else {}),
    }


if __name__ == "__main__":
    main()
