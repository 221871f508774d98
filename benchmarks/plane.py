"""Beats at the embedded plane with its registry in a file, against a bare handler of the same call.

    python -m benchmarks.plane [--quick]

Both servers take v1 heartbeats with a dozen metrics from many services at once, out of a client process over
loopback, in turns. The bare handler parses the request and answers Empty; the plane answers when the beat is in its
file. The ratio is beats per second of the plane over those of the bare handler. Beside it: what a plane with many
services takes to list and to discover them, and what it holds in memory for each.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import grpc.aio

from benchmarks.harness import Answer, answer_requests, open_pairs, open_worker, parser, report
from flowctl_aio import EmbeddedControlPlane
from flowctl_aio import _wire as wire

SERVICES = 256
CHANNELS = 4
FIRST = 100
METRICS = (
    "uptime_seconds",
    "service_status",
    "events_received_total",
    "events_processed_total",
    "events_failed_total",
    "bytes_received_total",
    "bytes_sent_total",
    "batches_in_flight",
    "loop_lag_seconds",
    "last_ledger_sequence",
    "processing_seconds_total",
    "memory_bytes",
)
LIMIT = 64 * 1024 * 1024
HEALTHY = wire.v1.HealthStatus.HEALTH_STATUS_HEALTHY


def component(number: int) -> wire.v1.ComponentInfo:
    return wire.v1.ComponentInfo(
        id=f"ttp-processor-{number}",
        name="Token transfers",
        version="1.4.2",
        type=wire.v1.ComponentType.COMPONENT_TYPE_PROCESSOR,
        input_event_types=["stellar.ledger.v1"],
        output_event_types=["stellar.token.transfer.v1"],
        endpoint=f"127.0.0.1:{20_000 + number}",
        metadata={"network": "testnet", "instance_id": f"{number:032x}", "host": "bench"},
    )


def beat(number: int) -> wire.v1.HeartbeatRequest:
    metrics = {name: f"{(number + 1) * 1234.5678 * (index + 1):.17g}" for index, name in enumerate(METRICS)}
    return wire.v1.HeartbeatRequest(service_id=f"ttp-processor-{number}", status=HEALTHY, metrics=metrics)


async def serve_plane() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedControlPlane(db=Path(folder) / "plane.db") as plane:

            async def measure(request: Answer) -> Answer:
                return {"rss": resident(), "file": file_size(folder)}

            await answer_requests({"address": plane.endpoint}, measure)


def file_size(folder: str) -> int:
    """Bytes of everything in the folder."""
    return sum(path.stat().st_size for path in Path(folder).iterdir())


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Bare(wire.v1.ControlPlaneServiceServicer):
    """The least that answers a heartbeat."""

    async def RegisterComponent(self, request: wire.v1.RegisterRequest, context: Any) -> wire.v1.RegisterResponse:
        return wire.v1.RegisterResponse(service_id=request.component.id)

    async def Heartbeat(self, request: wire.v1.HeartbeatRequest, context: Any) -> wire.Empty:
        return wire.Empty()


async def serve_bare() -> None:
    server = grpc.aio.server()
    wire.v1.add_ControlPlaneServiceServicer_to_server(Bare(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await answer_requests({"address": f"127.0.0.1:{port}"})
    finally:
        await server.stop(None)


@asynccontextmanager
async def open_stubs(address: str, count: int) -> AsyncIterator[Sequence[grpc.aio.Channel]]:
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", LIMIT),
    ]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(count)]
    try:
        yield channels
    finally:
        for channel in channels:
            await channel.close()


async def register(channel: grpc.aio.Channel, numbers: Sequence[int]) -> None:
    """Register services, 64 at a time, and beat once for each."""
    stub = wire.v1.ControlPlaneServiceStub(channel)
    left = iter(numbers)

    async def some() -> None:
        for number in left:
            await stub.RegisterComponent(wire.v1.RegisterRequest(component=component(number)))
            await stub.Heartbeat(beat(number))

    async with anyio.create_task_group() as tasks:
        for _ in range(64):
            tasks.start_soon(some)


async def send_beats(address: str) -> None:
    """One task a service, each sending its next beat once the last is answered."""
    async with open_stubs(address, CHANNELS) as channels:
        await register(channels[0], range(SERVICES))
        # Ready-made bytes: what the client does beside gRPC's own work would be measured too.
        calls: list[Any] = [channel.unary_unary("/flowctl.v1.ControlPlaneService/Heartbeat") for channel in channels]
        beats = [beat(number).SerializeToString() for number in range(SERVICES)]

        async def measure(request: Answer) -> Answer:
            start = time.perf_counter()
            end = start + float(request["seconds"])
            sent = 0

            async def keep_beating(number: int) -> None:
                nonlocal sent
                call = calls[number % CHANNELS]
                while time.perf_counter() < end:
                    await call(beats[number])
                    sent += 1

            async with anyio.create_task_group() as tasks:
                for number in range(SERVICES):
                    tasks.start_soon(keep_beating, number)
            return {"rate": sent / (time.perf_counter() - start)}

        await answer_requests({}, measure)


async def enter(address: str, numbers: Sequence[int]) -> None:
    """Register services at a plane."""
    async with open_stubs(address, 1) as (channel,):
        await register(channel, numbers)


async def look(address: str, count: int, rounds: int) -> dict[str, float]:
    """Time what asks for all of `count` services; medians."""
    async with open_stubs(address, 1) as (channel,):
        stub = wire.v1.ControlPlaneServiceStub(channel)
        listing, discovering = [], []
        for _ in range(rounds):
            start = time.perf_counter()
            listed = await stub.ListComponents(wire.v1.ListComponentsRequest(include_unhealthy=True))
            listing.append(time.perf_counter() - start)
            start = time.perf_counter()
            found = await stub.DiscoverComponents(wire.v1.DiscoveryRequest(event_types=["stellar.ledger.v1"]))
            discovering.append(time.perf_counter() - start)
            if len(listed.components) != count or len(found.components) != count:
                raise RuntimeError(f"{len(listed.components)} listed, {len(found.components)} found of {count}")
        return {
            "list_ms": round(statistics.median(listing) * 1000, 1),
            "discover_ms": round(statistics.median(discovering) * 1000, 1),
        }


def many_services(sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    """Figures of one plane that grows from size to size."""
    figures: dict[str, Any] = {}
    with open_worker("benchmarks.plane", "plane-server") as server:
        address = server.hello["address"]
        asyncio.run(enter(address, range(FIRST)))  # what the first calls load is not the services'
        entered, empty = FIRST, server.ask(seconds=0.0)["rss"]
        for size in sizes:
            asyncio.run(enter(address, range(entered, size)))
            held = server.ask(seconds=0.0)
            times = asyncio.run(look(address, size, rounds))
            each = round((held["rss"] - empty) / (size - FIRST))
            figures[str(size)] = {**times, "bytes_per_service": each, "file_bytes": held["file"]}
            entered = size
    return figures


def main() -> None:
    options = parser(__doc__).parse_args()
    match options.worker:
        case "plane-server":
            asyncio.run(serve_plane())
        case "bare-server":
            asyncio.run(serve_bare())
        case "plane-client" | "bare-client":
            asyncio.run(send_beats(options.address))
        case _:
            compare(rounds=15 if options.quick else 31, seconds=0.5 if options.quick else 1.5)


def compare(*, rounds: int, seconds: float) -> None:
    rates: dict[str, list[float]] = {"plane": [], "bare": []}
    with open_pairs("benchmarks.plane", tuple(rates)) as clients:
        for turn in range(-1, rounds):
            for side, client in clients.items():
                rate = client.ask(seconds=seconds)["rate"]
                if turn >= 0:  # one round to warm up
                    rates[side].append(rate)
    # Of neighbours in time: what else the machine does changes faster than a run is long.
    ratios = [plane / bare for plane, bare in zip(rates["plane"], rates["bare"], strict=True)]
    report(
        "plane",
        {"beats": round(statistics.median(ratios), 2)},
        plane_beats_per_second=round(statistics.median(rates["plane"])),
        bare_beats_per_second=round(statistics.median(rates["bare"])),
        ratio_quartiles=[round(value, 2) for value in statistics.quantiles(ratios)],
        services=SERVICES,
        metrics_per_beat=len(METRICS),
        rounds=rounds,
        seconds_per_round=seconds,
        many_services=many_services((1000, 10_000), 5),
    )


if __name__ == "__main__":
    main()
