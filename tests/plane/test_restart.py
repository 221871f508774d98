"""Claims about a plane with a file: what it acknowledged is there again after any end, SIGKILL included."""

import json
import random
import signal
import sys
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import grpc.aio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from flowctl_aio import _wire as wire
from flowctl_aio.control.messages import info_from_v1
from flowctl_aio.errors import ConfigError
from flowctl_aio.plane import EmbeddedControlPlane
from flowctl_aio.plane.runs import RunStatus
from flowctl_aio.transport.call import call_unary
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.types import Health

from .calls import CLASSIC, PROCESSOR, QUICK, refused, served

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("quirks", [None, "flowctl"])
DEGRADED = wire.v1.HealthStatus.HEALTH_STATUS_DEGRADED
RUNNING = wire.RunStatus.RUN_STATUS_RUNNING


@pytest.fixture
def db(tmp_path):
    return tmp_path / "plane.db"


@BOTH
async def test_a_plane_that_restarts_knows_what_the_last_one_knew(db, quirks):
    async with served(quirks=quirks, db=db, chunks=True) as (plane, classic, v1):
        await classic.Register(CLASSIC)
        await v1.RegisterComponent(wire.v1.RegisterRequest(component=PROCESSOR))
        await v1.RegisterComponent(wire.v1.RegisterRequest(component=wire.v1.ComponentInfo(id="gone")))
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="ttp", status=DEGRADED, metrics={"a": "1", "b": "x"}))
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="ttp", status=DEGRADED, metrics={"a": "2"}))
        await v1.UnregisterComponent(wire.v1.UnregisterRequest(service_id="gone"))
        create = wire.CreatePipelineRunRequest(
            run_id="r1", pipeline_name="p", config_yaml="a: 1", component_ids=["src"]
        )
        await classic.CreatePipelineRun(create)
        metrics = wire.RunMetrics(events_processed=7)
        await classic.UpdatePipelineRun(wire.UpdatePipelineRunRequest(run_id="r1", status=RUNNING, metrics=metrics))
        await classic.CreatePipelineRun(wire.CreatePipelineRunRequest(run_id="r2"))
        await classic.StopPipelineRun(wire.StopPipelineRunRequest(run_id="r2"))
        await classic.UpsertChunkRun(wire.UpsertChunkRunRequest(chunk=wire.ChunkRun(chunk_id="c", phase="extract")))
        listed = await v1.ListComponents(wire.v1.ListComponentsRequest(include_unhealthy=True))
        before = plane.services(), plane.runs(), plane.chunks()
    async with served(quirks=quirks, db=db, chunks=True) as (plane, classic, v1):
        assert (plane.services(), plane.runs(), plane.chunks()) == before
        assert await v1.ListComponents(wire.v1.ListComponentsRequest(include_unhealthy=True)) == listed
        assert listed.components[1].metrics == {"a": "2", "b": "x"}
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="ttp"))
        await classic.Heartbeat(wire.ServiceHeartbeat(service_id="src"))
        assert (await refused(v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="gone"))))[1] == "service gone not found"


@BOTH
async def test_after_a_restart_the_lease_begins_anew(db, quirks):
    async with served(quirks=quirks, db=db) as (plane, classic, _):
        await classic.Register(CLASSIC)
        seen = plane.services()[0].last_heartbeat
    async with EmbeddedControlPlane(quirks=quirks, db=db) as plane:
        (status,) = plane.services()
        assert (status.health, status.last_heartbeat) == (Health.HEALTHY, seen)
        assert plane._registry.sweep() == []
    async with EmbeddedControlPlane(quirks=quirks, db=db, **QUICK) as plane:
        await plane.wait_for_service("src", Health.UNHEALTHY)
    async with EmbeddedControlPlane(db=db) as plane:
        assert plane.services()[0].health is Health.UNHEALTHY
        assert plane.services()[0].last_heartbeat - seen < timedelta(microseconds=1)


async def test_what_a_plane_forgot_stays_forgotten(db):
    async with served(db=db) as (plane, classic, v1):
        await classic.Register(CLASSIC)
        await v1.RegisterComponent(wire.v1.RegisterRequest(component=PROCESSOR))
        plane.forget("src")
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="ttp"))
    async with EmbeddedControlPlane(db=db) as plane:
        assert [status.service_id for status in plane.services()] == ["ttp"]
        plane.forget()
    async with EmbeddedControlPlane(db=db) as plane:
        assert plane.services() == []


async def test_a_second_plane_on_the_file_is_refused_and_the_first_is_not_disturbed(db):
    async with served(db=db) as (plane, classic, _):
        with pytest.raises(ConfigError, match="another plane has it open"):
            async with EmbeddedControlPlane(db=db):
                pass
        await classic.Register(CLASSIC)
    async with EmbeddedControlPlane(db=db) as plane:
        assert [status.service_id for status in plane.services()] == ["src"]


async def test_a_record_that_no_plane_wrote_is_refused(db):
    async with served(db=db) as (plane, classic, _):
        await classic.Register(CLASSIC)
        plane._keep("service", "src", lambda: b"[]")
    with pytest.raises(ConfigError, match="holds a record that no plane wrote"):
        async with EmbeddedControlPlane(db=db):
            pass


@pytest.mark.parametrize(("quirks", "code"), [(None, "UNAVAILABLE"), ("flowctl", "UNKNOWN")])
async def test_what_cannot_be_written_is_not_acknowledged_and_is_there_once_it_can(db, quirks, code):
    async with served(db=db, quirks=quirks) as (plane, classic, v1):
        await classic.Register(CLASSIC)
        plane._store._connection.execute("PRAGMA query_only = 1")
        request = wire.v1.RegisterRequest(component=PROCESSOR)
        assert await refused(v1.RegisterComponent(request)) == (
            code,
            "the plane cannot write its file: attempt to write a readonly database",
        )
        assert len((await classic.ListServices(wire.Empty())).services) == 2  # who only asks, is answered
        plane._store._connection.execute("PRAGMA query_only = 0")
        await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id="ttp", metrics={"n": "1"}))
    async with EmbeddedControlPlane(db=db) as plane:
        assert [status.service_id for status in plane.services()] == ["src", "ttp"]


async def test_ten_thousand_services_can_be_listed_through_our_own_channel():
    info = info_from_v1(PROCESSOR)
    metrics = {f"a_metric_with_a_name_{n}": "12345.678" for n in range(12)}
    async with EmbeddedControlPlane() as plane:
        for n in range(10_000):
            plane._registry.register(info, f"service-{n}")
            plane._registry.beat(f"service-{n}", health=None, metrics=metrics)
        async with open_control_channel(plane.endpoint) as channel:
            listed = await call_unary(
                channel,
                "/flowctl.v1.ControlPlaneService/ListComponents",
                wire.v1.ListComponentsRequest(),
                wire.v1.ListComponentsResponse,
                timeout=30,
            )
        assert len(listed.components) == 10_000
        assert listed.ByteSize() > 4 * 1024 * 1024
        assert listed.components[-1].metrics == metrics


# SIGKILL


@asynccontextmanager
async def plane_process(db):
    """The plane of the command line, and its stubs; killed at the end if it still runs."""
    command = [sys.executable, "-m", "flowctl_aio", "plane", "--port", "0", "--db", str(db)]
    async with await anyio.open_process(command) as process:
        try:
            ready = json.loads(await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 1000))
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
            async with grpc.aio.insecure_channel(ready["endpoint"], options=options) as channel:
                yield process, wire.ControlPlaneStub(channel), wire.v1.ControlPlaneServiceStub(channel)
        finally:
            if process.returncode is None:
                process.kill()


class Load:
    """Changes as fast as they are acknowledged, and a note of each that was."""

    def __init__(self):
        self.acknowledged = 0
        self.there, self.gone = set(), set()
        self.beats, self.runs, self.chunks = {}, {}, {}

    async def put(self, process, classic, v1, *, kill_after):
        was_killed = []

        async def until_killed(change):
            n = 0
            try:
                while True:
                    await change(f"{self.acknowledged}-{n}", n)
                    n += 1
                    self.acknowledged += 1
                    # Once only: to send a second one, `subprocess` looks whether the process is still there, and takes
                    # its exit code away from whoever waits for it.
                    if self.acknowledged >= kill_after and not was_killed:
                        was_killed.append(True)
                        process.send_signal(signal.SIGKILL)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - any other would be a defect

        def info(service_id):
            return wire.v1.RegisterRequest(component=wire.v1.ComponentInfo(id=service_id, endpoint="127.0.0.1:1"))

        async def come(key, n):
            await v1.RegisterComponent(info(f"stays-{key}"))
            self.there.add(f"stays-{key}")

        async def come_and_go(key, n):
            await v1.RegisterComponent(info(f"goes-{key}"))
            await v1.UnregisterComponent(wire.v1.UnregisterRequest(service_id=f"goes-{key}"))
            self.gone.add(f"goes-{key}")

        def beat(service_id):
            async def beat(key, n):
                beats = self.beats.get(service_id, 0) + 1
                await v1.Heartbeat(wire.v1.HeartbeatRequest(service_id=service_id, metrics={"n": str(beats)}))
                self.beats[service_id] = beats

            return beat

        async def run(key, n):
            await classic.CreatePipelineRun(wire.CreatePipelineRunRequest(run_id=f"run-{key}"))
            self.runs[f"run-{key}"] = RunStatus.STARTING
            await classic.UpdatePipelineRun(wire.UpdatePipelineRunRequest(run_id=f"run-{key}", status=RUNNING))
            self.runs[f"run-{key}"] = RunStatus.RUNNING

        async def attempt(key, n):
            await classic.UpsertChunkRun(wire.UpsertChunkRunRequest(chunk=wire.ChunkRun(chunk_id="c", attempt=n + 1)))
            self.chunks["c"] = n + 1

        for n in range(8):
            if f"beats-{n}" not in self.there:
                await v1.RegisterComponent(info(f"beats-{n}"))
                self.there.add(f"beats-{n}")
        async with anyio.create_task_group() as tasks:
            for n in range(8):
                tasks.start_soon(until_killed, beat(f"beats-{n}"))
            for change in (come, come_and_go, run, attempt):
                tasks.start_soon(until_killed, change)


async def test_sigkill_loses_nothing_that_was_acknowledged(db):
    load, seed = Load(), random.randrange(2**32)
    dice = random.Random(seed)
    for _ in range(3):
        load.chunks.clear()  # attempts begin anew
        async with plane_process(db) as (process, classic, v1):
            await load.put(process, classic, v1, kill_after=load.acknowledged + dice.randrange(20, 400))
            assert await process.wait() == -signal.SIGKILL
        async with EmbeddedControlPlane(db=db) as plane:
            services = {status.service_id: status for status in plane.services()}
            assert load.there <= services.keys(), seed
            assert not load.gone & services.keys(), seed
            for service_id, beats in load.beats.items():
                # The beat that was under way may have come in.
                assert services[service_id].metrics.get("n") in (beats, beats + 1), seed
                load.beats[service_id] = int(services[service_id].metrics["n"])
            runs = {run.run_id: run.status for run in plane.runs()}
            assert all(runs[run_id] >= status for run_id, status in load.runs.items()), seed
            chunks = {chunk.chunk_id: chunk.attempt for chunk in plane.chunks()}
            assert all(chunks[chunk_id] in (attempt, attempt + 1) for chunk_id, attempt in load.chunks.items()), seed
    assert load.gone
    assert load.runs


async def test_sigterm_ends_the_plane_of_the_command_line_and_its_file_can_be_opened(db):
    async with plane_process(db) as (process, classic, _):
        await classic.Register(CLASSIC)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert [file.name for file in db.parent.iterdir()] == ["plane.db"]
    async with EmbeddedControlPlane(db=db) as plane:
        assert [status.service_id for status in plane.services()] == ["src"]
