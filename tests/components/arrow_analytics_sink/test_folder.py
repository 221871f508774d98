"""Claims about what replaces what: of each ledger there is what was committed last."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowctl_aio import EventBatch
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.components.arrow_analytics_sink.names import parse_data_path
from flowctl_aio.components.stellar.transfers.schema import SCHEMA
from flowctl_aio.errors import ComponentError

from .data_sets import dated, feed, files, ledgers, read, rows_of, tree, typed, write

pytestmark = pytest.mark.anyio


async def test_a_second_run_in_other_batches_leaves_no_row_twice(out: Path, sink: ArrowAnalyticsSink) -> None:
    for start in range(980, 1020, 10):
        await write(sink, typed(ledgers(start, start + 9)))
    assert len(files(out)) == 4
    for sink_of_second_run in (sink, ArrowAnalyticsSink(out)):
        await write(sink_of_second_run, typed(ledgers(980, 989)), typed(ledgers(990, 1003)))
        await write(sink_of_second_run, typed(ledgers(1004, 1019)))
        assert read(out) == dated(ledgers(980, 1019))
        assert files(out) == [
            "date=2025-03-01/ledgers-0000000980-0000000999.parquet",
            "date=2025-03-02/ledgers-0000001000-0000001003.parquet",
            "date=2025-03-02/ledgers-0000001004-0000001019.parquet",
        ]


async def test_the_same_epoch_again_replaces_its_file(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(1000, 1009, "old")))
    before = files(out)
    await write(sink, typed(ledgers(1000, 1009, "new")))
    assert files(out) == before
    assert read(out) == dated(ledgers(1000, 1009, "new"))


@pytest.mark.parametrize(
    ("first", "last", "names"),
    [
        (1005, 1020, ["1000-1004", "1005-1020"]),
        (990, 1004, ["1000-1004", "1005-1009", "990-999"]),
        (1003, 1006, ["1000-1002", "1003-1006", "1007-1009"]),
        (1000, 1009, ["1000-1009"]),
    ],
)
async def test_a_file_that_overlaps_keeps_only_its_other_ledgers(
    out: Path, sink: ArrowAnalyticsSink, first: int, last: int, names: list[str]
) -> None:
    await write(sink, typed(ledgers(1000, 1009, "old")))
    await write(sink, typed(ledgers(first, last, "new")))
    expected = dict.fromkeys(range(1000, 1010), "old") | dict.fromkeys(range(first, last + 1), "new")
    assert read(out) == dated([row for ledger in sorted(expected) for row in rows_of(ledger, tag=expected[ledger])])
    found = [parse_data_path(name) for name in files(out)]
    assert sorted(f"{file.first}-{file.last}" for file in found if file is not None) == sorted(names)
    for name, file in zip(files(out), found, strict=True):
        assert file is not None
        keys = pq.ParquetFile(out / name).metadata.metadata
        assert (int(keys[b"flowctl.first_ledger"]), int(keys[b"flowctl.last_ledger"])) == (file.first, file.last)


async def test_ledgers_without_events_replace_what_was_there_of_them(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(1000, 1009)))
    ack = await write(sink, typed([], 1003, 1020))
    assert ack == {"files": "0", "bytes": "0", "rows": "0"}
    assert read(out) == dated(ledgers(1000, 1002))
    await write(sink, typed(rows_of(1005), 900, 1020))
    assert read(out) == dated(rows_of(1005))
    await write(sink, typed([], 0, 5000))
    assert tree(out) == []


async def test_an_epoch_without_rows_and_cursors_changes_nothing(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(1000, 1009)))
    before = tree(out)
    assert await write(sink) == {"files": "0", "bytes": "0", "rows": "0"}
    assert await write(sink, EventBatch.from_events([])) == {"files": "0", "bytes": "0", "rows": "0"}
    assert tree(out) == before


async def test_without_cursors_the_rows_say_which_ledgers_are_replaced(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(1000, 1009, "old")))
    batch = pa.RecordBatch.from_pylist(ledgers(1004, 1005, "new"), schema=SCHEMA)
    await write(sink, EventBatch(batch))
    assert [row["asset"] for row in read(out)] == ["old"] * 8 + ["new"] * 4 + ["old"] * 8


async def test_files_of_others_are_left_alone(out: Path, sink: ArrowAnalyticsSink) -> None:
    strangers = [
        "date=2025-03-02/ledgers-1000-1009.parquet",
        "date=2025-03-02/ledgers-0000001009-0000001000.parquet",
        "date=2025-03-02/notes.txt",
        "date=2025-13-45/ledgers-0000001000-0000001009.parquet",
        "date=2025-03-02 /ledgers-0000001000-0000001009.parquet",
        "ledgers-0000001000-0000001009.parquet",
    ]
    for name in strangers:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"mine")
    await write(sink, typed(ledgers(1000, 1009)))
    await write(sink, typed([], 0, 5000))
    assert sorted(files(out)) == sorted(strangers)


async def test_a_file_that_is_not_parquet_fails_the_commit_and_loses_nothing(
    out: Path, sink: ArrowAnalyticsSink
) -> None:
    broken = out / "date=2025-03-02/ledgers-0000001000-0000001009.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"mine")
    epoch = await feed(sink, [typed(ledgers(1005, 1020))])
    with pytest.raises(ComponentError, match=r"0000001009\.parquet is not a file that this sink wrote"):
        await sink.commit(epoch)
    await sink.abort(epoch)
    assert files(out) == ["date=2025-03-02/ledgers-0000001000-0000001009.parquet"]


async def test_a_file_that_somebody_removed_is_no_obstacle(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(990, 1009)))
    shutil.rmtree(out / "date=2025-03-02")
    await write(sink, typed(ledgers(1005, 1006)))
    assert read(out) == dated([*ledgers(990, 999), *ledgers(1005, 1006)])


async def test_a_second_writer_is_noticed_before_it_costs_rows(out: Path, sink: ArrowAnalyticsSink) -> None:
    await write(sink, typed(ledgers(1000, 1009)))
    folder = out / "date=2025-03-02"
    shutil.copy(folder / "ledgers-0000001000-0000001009.parquet", folder / "ledgers-0000001000-0000001004.parquet")
    second = ArrowAnalyticsSink(out)
    before = tree(out)
    epoch = await feed(second, [typed(ledgers(1005, 1020))])
    with pytest.raises(ComponentError, match="somebody else"):
        await second.commit(epoch)
    await second.abort(epoch)
    assert tree(out) == before


# A model of the whole


spans = st.tuples(st.integers(985, 1015), st.integers(0, 12), st.lists(st.integers(0, 2), min_size=13, max_size=13))


@settings(max_examples=40)
@given(commits=st.lists(st.tuples(spans, st.integers(1, 5), st.booleans()), min_size=1, max_size=8))
def test_of_each_ledger_there_is_what_was_committed_last(commits: list[Any]) -> None:
    async def scenario(out: Path) -> None:
        model: dict[int, list[dict[str, Any]]] = {}
        sink = ArrowAnalyticsSink(out)
        for number, ((first, length, counts), step, is_restarted) in enumerate(commits):
            if is_restarted:
                sink = ArrowAnalyticsSink(out, max_epoch_bytes=1)
            last = first + length
            of_ledger = {n: rows_of(n, counts[n - first], str(number)) for n in range(first, last + 1)}
            epoch = await feed(
                sink,
                [
                    typed(
                        [row for n in range(at, min(at + step, last + 1)) for row in of_ledger[n]],
                        at,
                        min(at + step - 1, last),
                    )
                    for at in range(first, last + 1, step)
                ],
            )
            await sink.commit(epoch)
            model |= of_ledger
            expected = dated([row for ledger in sorted(model) for row in model[ledger]])
            assert (read(out) if files(out) else []) == expected
            found = [parse_data_path(name) for name in files(out)]
            assert None not in found, found
            assert not [name for name in files(out) if "/." in f"/{name}"]

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(scenario, Path(folder))
