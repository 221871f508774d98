"""Claims about chunk runs: how they are filed, found, and unknown to older planes."""

from datetime import UTC, datetime

import pytest

from flowctl_aio import _wire as wire

from .calls import refused, served

pytestmark = pytest.mark.anyio

MODES = pytest.mark.parametrize("quirks", [None, "flowctl"])
FAILED = wire.ChunkStatus.CHUNK_STATUS_FAILED
RUNNING = wire.ChunkStatus.CHUNK_STATUS_RUNNING


def chunk(first=1, last=99, **fields):
    return wire.ChunkRun(
        **{"pipeline_run_id": "r1", "component_id": "src", "chunk_start": first, "chunk_end": last, **fields}
    )


async def upsert(classic, chunk):
    return await classic.UpsertChunkRun(wire.UpsertChunkRunRequest(chunk=chunk))


@MODES
async def test_a_chunk_run_without_id_and_attempt_gets_both(quirks):
    async with served(quirks=quirks, chunks=True) as (plane, classic, _):
        first = await upsert(classic, chunk())
        assert (first.chunk_id, first.attempt) == ("r1:src:1-99:1", 1)
        second = await upsert(classic, chunk(attempt=2))
        assert (second.chunk_id, second.attempt) == ("r1:src:1-99:2", 2)
        assert (await upsert(classic, chunk(chunk_id="mine"))).chunk_id == "mine"
        assert {known.chunk_id for known in plane.chunks()} == {"mine", "r1:src:1-99:1", "r1:src:1-99:2"}


@MODES
async def test_all_of_a_chunk_run_comes_back_and_the_next_news_replace_it(quirks):
    whole = chunk(
        chunk_id="c",
        attempt=3,
        status=FAILED,
        failure_class=wire.FailureClass.FAILURE_CLASS_OOM,
        phase="extract",
        error="killed",
        recommended_action="rerun_chunk",
        row_counts={"ledgers": 99},
        verification={"hash": "ok"},
        metadata={"host": "a"},
    )
    whole.started_at.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    async with served(quirks=quirks, chunks=True) as (_, classic, _):
        assert await upsert(classic, whole) == whole
        assert await classic.GetChunkRun(wire.GetChunkRunRequest(chunk_id="c")) == whole
        retried = chunk(chunk_id="c", attempt=4, status=RUNNING)
        await upsert(classic, retried)
        assert await classic.GetChunkRun(wire.GetChunkRunRequest(chunk_id="c")) == retried


@pytest.mark.parametrize(("quirks", "newest_first"), [(None, True), ("flowctl", False)])
async def test_a_listing_filters_and_has_a_hundred_at_most_unless_told(quirks, newest_first):
    async with served(quirks=quirks, chunks=True) as (_, classic, _):
        for n in range(101):
            await upsert(classic, chunk(chunk_id=f"c{n:03}", status=FAILED if n == 7 else RUNNING))
        await upsert(classic, chunk(chunk_id="x", pipeline_run_id="r2", component_id="other"))

        async def listed(**filters):
            answer = await classic.ListChunkRuns(wire.ListChunkRunsRequest(**filters))
            return [known.chunk_id for known in answer.chunks]

        ids = [f"c{n:03}" for n in range(101)]
        in_order = [*reversed(ids)] if newest_first else ids
        assert await listed(pipeline_run_id="r1") == in_order[:100]
        assert await listed(component_id="src", limit=2) == in_order[:2]
        assert await listed(status=FAILED) == ["c007"]
        assert await listed(pipeline_run_id="r2") == ["x"]
        assert await listed(pipeline_run_id="r2", component_id="src") == []


@pytest.mark.parametrize(
    ("quirks", "missing", "unknown"), [(None, "INVALID_ARGUMENT", "NOT_FOUND"), ("flowctl", "UNKNOWN", "UNKNOWN")]
)
async def test_what_is_wrong_with_a_chunk_call_is_said(quirks, missing, unknown):
    async with served(quirks=quirks, chunks=True) as (plane, classic, _):
        code, details = await refused(classic.UpsertChunkRun(wire.UpsertChunkRunRequest()))
        assert code == missing
        assert details in ("chunk is missing", "chunk is required")
        assert await refused(classic.GetChunkRun(wire.GetChunkRunRequest(chunk_id="c"))) == (
            unknown,
            "chunk run not found: c",
        )
        code, details = await refused(upsert(classic, chunk(first=-1)))
        assert (code, details) == (missing, "chunk.chunk_start is negative (-1)")
        assert plane.chunks() == []


@pytest.mark.parametrize("settings", [{"chunks": False}, {"quirks": "flowctl"}])
async def test_an_older_plane_does_not_have_the_methods(settings):
    async with served(**settings) as (_, classic, _):
        for name, call in {
            "UpsertChunkRun": classic.UpsertChunkRun(wire.UpsertChunkRunRequest(chunk=chunk())),
            "GetChunkRun": classic.GetChunkRun(wire.GetChunkRunRequest()),
            "ListChunkRuns": classic.ListChunkRuns(wire.ListChunkRunsRequest()),
        }.items():
            assert await refused(call) == ("UNIMPLEMENTED", f"unknown method {name} for service flowctl.ControlPlane")
