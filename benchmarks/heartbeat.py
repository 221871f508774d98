"""What keeping a service known costs, and whether beats go on while user code blocks the loop.

    python -m benchmarks.heartbeat [--quick]

A plane in one process, a service in another. `cpu` is the CPU time of one beat, everything included that the process
does for it, at a hundred a second: a process that sleeps between two beats pays up to twice as much for waking up.
`percent_of_a_core_at_10_s` is what such a process takes, and beside it what one with an idle gRPC channel does; `start`
and `stop` are the time to enter and leave a session beside a bare register call on a channel of its own; `gap` is the
longest silence that the plane sees while user code blocks the loop for 1.5 s, in intervals. The ratio holds target over
measured.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from contextlib import AbstractContextManager
from typing import Any

import anyio
import grpc.aio

from benchmarks.harness import Answer, Worker, answer_requests, open_worker, parser, report
from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType, State
from flowctl_aio import _wire as wire

CPU_TARGET = 0.001  # seconds a beat
GAP_TARGET = 1.3  # intervals
FAST, SLOW = 0.01, 10.0  # seconds between beats: to count many, and as people have it
INTERVAL, BLOCK = 0.2, 1.5
INFO = ServiceInfo("bench", ServiceType.PIPELINE)
NUMBERS = {f"number_{index}": float(index) for index in range(12)}


async def serve_plane() -> None:
    """A plane that notes when beats come in."""
    arrivals: list[float] = []

    async def note(method: str, request: Any) -> None:
        if method.endswith("/Heartbeat"):
            arrivals.append(time.monotonic())

    async def longest_gap(request: Answer) -> Answer:
        start, end = request["start"], request["end"]
        inside = [start, *(moment for moment in arrivals if start <= moment <= end), end]
        return {"gap": max(after - before for before, after in itertools.pairwise(inside))}

    async with EmbeddedControlPlane(gate=note) as plane:
        await answer_requests({"address": plane.endpoint}, longest_gap)


async def numbers() -> dict[str, float]:
    return NUMBERS


class Measured:
    """What a process measures of itself that does nothing but be a service."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def answer(self, request: Answer) -> Answer:
        match request["do"]:
            case "cpu":
                return await self.cpu(request["seconds"], request["interval"], request["mode"])
            case "start":
                return await self.start()
            case "bare":
                return await self.bare()
            case "idle":
                return await self.idle(request["seconds"])
            case _:
                return await self.block(request["mode"])

    def session(self, interval: float, **settings: Any) -> FlowctlSession:
        config = FlowctlConfig(endpoint=self.address, heartbeat_interval=interval, **settings)
        return FlowctlSession(INFO, config, numbers)

    def channel(self) -> Any:
        return grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])

    async def cpu(self, seconds: float, interval: float, mode: str) -> Answer:
        """CPU time and beats of some seconds."""
        async with self.session(interval, heartbeat_mode=mode) as session:
            await anyio.sleep(min(interval, 1.0))
            beats, cpu, wall = session.metrics()["heartbeats_total"], time.process_time(), time.perf_counter()
            await anyio.sleep(seconds)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            return {"beats": session.metrics()["heartbeats_total"] - beats, "cpu": cpu, "share": cpu / wall}

    async def start(self) -> Answer:
        """The time to enter a session, and to leave it."""
        began = time.perf_counter()
        async with self.session(SLOW) as session:
            assert session.state is State.REGISTERED
            started, leaving = time.perf_counter() - began, time.perf_counter()
        return {"start": started, "stop": time.perf_counter() - leaving}

    async def bare(self) -> Answer:
        """The time to register over a channel of its own, without any of our code."""
        began = time.perf_counter()
        async with self.channel() as channel:
            component = wire.v1.ComponentInfo(id="bare")
            stub = wire.v1.ControlPlaneServiceStub(channel)
            await stub.RegisterComponent(wire.v1.RegisterRequest(component=component, component_id="bare"))
            registered = time.perf_counter() - began
        return {"start": registered}

    async def idle(self, seconds: float) -> Answer:
        """What gRPC alone takes while nobody says anything."""
        async with self.channel() as channel:
            await wire.v1.ControlPlaneServiceStub(channel).ListComponents(wire.v1.ListComponentsRequest())
            await anyio.sleep(1.0)
            cpu, wall = time.process_time(), time.perf_counter()
            await anyio.sleep(seconds)
            return {"share": (time.process_time() - cpu) / (time.perf_counter() - wall)}

    async def block(self, mode: str) -> Answer:
        """When the loop was blocked, for the plane to say what it heard meanwhile."""
        async with self.session(INTERVAL, heartbeat_mode=mode):
            await anyio.sleep(3 * INTERVAL)
            start = time.monotonic()
            end = start + BLOCK
            while time.monotonic() < end:  # pure Python, so that the thread must also fight for the interpreter
                sum(range(1000))
            end = time.monotonic()
            await anyio.sleep(INTERVAL)
            return {"start": start - INTERVAL, "end": end + INTERVAL / 2}


def compare(*, rounds: int, seconds: float, idle: float) -> None:
    with open_worker("benchmarks.heartbeat", "plane") as plane, _open_service(plane) as service:
        service.ask(seconds=seconds / 2, do="cpu", interval=FAST, mode="loop")  # to warm up
        figures: dict[str, list[float]] = {}

        def note(**measured: float) -> None:
            for name, value in measured.items():
                figures.setdefault(name, []).append(value)

        for _ in range(rounds):
            for mode in ("loop", "thread"):
                spent = service.ask(seconds=seconds, do="cpu", interval=FAST, mode=mode)
                note(**{f"cpu_{mode}": spent["cpu"] / spent["beats"]})
                note(**{f"gap_{mode}": _gap(plane, service, mode) / INTERVAL})
            for _ in range(10):
                whole, bare = service.ask(seconds=1, do="start"), service.ask(seconds=1, do="bare")
                note(start=whole["start"], stop=whole["stop"], bare=bare["start"])
        note(share=service.ask(seconds=idle, do="cpu", interval=SLOW, mode="loop")["share"])
        note(idle=service.ask(seconds=idle / 2, do="idle")["share"])
    found = {name: statistics.median(values) for name, values in figures.items()}
    report(
        "heartbeat",
        {
            "cpu": round(CPU_TARGET / found["cpu_loop"], 2),
            "gap": round(GAP_TARGET / found["gap_thread"], 2),
        },
        cpu_ms_per_beat={mode: round(found[f"cpu_{mode}"] * 1000, 3) for mode in ("loop", "thread")},
        percent_of_a_core_at_10_s=round(found["share"] * 100, 3),
        percent_of_a_core_of_an_idle_channel=round(found["idle"] * 100, 3),
        gap_in_intervals={mode: round(found[f"gap_{mode}"], 2) for mode in ("loop", "thread")},
        start_ms=round(found["start"] * 1000, 2),
        stop_ms=round(found["stop"] * 1000, 2),
        bare_register_ms=round(found["bare"] * 1000, 2),
        rounds=rounds,
    )


def _open_service(plane: Worker) -> AbstractContextManager[Worker]:
    return open_worker("benchmarks.heartbeat", "service", "--address", plane.hello["address"])


def _gap(plane: Worker, service: Worker, mode: str) -> float:
    window = service.ask(seconds=BLOCK, do="block", mode=mode)
    gap: float = plane.ask(seconds=0, **window)["gap"]
    return gap


def main() -> None:
    options = parser(__doc__).parse_args()
    match options.worker:
        case "plane":
            asyncio.run(serve_plane())
        case "service":
            asyncio.run(answer_requests({}, Measured(options.address).answer))
        case _:
            compare(
                rounds=2 if options.quick else 9,
                seconds=1.5 if options.quick else 5.0,
                idle=10.0 if options.quick else 60.0,
            )


if __name__ == "__main__":
    main()
