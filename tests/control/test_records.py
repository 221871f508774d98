"""The records of runs and chunks at the plane, and blocks that go on where there are none."""

from __future__ import annotations

import re
from dataclasses import replace

import anyio
import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio import _wire as wire
from flowctl_aio.control.records.chunks import FailureClass, VerificationError, failure_class_of
from flowctl_aio.control.records.runs import ComponentCounts
from flowctl_aio.errors import (
    ConfigError,
    DeadlineExceededError,
    FrameCorruptError,
    LedgerDecodeError,
    PlaneUnavailableError,
    SchemaMismatchError,
    UsageError,
)
from flowctl_aio.plane.runs import RunStatus

pytestmark = pytest.mark.anyio
INFO = ServiceInfo("loader", ServiceType.PIPELINE)


@pytest.fixture
async def session(plane, config):
    async with FlowctlSession(INFO, config) as session:
        yield session


async def chunks(plane):
    from flowctl_aio.control.plane import CLASSIC, PlaneClient
    from flowctl_aio.transport.channel import open_control_channel

    async with open_control_channel(plane.endpoint) as channel:
        client = PlaneClient(channel, FlowctlConfig(endpoint=plane.endpoint))
        request = wire.ListChunkRunsRequest()
        return (await client.ask(f"{CLASSIC}/ListChunkRuns", request, wire.ListChunkRunsResponse, 5)).chunks


async def test_a_run_is_running_while_its_block_is_and_then_completed_with_its_numbers(plane, session):
    async with session.run("ledgers", config="kind: Pipeline", component_ids=["a", "b"]) as run:
        [there] = plane.runs()
        assert (there.status, there.pipeline_name, there.config_yaml) == (
            RunStatus.RUNNING,
            "ledgers",
            "kind: Pipeline",
        )
        assert tuple(there.component_ids) == ("a", "b")
        assert run.is_recorded
        run.counts.events_processed = 7
        run.counts.bytes_processed = 700
        await run.report()
        assert plane.runs()[0].metrics.events_processed == 7
        run.counts.events_processed = 9
        run.counts.components["a"] = ComponentCounts(events_in=3, processing_time_ms=1.5)
    [there] = plane.runs()
    assert (there.status, there.error) == (RunStatus.COMPLETED, "")
    assert there.end_time is not None
    assert (there.metrics.events_processed, there.metrics.bytes_processed) == (9, 700)
    assert there.metrics.events_per_second > 0
    assert there.metrics.component_metrics["a"].events_in == 3
    assert re.fullmatch(r"ledgers-[0-9a-f]{16}", there.run_id)


async def test_a_run_whose_block_fails_has_failed_with_the_reason(plane, session):
    with pytest.raises(KeyError, match="lost"):
        async with session.run("ledgers"):
            raise KeyError("lost")
    assert (plane.runs()[0].status, plane.runs()[0].error) == (RunStatus.FAILED, "KeyError: 'lost'")


async def test_a_run_that_is_cancelled_is_stopped(plane, session):
    with anyio.move_on_after(0.05):
        async with session.run("ledgers"):
            await anyio.sleep_forever()
    assert plane.runs()[0].status is RunStatus.STOPPED


async def test_a_run_that_exists_already_is_taken_up(plane, session):
    async with session.run("ledgers", run_id="r1"), session.run("ledgers", run_id="r1"):
        pass
    assert [(run.run_id, run.status) for run in plane.runs()] == [("r1", RunStatus.COMPLETED)]


async def test_a_run_goes_on_without_a_plane_and_is_recorded_when_it_is_back(config, caplog):
    async with EmbeddedControlPlane() as first:
        session = FlowctlSession(INFO, FlowctlConfig(endpoint=first.endpoint, heartbeat_interval=0.1))
        await session.__aenter__()
    try:
        async with session.run("ledgers") as run:
            assert not run.is_recorded
            second = EmbeddedControlPlane(first.endpoint)
            await second.__aenter__()
            with anyio.fail_after(5):
                await second.wait_for_service("loader")
        assert second.runs()[0].status is RunStatus.COMPLETED
        assert "goes on without a record" in caplog.text
    finally:
        await session.aclose()
        await second.aclose()


async def test_without_a_plane_there_are_no_records():
    async with FlowctlSession(INFO, FlowctlConfig(enabled=False)) as session:
        with pytest.raises(UsageError, match="no control plane"):
            session.run("ledgers")
        with pytest.raises(UsageError, match="no control plane"):
            session.chunk(1, 2)


async def test_a_chunk_tells_its_phases_and_completes(plane, session):
    async with session.chunk(100, 199, run_id="r1", metadata={"host": "a"}) as chunk:
        assert (chunk.chunk_id, chunk.attempt) == ("r1:loader:100-199:1", 1)
        await chunk.phase("extract")
        [there] = await chunks(plane)
        assert (there.phase, there.status) == ("extract", wire.ChunkStatus.CHUNK_STATUS_RUNNING)
        chunk.rows["transfers"] = 12
        chunk.verification["hashes"] = "ok"
    [there] = await chunks(plane)
    assert there.status == wire.ChunkStatus.CHUNK_STATUS_COMPLETED
    assert (dict(there.row_counts), dict(there.verification)) == ({"transfers": 12}, {"hashes": "ok"})
    assert (there.chunk_start, there.chunk_end, dict(there.metadata)) == (100, 199, {"host": "a"})
    assert there.HasField("completed_at")


async def test_a_verified_chunk_ends_as_verified(plane, session):
    async with session.chunk(1, 1, attempt=3) as chunk:
        await chunk.verified()
    [there] = await chunks(plane)
    assert (there.status, there.attempt) == (wire.ChunkStatus.CHUNK_STATUS_VERIFIED, 3)


@pytest.mark.parametrize(
    ("error", "kind", "action"),
    [
        (ConnectionError("gone"), FailureClass.RETRYABLE_INFRASTRUCTURE, "rerun_chunk"),
        (LedgerDecodeError("bad", ledger=7), FailureClass.NON_RETRYABLE_DATA, "inspect_output"),
        (SchemaMismatchError(expected="a", found="b"), FailureClass.NON_RETRYABLE_SCHEMA, "inspect_output"),
        (VerificationError("3 rows short"), FailureClass.VERIFICATION, "retry_verification"),
        (MemoryError(), FailureClass.OOM, "rerun_chunk"),
    ],
)
async def test_a_failed_chunk_says_of_which_kind_and_what_to_do(plane, session, error, kind, action):
    with pytest.raises(type(error)):
        async with session.chunk(1, 2):
            raise error
    [there] = await chunks(plane)
    assert there.status == wire.ChunkStatus.CHUNK_STATUS_FAILED
    assert (there.failure_class, there.recommended_action) == (kind, action)
    assert there.error.startswith(type(error).__name__)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), FailureClass.RETRYABLE_INFRASTRUCTURE),
        (DeadlineExceededError("late"), FailureClass.RETRYABLE_INFRASTRUCTURE),
        (PlaneUnavailableError("away"), FailureClass.RETRYABLE_INFRASTRUCTURE),
        (OSError("disk"), FailureClass.RETRYABLE_INFRASTRUCTURE),
        (FrameCorruptError("cut"), FailureClass.NON_RETRYABLE_DATA),
        (ValueError("x"), FailureClass.NON_RETRYABLE_DATA),
        (KeyError("x"), FailureClass.UNKNOWN),
    ],
)
def test_an_exception_is_of_the_kind_that_helps_whoever_reads_it(error, kind):
    assert failure_class_of(error) is kind


async def test_a_cancelled_chunk_is_aborted(plane, session):
    with anyio.move_on_after(0.05):
        async with session.chunk(1, 2):
            await anyio.sleep_forever()
    [there] = await chunks(plane)
    assert there.status == wire.ChunkStatus.CHUNK_STATUS_ABORTED


async def test_a_chunk_that_is_no_range_is_refused(session):
    with pytest.raises(ConfigError, match="5 to 4"):
        async with session.chunk(5, 4):
            pytest.fail("entered")


async def test_a_plane_that_knows_no_chunks_is_one_line_in_the_log(caplog):
    caplog.set_level("INFO")
    async with (
        EmbeddedControlPlane(chunks=False) as plane,
        FlowctlSession(INFO, FlowctlConfig(endpoint=plane.endpoint)) as session,
        session.chunk(1, 2) as chunk,
    ):
        await chunk.phase("extract")
        assert not chunk.is_recorded
    assert caplog.text.count("keeps no records of chunks") == 1


async def test_a_run_and_a_chunk_outlive_a_plane_that_forgets_them(config):
    async with EmbeddedControlPlane() as first:
        session = FlowctlSession(INFO, replace(config, endpoint=first.endpoint))
        await session.__aenter__()
        run, chunk = session.run("ledgers"), session.chunk(1, 2)
        await run.__aenter__()
        await chunk.__aenter__()
    async with EmbeddedControlPlane(first.endpoint) as second:
        with anyio.fail_after(10):
            await second.wait_for_service("loader")
            await chunk.__aexit__(None, None, None)
            await run.__aexit__(None, None, None)
        assert [there.status for there in second.runs()] == [RunStatus.COMPLETED]
        assert [there.status for there in second.chunks()] == [wire.ChunkStatus.CHUNK_STATUS_COMPLETED]
        await session.aclose()


@pytest.mark.parametrize("method", ["CreatePipelineRun", "UpdatePipelineRun", "UpsertChunkRun"])
async def test_a_record_that_is_cancelled_while_it_is_made_is_ended(config, method):
    asked = anyio.Event()

    async def gate(name, request):
        if name.endswith(method) and not asked.is_set():
            asked.set()
            await anyio.sleep_forever()

    async with EmbeddedControlPlane(gate=gate) as plane:
        async with FlowctlSession(INFO, replace(config, endpoint=plane.endpoint)) as session:

            async def work():
                async with session.run("ledgers"), session.chunk(1, 2):
                    pytest.fail("entered")

            with anyio.fail_after(5):
                async with anyio.create_task_group() as group:
                    group.start_soon(work)
                    await asked.wait()
                    group.cancel_scope.cancel()
        assert [there.status for there in plane.runs()] == [RunStatus.STOPPED]
        aborted = [wire.ChunkStatus.CHUNK_STATUS_ABORTED] if method == "UpsertChunkRun" else []
        assert [there.status for there in plane.chunks()] == aborted


async def test_an_error_with_characters_that_go_into_no_message_is_recorded_and_passes(plane, session):
    with pytest.raises(OSError, match="ledger"):
        async with session.run("ledgers"), session.chunk(1, 2):
            raise OSError("ledger\udcff")
    assert plane.runs()[0].error == "OSError: ledger?"
    assert plane.chunks()[0].error == "OSError: ledger?"


@pytest.mark.parametrize("kind", ["run", "chunk"])
async def test_a_cancelled_block_does_not_wait_long_for_a_plane_that_hangs(plane, session, caplog, kind):
    opened = session.run("ledgers") if kind == "run" else session.chunk(1, 2)
    with anyio.fail_after(session.config.query_timeout):  # what it would take, if it waited for the plane
        with anyio.move_on_after(0.05):
            async with opened:

                async def hang(method, request):
                    if "Run" in method:
                        await anyio.sleep_forever()

                plane.gate = hang
                await anyio.sleep_forever()
    assert "ended without a record of how" in caplog.text
