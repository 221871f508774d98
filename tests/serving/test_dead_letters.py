"""Dead letters: durable before the stream goes on, whole or not there, and read back as they were."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.component import Processor, Sink
from flowctl_aio.errors import DeadLetterError, FrameCorruptError, PeerError
from flowctl_aio.serving.dead_letters import DeadLetter, read_dead_letters
from flowctl_aio.serving.dead_letters.files import write_lines, write_part
from flowctl_aio.serving.dead_letters.letter import letter_from_event, letter_of, letter_to_event
from flowctl_aio.serving.policy import SetAside
from flowctl_aio.testing.components import RecordingSink
from flowctl_aio.types import Cursor, Event, RawLedger

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
WRITERS = [(write_lines, "letters.jsonl"), (write_part, "letters.parquet")]


def letter(number: int, size: int = 0) -> DeadLetter:
    original = wire.Event(event_type="E", payload=b"\0\xff\n" + b"x" * size, metadata={"cursor": str(number)})
    context = {"error": "ValueError", "attempts": "3", "cursor": f"{number}:0", "é": "\n\"'"}
    return DeadLetter("a-processor", "PROCESSING", "ValueError: é\n", original.SerializeToString(), NOW, context)


def events(first: int, count: int) -> EventBatch:
    return EventBatch.from_events(Event("E", b"x", cursor=Cursor(number)) for number in range(first, first + count))


class Bad(Processor):
    """Fails at everything."""

    async def process(self, batch):
        raise ValueError


class BadSink(Sink):
    """Fails at every other row, and waits in `commit` until it may."""

    def __init__(self) -> None:
        self.may_commit, self.commits, self.aborts = anyio.Event(), 0, 0

    async def consume(self, batch, epoch):
        if any(row.cursor.sequence % 2 for row in batch):
            raise ValueError

    async def commit(self, epoch):
        self.commits += 1
        await self.may_commit.wait()

    async def abort(self, epoch):
        self.aborts += 1


async def given(driver, session, *batches) -> list[EventBatch]:
    async def inputs():
        for batch in batches:
            yield batch

    async with driver.processor(session.endpoint) as client, client.stream(inputs()) as stream:
        return [batch async for batch in stream]


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_letters_are_read_back_as_they_were_written_in_that_order(tmp_path, write, name):
    path = tmp_path / "folder" / name
    first, second = [letter(1), letter(2, size=1000)], [letter(3)]
    write(path, first)
    write(path, second)
    assert list(read_dead_letters(path)) == [*first, *second]


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_files_of_letters_are_their_owners_alone(tmp_path, write, name):
    write(tmp_path / name, [letter(1)])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600]


def test_a_folder_of_letters_is_one_table_to_any_reader(tmp_path):
    for number in range(3):
        write_part(tmp_path / "letters.parquet", [letter(number)])
    assert pq.read_table(tmp_path / "letters.parquet").num_rows == 3


def test_a_line_cut_short_spoils_no_other(tmp_path, caplog):
    path = tmp_path / "letters.jsonl"
    write_lines(path, [letter(1), letter(2)])
    os.truncate(path, path.stat().st_size - 20)
    write_lines(path, [letter(3)])
    assert list(read_dead_letters(path)) == [letter(1), letter(3)]
    assert "line 2 of" in caplog.text


@pytest.mark.parametrize("line", ["[]", "3", "{}", '{"processor_id": 3}', "[" * 100_000, "\0", '"\\ud800"'])
def test_a_line_that_is_no_letter_is_left_out_with_a_warning(tmp_path, caplog, line):
    path = tmp_path / "letters.jsonl"
    path.write_text(line + "\n")
    write_lines(path, [letter(1)])
    assert list(read_dead_letters(path)) == [letter(1)]
    assert "line 1 of" in caplog.text


def test_what_a_dead_writer_left_of_a_file_is_not_read(tmp_path, caplog):
    folder = tmp_path / "letters.parquet"
    write_part(folder, [letter(1)])
    (folder / ".letters-20260101T000000000000-00000000.parquet.part").write_bytes(b"PAR1half")
    assert list(read_dead_letters(folder)) == [letter(1)]
    (folder / "letters-20260101T000000000000-00000000.parquet").write_bytes(b"PAR1half")
    assert list(read_dead_letters(folder)) == [letter(1)]
    assert "no whole file" in caplog.text


def test_nothing_to_read_is_an_error_that_names_the_place(tmp_path):
    with pytest.raises(DeadLetterError, match=r"nowhere\.jsonl"):
        list(read_dead_letters(tmp_path / "nowhere.jsonl"))


def test_a_letter_survives_as_an_event_and_is_known_again():
    event = letter_to_event(letter(7))
    assert letter_from_event(event) == letter(7)
    assert event.cursor == Cursor(7)
    assert event.id == letter_to_event(letter(7)).id != letter_to_event(letter(8)).id
    with pytest.raises(FrameCorruptError):
        letter_from_event(Event("E", event.payload))
    with pytest.raises(FrameCorruptError):
        letter_from_event(Event(event.event_type, b"\xff"))


def test_ledgers_come_back_as_ledgers():
    ledger = RawLedger(5, b"xdr", NOW, "Testnet", {"a": "b"})
    aside = SetAside(LedgerBatch.from_ledgers([ledger]), "ValueError", "", is_invalid=False, attempts=1)
    assert letter_of(aside, "me", NOW).event() == ledger
    assert letter_of(aside, "me", NOW).cursor == Cursor(5)


def test_rows_with_columns_of_their_own_become_json():
    row = EventBatch(pa.record_batch({"ledger_sequence": [9], "amount": [Decimal("1.5")]}), event_type="T")
    found = letter_of(SetAside(row, "ValueError", "", is_invalid=True, attempts=1), "me", NOW)
    assert json.loads(found.event().payload) == {"ledger_sequence": 9, "amount": "1.5"}
    assert (found.cursor, found.error_type, found.message) == (Cursor(9), "VALIDATION", "ValueError")


def test_a_row_that_python_has_no_value_for_is_kept_as_arrow():
    column = pa.array([2**62], type=pa.timestamp("us", tz="UTC"))
    row = EventBatch(pa.record_batch([column], names=["at"]), event_type="T")
    found = letter_of(SetAside(row, "ValueError", "", is_invalid=False, attempts=1), "me", NOW).event()
    assert pa.ipc.open_stream(found.payload).read_all().column("at").cast(pa.int64()).to_pylist() == [2**62]


async def test_letters_go_to_a_sink_before_the_stream_goes_on(serve, driver):
    letters = RecordingSink()
    keeper = await serve(letters)
    session = await serve(Bad(), on_event_error="dead-letter", dead_letters=keeper.endpoint)
    assert await given(driver, session, events(0, 300)) == []
    found = [letter_from_event(event) for batch in letters.batches for event in batch]
    assert [one.cursor for one in found] == [Cursor(number) for number in range(300)]
    assert {one.processor_id for one in found} == {session.info.component_id}


async def test_a_sink_that_takes_not_all_letters_ends_the_stream(serve, driver):
    keeper = await serve(BadSink(), on_event_error="skip")
    keeper.component.may_commit.set()
    session = await serve(Bad(), on_event_error="dead-letter", dead_letters=keeper.endpoint)
    with pytest.raises(PeerError, match="DeadLetterError in bad"):
        await given(driver, session, events(0, 2))


@pytest.mark.parametrize("where", ["file.jsonl", "file.parquet", "service"])
async def test_letters_that_cannot_be_written_end_the_stream(serve, driver, tmp_path, free_port, where, caplog):
    (tmp_path / "file").write_text("no folder")
    place = f"127.0.0.1:{free_port}" if where == "service" else str(tmp_path / "file" / where)
    session = await serve(Bad(), on_event_error="dead-letter", dead_letters=place)
    with pytest.raises(PeerError, match="DeadLetterError in bad") as caught:
        await given(driver, session, events(0, 2))
    assert str(tmp_path) not in str(caught.value)
    assert f"2 dead letters cannot be written to {place}" in caplog.text
    assert session.metrics()["errors_total"] >= 1


async def test_letters_that_cannot_be_written_leave_their_epoch_unacknowledged(serve, driver, tmp_path):
    component = BadSink()
    (tmp_path / "file").write_text("no folder")
    session = await serve(component, on_event_error="dead-letter", dead_letters=str(tmp_path / "file" / "a.jsonl"))
    async with driver.sink(session.endpoint) as sink:
        await sink.send(events(0, 4))
        with pytest.raises(PeerError, match="DeadLetterError"):
            await sink.flush()
    assert (component.commits, component.aborts) == (0, 1)


async def test_an_epoch_cut_off_behind_its_letters_is_sent_again_and_so_are_they(serve, driver, tmp_path, until):
    component, path = BadSink(), tmp_path / "letters.jsonl"
    session = await serve(component, on_event_error="dead-letter", dead_letters=str(path))
    with anyio.CancelScope() as scope:
        async with driver.sink(session.endpoint) as sink, anyio.create_task_group() as group:
            await sink.send(events(0, 2))
            group.start_soon(sink.flush)
            await until(lambda: component.commits == 1)
            assert [one.cursor for one in read_dead_letters(path)] == [Cursor(1)]  # before anything is acknowledged
            scope.cancel()
    await until(lambda: component.aborts == 1)
    component.may_commit.set()
    async with driver.sink(session.endpoint) as sink:
        await sink.send(events(0, 2))
        assert (await sink.flush()).failed == 1
    assert len({one.id for one in read_dead_letters(path)}) == 1
    assert len(list(read_dead_letters(path))) == 2


async def test_several_streams_write_into_one_file(serve, driver, tmp_path):
    path = tmp_path / "letters.jsonl"
    session = await serve(Bad(), on_event_error="dead-letter", dead_letters=str(path))
    async with anyio.create_task_group() as group:
        for first in range(0, 400, 100):
            group.start_soon(given, driver, session, events(first, 50), events(first + 50, 50))
    found = [one.cursor.sequence for one in read_dead_letters(path)]
    assert sorted(found) == list(range(400))


@pytest.mark.parametrize("name", ["letters.jsonl", "letters.parquet"])
def test_a_writer_that_is_killed_leaves_whole_letters(tmp_path, name):
    code = f"""
import sys
from pathlib import Path
from tests.serving.test_dead_letters import WRITERS, letter
write = dict((name, write) for write, name in WRITERS)[{name!r}]
for number in range(100_000):
    write(Path({str(tmp_path)!r}) / {name!r}, [letter(number, size=20_000)] * 5)
    print(number, flush=True)
"""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root) as process:
        done = [int(process.stdout.readline()) for _ in range(5)][-1]
        process.send_signal(signal.SIGKILL)
    found = list(read_dead_letters(tmp_path / name))
    assert found[: 5 * (done + 1)] == [letter(number, size=20_000) for number in range(done + 1) for _ in range(5)]
