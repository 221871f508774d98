"""Claims about crashes: a commit that stopped between two steps is made good, by the next start or commit."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink, changes
from flowctl_aio.components.arrow_analytics_sink.changes import Change
from flowctl_aio.components.arrow_analytics_sink.names import RECORD, TEMPORARY, DataFile, new_name
from flowctl_aio.errors import ConfigError

from .data_sets import dated, feed, files, hidden, ledgers, put, read, tree, typed, write

pytestmark = pytest.mark.anyio


def a_dead_name(kind: str) -> str:
    """A name that a process has made which is gone."""
    code = f"from flowctl_aio.components.arrow_analytics_sink.names import new_name; print(new_name({kind!r}))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


async def test_temporary_files_go_with_their_writer_only(out: Path, sink: ArrowAnalyticsSink) -> None:
    dead, alive = a_dead_name(TEMPORARY), new_name(TEMPORARY)
    host, pid, run, rest = dead.removeprefix(".flowctl-").split("-")
    predecessor = f".flowctl-{host}-{os.getpid()}-{run}-{rest}"
    neighbour = f".flowctl-{host}-{os.getppid()}-{run}-{rest}"
    elsewhere = f".flowctl-{'0' * 8}-{pid}-{run}-{rest}"
    strangers = [".flowctl-x.tmp", f"{dead}.bak", "date=2025-03-02"]
    kept = [alive, neighbour, elsewhere, *strangers]
    put(out, dead, predecessor, *kept)
    async with sink.lifespan():
        assert tree(out) == sorted(kept)


def bury_writer(out: Path) -> None:
    """Make what this process has left in the folder that of a process which is gone."""
    dead = a_dead_name(TEMPORARY).split("-")[:4]
    renamed = {name: "-".join([*dead, name.split("-")[4]]) for name in hidden(out)}
    for record in hidden(out, RECORD):
        text = (out / record).read_text()
        for before, after in renamed.items():
            text = text.replace(before, after)
        put(out, record, text=text)
    for before, after in renamed.items():
        (out / before).rename(out / after)


# A record, two new files, two rests, two replaced files, the record again: the last value crashes nowhere.
@pytest.mark.parametrize("crash_after", range(9))
async def test_a_crash_between_any_two_steps_is_made_good_at_the_next_start(
    out: Path, sink: ArrowAnalyticsSink, monkeypatch: pytest.MonkeyPatch, crash_after: int
) -> None:
    await write(sink, typed(ledgers(990, 1009, "old")))
    old, new = read(out), dated([*ledgers(990, 994, "old"), *ledgers(995, 1004, "new"), *ledgers(1005, 1009, "old")])
    steps = 0

    def stop_after(original: Any) -> Any:
        def step(path: Path, *args: Any, **options: Any) -> Any:
            nonlocal steps
            if path.name.startswith((".flowctl", "ledgers")) and (args or path.suffix in (".parquet", ".commit")):
                if steps == crash_after:
                    raise OSError("out of power")
                steps += 1
            return original(path, *args, **options)

        return step

    epoch = await feed(sink, [typed(ledgers(995, 1004, "new"))])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop_after(Path.replace))
        patch.setattr(Path, "unlink", stop_after(Path.unlink))
        with pytest.raises(OSError, match="power") if crash_after < 8 else nullcontext():
            await sink.commit(epoch)
    bury_writer(out)
    assert bool(hidden(out, RECORD)) == (0 < crash_after < 8)
    restarted = ArrowAnalyticsSink(out)
    async with restarted.lifespan():
        assert not [name for name in files(out) if name.startswith(".")]
        assert read(out) == (old if crash_after == 0 else new)
    await write(restarted, typed(ledgers(995, 1004, "new")))
    assert read(out) == new


async def test_a_fault_halfway_is_made_good_by_the_next_commit(
    out: Path, sink: ArrowAnalyticsSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(sink, typed(ledgers(990, 1009, "old")))
    epoch = await feed(sink, [typed(ledgers(995, 1004, "new"))])

    def fail_in_partitions(path: Path) -> None:
        if path.name.startswith("date="):
            raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(changes, "sync", fail_in_partitions)
        with pytest.raises(OSError, match="disk"):
            await sink.commit(epoch)
    await sink.abort(epoch)
    await write(sink, typed(ledgers(1100, 1101)))
    assert not [name for name in files(out) if name.startswith(".")]
    expected = [*ledgers(990, 994, "old"), *ledgers(995, 1004, "new"), *ledgers(1005, 1009, "old")]
    assert read(out) == dated([*expected, *ledgers(1100, 1101)])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"moves": [["../secret", "x"]], "removals": []}', '{"moves": [], "removals": ["../../secret"]}'],
)
async def test_a_record_that_no_sink_wrote_is_not_followed(out: Path, sink: ArrowAnalyticsSink, text: str) -> None:
    put(out, a_dead_name(RECORD), text=text)
    with pytest.raises(ConfigError, match="is not the record of a commit"):
        async with sink.lifespan():
            pass


async def test_a_change_of_one_step_needs_no_record() -> None:
    file = DataFile("2025-03-02", 1, 2)
    assert Change((("a", file),), ()).is_atomic
    assert Change((), (file,)).is_atomic
    assert not Change((("a", file),), (file,)).is_atomic
