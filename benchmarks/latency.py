"""One small batch there and back: the SDK's processor stream against the generated stub of the same method.

    python -m benchmarks.latency [--quick]

All ways echo the same bytes over one bidirectional stream between two processes over loopback, one at a time. The
stub carries a ready-made message and looks at nothing in it; `bytes` does without the message too, and is what grpc.aio
itself takes. The ratio is stub over SDK, of the median rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import anyio
import grpc
import grpc.aio

from benchmarks.harness import Answer, answer_requests, open_pairs, parser, report
from flowctl_aio import Event, EventBatch, FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio import _wire as wire
from flowctl_aio.codec.envelope import Envelope, encode_frame
from flowctl_aio.testing.components import EchoProcessor

ROWS, PAYLOAD_BYTES = 10, 100
CONFIG = FlowctlConfig(enabled=False)
METHOD = "/flowctl.EventProcessor/Process"
QUANTILES = ("p50", "p99")
SIDES = ("sdk", "stub", "bytes")


def small_batch() -> EventBatch:
    return EventBatch.from_events([Event("bench.event", bytes(PAYLOAD_BYTES), id=str(row)) for row in range(ROWS)])


async def timed(seconds: float, echo: Callable[[], Awaitable[Any]]) -> Answer:
    """Microseconds from sending to receiving."""
    took = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        await echo()
        took.append(1e6 * (time.perf_counter() - start))
    cuts = statistics.quantiles(took, n=100)
    return {"p50": cuts[49], "p99": cuts[98]}


async def serve_sdk() -> None:
    async with FlowctlSession(EchoProcessor(), CONFIG) as session:
        await answer_requests({"address": session.endpoint})


async def call_sdk(address: str) -> None:
    info, batch = ServiceInfo("bench-client", ServiceType.PIPELINE), small_batch()
    async with FlowctlSession(info, CONFIG) as session, session.processor(address) as processor:
        send, receive = anyio.create_memory_object_stream[EventBatch](1)
        async with send, receive, processor.stream(receive) as stream:

            async def echo() -> None:
                send.send_nowait(batch)
                await anext(stream)

            await answer_requests({}, lambda request: timed(request["seconds"], echo))


async def echo_back(_: Any, context: Any) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(message)


def add_stub_echo(server: Any) -> None:
    servicer: Any = SimpleNamespace(Process=echo_back, Ping=None, Shutdown=None)
    wire.add_EventProcessorServicer_to_server(servicer, server)


def add_bytes_echo(server: Any) -> None:
    handlers: dict[str, Any] = {"Process": grpc.stream_stream_rpc_method_handler(echo_back)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("flowctl.EventProcessor", handlers),))


async def serve_bare(add: Callable[[Any], None]) -> None:
    server = grpc.aio.server()
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await answer_requests({"address": f"127.0.0.1:{port}"})
    finally:
        await server.stop(None)


async def call_bare(address: str, start: Callable[[grpc.aio.Channel], Any], message: Any) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = start(channel)

        async def echo() -> None:
            await call.write(message)
            await call.read()

        await answer_requests({}, lambda request: timed(request["seconds"], echo))
        call.cancel()


async def serve_stub(_: str) -> None:
    await serve_bare(add_stub_echo)


async def call_stub(address: str) -> None:
    await call_bare(address, lambda channel: wire.EventProcessorStub(channel).Process(), wire.Event.FromString(frame()))


async def serve_bytes(_: str) -> None:
    await serve_bare(add_bytes_echo)


async def call_bytes(address: str) -> None:
    def start(channel: Any) -> Any:
        return channel.stream_stream(METHOD)()

    await call_bare(address, start, frame())


def frame() -> bytes:
    """The batch, as the SDK sends it."""
    return encode_frame(Envelope.EVENT, small_batch(), number=0, limit=2**20)


WORKERS = {
    "sdk-server": lambda address: serve_sdk(),
    "sdk-client": call_sdk,
    "stub-server": serve_stub,
    "stub-client": call_stub,
    "bytes-server": serve_bytes,
    "bytes-client": call_bytes,
}


def main() -> None:
    options = parser(__doc__).parse_args()
    if options.worker:
        asyncio.run(WORKERS[options.worker](options.address))
        return
    compare(rounds=5 if options.quick else 15, seconds=0.6 if options.quick else 2.0)


def compare(*, rounds: int, seconds: float) -> None:
    heard: dict[str, list[Answer]] = {side: [] for side in SIDES}
    with open_pairs("benchmarks.latency", tuple(heard)) as clients:
        for turn in range(-1, rounds):
            for side, client in clients.items():
                answer = client.ask(seconds=seconds)
                if turn >= 0:
                    heard[side].append(answer)
    took = {side: {q: statistics.median(a[q] for a in answers) for q in QUANTILES} for side, answers in heard.items()}
    report(
        "latency",
        {q: round(took["stub"][q] / took["sdk"][q], 2) for q in QUANTILES},
        over_bytes={q: round(took["bytes"][q] / took["sdk"][q], 2) for q in QUANTILES},
        microseconds={side: {q: round(value) for q, value in values.items()} for side, values in took.items()},
        rows=ROWS,
        payload_bytes=PAYLOAD_BYTES,
        rounds=rounds,
        seconds_per_round=seconds,
    )


if __name__ == "__main__":
    main()
