"""Checkpoints: kept whole, moved after the acknowledgement only, and what a killed pipeline does again."""

from __future__ import annotations

import random
import sys
from collections import Counter
from subprocess import DEVNULL, PIPE

import anyio
import pytest

from flowctl_aio import Cursor, LedgerBatch, LedgerRange, Pipeline, RawLedger, Sink, Source
from flowctl_aio.errors import ConfigError, PeerError
from flowctl_aio.pipeline import FileCheckpoint, SourceCheckpoint

pytestmark = pytest.mark.anyio
EPOCH, LAST = 4, 60

DRIVER = f"""
import asyncio, sys
from flowctl_aio import FlowctlConfig, FlowctlSession, LedgerRange, Pipeline, ServiceInfo, ServiceType
from flowctl_aio.pipeline import SourceCheckpoint

async def main():
    source, sink, place = sys.argv[1:]
    async with FlowctlSession(ServiceInfo("d", ServiceType.PIPELINE), FlowctlConfig(enabled=False)) as session:
        await Pipeline(
            session, source=source, processors=(), sink=sink, epoch_batches={EPOCH},
            checkpoint=place if "/" in place else SourceCheckpoint(place),
        ).run(LedgerRange(1, {LAST}))
    print("done", flush=True)

asyncio.run(main())
"""


class Ledgers(Source):
    def __init__(self, *, pause: float = 0.0) -> None:
        self.pause, self.starts = pause, []

    async def stream(self, request):
        self.starts.append(request.start)
        for sequence in range(request.start, request.end + 1):
            await anyio.sleep(self.pause)
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"xdr")])


class Table(Sink):
    """Replaces what it gets twice, and lets its test in before and after each commit."""

    def __init__(self) -> None:
        self.commits: Counter[int] = Counter()
        self.before = self.after = _nothing

    async def consume(self, batch, epoch):
        epoch.state.setdefault("rows", []).extend(row.sequence for row in batch)

    async def commit(self, epoch):
        await self.before()
        self.commits.update(epoch.state["rows"])
        await self.after()


async def _nothing():
    """Let the commit go on."""


@pytest.mark.parametrize("place", ["file", "source"])
async def test_a_pipeline_that_is_killed_anywhere_does_at_most_one_epoch_again(serve, tmp_path, until, place):
    chance = random.Random(place)
    table, ledgers = Table(), Ledgers(pause=0.001)
    source, sink = await serve(ledgers), await serve(table)
    place = str(tmp_path / "checkpoint.json") if place == "file" else "pipeline"
    command = [sys.executable, "-c", DRIVER, source.endpoint, sink.endpoint, place]
    for where in ("before", "after", "after", "anywhere", None):
        done_again = Counter(table.commits)
        async with await anyio.open_process(command, stdin=DEVNULL, stdout=PIPE, stderr=None) as process:
            commits_left = chance.randrange(1, 3)

            async def kill(process=process):
                nonlocal commits_left
                commits_left -= 1
                if commits_left == 0:
                    process.kill()
                    await process.wait()

            table.before = kill if where == "before" else _nothing
            table.after = kill if where == "after" else _nothing
            if where == "anywhere":
                await until(lambda: len(ledgers.starts) >= 4)
                await anyio.sleep(chance.uniform(0, 0.03))
                process.kill()
            with anyio.fail_after(20):
                said = [chunk async for chunk in process.stdout]
        done_again = [n for n, count in table.commits.items() if done_again[n] and count > done_again[n]]
        assert len(done_again) <= EPOCH
    assert b"".join(said) == b"done\n"
    assert sorted(table.commits) == list(range(1, LAST + 1))  # every row, once in a table that replaces
    assert max(table.commits.values()) <= 3


async def test_a_pipeline_starts_behind_its_checkpoint_and_tells_so(serve, driver, tmp_path):
    table, ledgers, place = Table(), Ledgers(), FileCheckpoint(tmp_path / "c")
    source, sink = await serve(ledgers), await serve(table)
    at = {"source": source.endpoint, "sink": sink.endpoint, "processors": (), "checkpoint": tmp_path / "c"}
    assert (await Pipeline(driver, **at).run(LedgerRange(1, 5))).cursor == Cursor(5)
    progress = await Pipeline(driver, **at).run(LedgerRange(1, 8))
    assert (progress.cursor, progress.ledgers, await place.load()) == (Cursor(8), 3, Cursor(8))
    again = await Pipeline(driver, **at).run(LedgerRange(1, 8))
    assert (again.cursor, again.ledgers, again.epochs) == (Cursor(8), 0, 0)
    assert table.commits == Counter(range(1, 9))


async def test_a_refused_epoch_does_not_move_the_checkpoint(serve, driver, tmp_path):
    class Full(Table):
        async def commit(self, epoch):
            if 6 in epoch.state["rows"]:
                raise OSError("no space left on device")
            await super().commit(epoch)

    source, sink, place = await serve(Ledgers()), await serve(Full()), FileCheckpoint(tmp_path / "c")
    pipeline = Pipeline(
        driver,
        source=source.endpoint,
        processors=(),
        sink=sink.endpoint,
        epoch_batches=EPOCH,
        checkpoint=place,
    )
    with pytest.raises(PeerError, match="OSError in full"):
        await pipeline.run(LedgerRange(1, 50))
    assert (pipeline.progress.cursor, await place.load()) == (Cursor(4), Cursor(4))


async def test_a_checkpoint_that_cannot_be_written_stops_the_pipeline(serve, driver, tmp_path):
    table = Table()
    source, sink = await serve(Ledgers()), await serve(table)
    folder = tmp_path / "gone"
    folder.mkdir()

    def lose_folder(progress):
        if folder.exists():
            folder.rmdir()

    pipeline = Pipeline(
        driver,
        source=source.endpoint,
        processors=(),
        sink=sink.endpoint,
        epoch_batches=EPOCH,
        checkpoint=folder / "c",
        on_progress=lose_folder,
    )
    with pytest.raises(FileNotFoundError):
        await pipeline.run(LedgerRange(1, 50))
    assert sorted(table.commits) == [1, 2, 3, 4]
    assert pipeline.progress.cursor is None


async def test_a_checkpoint_without_a_folder_is_named_before_a_row_moves(serve, driver, tmp_path):
    table = Table()
    source, sink = await serve(Ledgers()), await serve(table)
    places = {"source": source.endpoint, "processors": (), "sink": sink.endpoint}
    pipeline = Pipeline(driver, **places, checkpoint=tmp_path / "nowhere" / "c")
    with pytest.raises(ConfigError, match="nowhere/c cannot be a checkpoint: its folder is not there"):
        await pipeline.run(LedgerRange(1, 50))
    assert (table.commits, pipeline.progress.batches_in) == (Counter(), 0)


async def test_a_checkpoint_at_the_source_is_kept_there(serve, driver):
    source, sink = await serve(Ledgers()), await serve(Table())
    at = {"source": source.endpoint, "sink": sink.endpoint, "processors": ()}
    await Pipeline(driver, **at, checkpoint=SourceCheckpoint("mine")).run(LedgerRange(1, 7))
    async with driver.source(source.endpoint) as client:
        assert (await client.get_state("mine")).cursor == Cursor(7)
        await client.save_state("mine", {"resume_token": "page=4"})
    with pytest.raises(ConfigError, match="keeps no cursor under 'mine'"):
        await Pipeline(driver, **at, checkpoint=SourceCheckpoint("mine")).run(LedgerRange(1, 9))


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"cursor": 7}', '{"cursor": "x"}', "\x00" * 9000])
async def test_a_file_that_is_no_checkpoint_is_named_and_kept(tmp_path, content):
    path = tmp_path / "c"
    path.write_text(content)
    with pytest.raises(ConfigError, match="c is not a checkpoint"):
        await FileCheckpoint(path).load()
    assert path.read_text() == content


async def test_a_checkpoint_is_replaced_as_a_whole(tmp_path):
    place = FileCheckpoint(tmp_path / "c")
    assert await place.load() is None
    for cursor in (Cursor(1), Cursor(2**40, 7)):
        await place.save(cursor)
        assert await place.load() == cursor
    assert list(tmp_path.iterdir()) == [tmp_path / "c"]


async def test_any_source_can_start_behind_a_checkpoint(serve, driver, tmp_path):
    place = FileCheckpoint(tmp_path / "c")
    await place.save(Cursor(5))
    session = await serve(Ledgers())
    async with driver.source(session.endpoint, resume=place) as source, source.stream(1, 7) as stream:
        assert [row.sequence async for batch in stream for row in batch] == [6, 7]
