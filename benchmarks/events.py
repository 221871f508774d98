"""Events of 200 bytes: the SDK's Arrow frames against one message a row over generated stubs.

    python -m benchmarks.events [--quick]

All ways are server streams from one process to another on one host, with the same rows, in turns.
The ratios are rows per second through the SDK over rows per second through the stubs: `same_host` as the SDK comes, so
that frames go through shared memory, and `wire` with that turned off, so that they go over loopback as between hosts.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from benchmarks.harness import Answer, alternate, answer_requests, open_pairs, parser, report
from flowctl_aio import (
    Cursor,
    Event,
    EventBatch,
    FlowctlConfig,
    FlowctlSession,
    ServiceInfo,
    ServiceType,
    Source,
    StreamRequest,
)
from flowctl_aio import _wire as wire

PAYLOAD_BYTES = 200
ROWS = 4096
SIDES = ("same_host", "wire", "stub")


def events() -> list[Event]:
    """The rows of one batch."""
    return [
        Event(
            "bench.event",
            os.urandom(PAYLOAD_BYTES),
            id=f"event-{index}",
            content_type="application/octet-stream",
            source="bench",
            cursor=Cursor(1000, index),
        )
        for index in range(ROWS)
    ]


class Events(Source):
    """One batch, again and again."""

    outputs = ("bench.event",)

    def __init__(self) -> None:
        self.batch = EventBatch.from_events(events())

    async def stream(self, request: StreamRequest) -> AsyncIterator[EventBatch]:
        end = time.perf_counter() + float(request.params["seconds"])
        while time.perf_counter() < end:
            yield self.batch


def config(side: str) -> FlowctlConfig:
    return FlowctlConfig(enabled=False, shared_memory=side == "same_host")


async def serve_sdk(side: str) -> None:
    async with FlowctlSession(Events(), config(side)) as session:
        await answer_requests({"address": session.endpoint})


async def read_sdk(side: str, address: str) -> None:
    info = ServiceInfo("bench-client", ServiceType.PIPELINE)
    async with FlowctlSession(info, config(side)) as session, session.source(address) as source:

        async def measure(request: Answer) -> Answer:
            rows = 0
            start = time.perf_counter()
            async with source.stream(params={"seconds": str(request["seconds"])}) as stream:
                async for batch in stream:
                    rows += len(batch)
            return {"rate": rows / (time.perf_counter() - start)}

        await answer_requests({}, measure)


class PlainEvents(wire.v1.SourceServiceServicer):
    """The same rows, one message each, as anybody would write it with the generated code alone."""

    def __init__(self) -> None:
        self.messages = [
            wire.v1.Event(
                id=event.id,
                type=event.event_type,
                payload=event.payload,
                content_type=event.content_type,
                source_component_id=event.source,
                stellar_cursor=wire.v1.StellarCursor(ledger_sequence=1000, index_in_ledger=index),
            )
            for index, event in enumerate(events())
        ]

    async def StreamEvents(self, request: wire.v1.StreamRequest, context: Any) -> AsyncIterator[wire.v1.Event]:
        end = time.perf_counter() + float(request.params["seconds"])
        while True:
            for message in self.messages:
                if time.perf_counter() >= end:
                    return
                yield message


async def serve_stubs() -> None:
    server = grpc.aio.server()
    wire.v1.add_SourceServiceServicer_to_server(PlainEvents(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await answer_requests({"address": f"127.0.0.1:{port}"})
    finally:
        await server.stop(None)


async def read_stubs(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = wire.v1.SourceServiceStub(channel)

        async def measure(request: Answer) -> Answer:
            rows = 0
            start = time.perf_counter()
            async for _ in stub.StreamEvents(wire.v1.StreamRequest(params={"seconds": str(request["seconds"])})):
                rows += 1
            return {"rate": rows / (time.perf_counter() - start)}

        await answer_requests({}, measure)


def main() -> None:
    options = parser(__doc__).parse_args()
    side, _, end = (options.worker or "").partition("-")
    match (side, end):
        case ("", _):
            compare(rounds=5 if options.quick else 9, seconds=1.0 if options.quick else 3.0)
        case ("stub", "server"):
            asyncio.run(serve_stubs())
        case ("stub", _):
            asyncio.run(read_stubs(options.address))
        case (_, "server"):
            asyncio.run(serve_sdk(side))
        case _:
            asyncio.run(read_sdk(side, options.address))


def compare(*, rounds: int, seconds: float) -> None:
    with open_pairs("benchmarks.events", SIDES) as clients:
        rates = alternate(clients, rounds, seconds=seconds)
    report(
        "events",
        {side: round(rates[side] / rates["stub"], 1) for side in SIDES if side != "stub"},
        rows_per_second={side: round(rate) for side, rate in rates.items()},
        payload_bytes=PAYLOAD_BYTES,
        rows_per_batch=ROWS,
        rounds=rounds,
        seconds_per_round=seconds,
    )


if __name__ == "__main__":
    main()
