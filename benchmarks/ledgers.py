"""Ledgers of 100 KiB, in messages of four sizes: the SDK's source stream against Arrow Flight's DoGet.

    python -m benchmarks.ledgers [--quick]

Both ways carry the same record batches from one process to another over loopback, in turns, and hand them
over as record batches. All four sides run in turns: each way as it comes, and each with `tune_malloc()` in both of
its processes. `ratio` is bytes per second through the SDK as the command line runs it, tuned, over Flight as it comes;
`same_setting` has both untuned and both tuned.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pyarrow import flight

from benchmarks.harness import Answer, alternate, answer_requests, open_pairs, parser, report
from flowctl_aio import (
    FlowctlConfig,
    FlowctlSession,
    LedgerBatch,
    RawLedger,
    ServiceInfo,
    ServiceType,
    Source,
    StreamRequest,
)
from flowctl_aio.transport.malloc import tune_malloc

LEDGER_BYTES = 100 * 1024
MIB = 1024 * 1024
# Ledgers in a batch, by the size of the message.
SIZES = {"0.1MiB": 1, "0.4MiB": 4, "1MiB": 10, "4MiB": 40}
# Nothing is cut: a batch is a message on both sides. And all of it goes over the wire, as between two machines;
# `benchmarks.shared` is about memory that both processes have.
CONFIG = FlowctlConfig(enabled=False, target_message_bytes=8 * MIB, shared_memory=False)


@cache
def batches(ledgers: int) -> list[LedgerBatch]:
    """A few batches to go round with, so that no side sends the same memory all the time."""
    now = datetime.now(UTC)
    return [
        LedgerBatch.from_ledgers(
            RawLedger(1000 + index, os.urandom(LEDGER_BYTES), now, "testnet") for index in range(ledgers)
        )
        for _ in range(4)
    ]


def endless(ledgers: int, seconds: float) -> Iterator[LedgerBatch]:
    """What both sides stream: batches of so many ledgers, for so long."""
    ready = batches(ledgers)
    end = time.perf_counter() + seconds
    while True:
        for batch in ready:
            if time.perf_counter() >= end:
                return
            yield batch


def rate(rows: int, start: float) -> Answer:
    return {"rate": rows * LEDGER_BYTES / 1e6 / (time.perf_counter() - start)}


class Ledgers(Source):
    outputs = (LedgerBatch.event_type,)

    async def stream(self, request: StreamRequest) -> AsyncIterator[LedgerBatch]:
        for batch in endless(int(request.params["ledgers"]), float(request.params["seconds"])):
            yield batch


async def serve_sdk() -> None:
    async with FlowctlSession(Ledgers(), CONFIG) as session:
        await answer_requests({"address": session.endpoint})


async def read_sdk(address: str) -> None:
    info = ServiceInfo("bench-client", ServiceType.PIPELINE)
    async with FlowctlSession(info, CONFIG) as session, session.source(address) as source:

        async def measure(request: Answer) -> Answer:
            rows = 0
            start = time.perf_counter()
            async with source.stream(params={key: str(value) for key, value in request.items()}) as stream:
                async for batch in stream:
                    rows += batch.record_batch.num_rows
            return rate(rows, start)

        await answer_requests({}, measure)


class FlightLedgers(flight.FlightServerBase):  # type: ignore[misc]
    def do_get(self, context: Any, ticket: Any) -> Any:
        request = json.loads(ticket.ticket)
        record_batches = (batch.record_batch for batch in endless(request["ledgers"], request["seconds"]))
        return flight.GeneratorStream(batches(request["ledgers"])[0].schema, record_batches)


async def serve_flight() -> None:
    with FlightLedgers("grpc://127.0.0.1:0") as server:
        await answer_requests({"address": f"grpc://127.0.0.1:{server.port}"})


async def read_flight(address: str) -> None:
    with flight.connect(address) as client:

        async def measure(request: Answer) -> Answer:
            rows = 0
            start = time.perf_counter()
            reader = client.do_get(flight.Ticket(json.dumps(request).encode()))
            try:
                while True:
                    rows += reader.read_chunk().data.num_rows
            except StopIteration:
                return rate(rows, start)

        await answer_requests({}, measure)


WORKERS = {
    "sdk-server": lambda address: serve_sdk(),
    "sdk-client": read_sdk,
    "flight-server": lambda address: serve_flight(),
    "flight-client": read_flight,
}
SIDES = ("sdk", "flight", "sdk-tuned", "flight-tuned")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES), help="only these")
    chosen = options.parse_args()
    if chosen.worker:
        name = chosen.worker.replace("-tuned", "")
        if name != chosen.worker and not tune_malloc():
            raise RuntimeError("the tuned sides need glibc")
        asyncio.run(WORKERS[name](chosen.address))
        return
    compare(chosen.sizes, rounds=3 if chosen.quick else 9, seconds=0.4 if chosen.quick else 1.0)


def compare(sizes: list[str], *, rounds: int, seconds: float) -> None:
    with open_pairs("benchmarks.ledgers", SIDES) as clients:
        rates = {size: alternate(clients, rounds, seconds=seconds, ledgers=SIZES[size]) for size in sizes}

    def ratios(ours: str, peer: str) -> dict[str, float]:
        return {size: round(rate[ours] / rate[peer], 2) for size, rate in rates.items()}

    report(
        "ledgers",
        ratios("sdk-tuned", "flight"),
        same_setting={"untuned": ratios("sdk", "flight"), "tuned": ratios("sdk-tuned", "flight-tuned")},
        mb_per_second={side: {size: round(rate[side]) for size, rate in rates.items()} for side in SIDES},
        ledger_bytes=LEDGER_BYTES,
        rounds=rounds,
        seconds_per_round=seconds,
    )


if __name__ == "__main__":
    main()
