"""The ring and its folder: who may open what, what is left, and what a wrong word leads to."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.errors import FrameCorruptError
from flowctl_aio.streams.shared import folder as files
from flowctl_aio.streams.shared.loan import slot_from_text, slot_to_text
from flowctl_aio.streams.shared.ring import DATA_AT, MARKS, STEP, BorrowedRing, LentRing
from flowctl_aio.streams.shared.slots import Slot

SIZE = 4 * STEP


@pytest.fixture
def folder(tmp_path):
    return files.folder_in(str(tmp_path))


@pytest.fixture
def ends(folder):
    lent = LentRing(folder, SIZE, max_waiting=100)
    borrowed = BorrowedRing(folder, lent.title)
    yield lent, borrowed
    borrowed.close()


def put(ring: BorrowedRing, content: bytes) -> Slot | None:
    def fill(room):
        room[:] = content

    return ring.write(len(content), fill)


def test_what_one_end_writes_the_other_sees(ends):
    lent, borrowed = ends
    slots = [put(borrowed, bytes([number]) * 1000) for number in range(10)]
    assert [bytes(lent.view(slot)) for slot in slots] == [bytes([number]) * 1000 for number in range(10)]


def test_a_slot_is_the_writers_again_when_the_last_arrow_buffer_on_it_is_gone(ends):
    lent, borrowed = ends
    first = put(borrowed, b"a" * 3 * STEP)
    part = pa.py_buffer(lent.view(first))[10:20]
    assert put(borrowed, b"b" * 3 * STEP) is None
    assert part.to_pybytes() == b"a" * 10
    del part
    assert put(borrowed, b"b" * 3 * STEP).offset == first.offset


def test_a_reader_that_keeps_everything_makes_the_writer_do_without(ends):
    lent, borrowed = ends
    kept = [lent.view(slot) for slot in iter(lambda: put(borrowed, b"x" * 1000), None)]
    assert len(kept) == MARKS
    kept.pop(7)
    assert put(borrowed, b"x" * 1000) is not None


def test_so_many_frames_wait_for_the_reader_and_no_more(folder):
    lent = LentRing(folder, SIZE, max_waiting=3)
    borrowed = BorrowedRing(folder, lent.title)
    slots = [put(borrowed, b"x") for _ in range(4)]
    assert slots[3] is None
    lent.view(slots[0])
    assert put(borrowed, b"x") is not None
    assert put(borrowed, b"x") is None
    borrowed.close()


def test_the_file_and_its_folder_are_the_users_alone(folder):
    lent = LentRing(folder, SIZE, max_waiting=1)
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert file.stat().st_blocks * 512 < STEP  # memory comes only as it is filled
    lent.close_name()
    assert not list(folder.iterdir())


def test_who_opens_a_ring_takes_its_name_away_and_nobody_opens_it_again(folder):
    lent = LentRing(folder, SIZE, max_waiting=1)
    borrowed = BorrowedRing(folder, lent.title)
    assert not list(folder.iterdir())
    with pytest.raises(FileNotFoundError):
        BorrowedRing(folder, lent.title)
    borrowed.close()


def test_a_name_without_its_key_opens_nothing(folder):
    lent = LentRing(folder, SIZE, max_waiting=1)
    name, _, key = lent.title.partition(".")
    for title in (name, f"{name}.", f"{name}.{key[:-1]}", f"{name}.{'0' * 32}", f"{name}.{key}é"):
        with pytest.raises(OSError, match="not the ring"):
            BorrowedRing(folder, title)
    assert key not in repr(lent)
    BorrowedRing(folder, lent.title).close()


@pytest.mark.parametrize("name", ["", "..", "../" + "0" * 29, "/etc/passwd", "0" * 31, "0" * 32 + "\n", "Ａ" * 32])
def test_a_path_is_no_name(folder, name):
    folder.mkdir(0o700)
    with pytest.raises(files.FolderError, match="no name"):
        files.open_file(folder, name)


def test_a_file_that_others_can_read_a_link_or_a_pipe_is_no_ring(folder):
    folder.mkdir(0o700)
    os.close(os.open(folder / ("a" * 32), os.O_CREAT, 0o644))
    (folder / ("b" * 32)).symlink_to(folder / ("a" * 32))
    os.mkfifo(folder / ("c" * 32), 0o600)
    for letter in "abc":
        with pytest.raises(OSError, match=r"alone|symbolic"):
            files.open_file(folder, letter * 32)


def test_a_folder_that_is_a_link_or_open_to_others_is_not_used(folder, tmp_path):
    (tmp_path / "else").mkdir(0o700)
    folder.symlink_to(tmp_path / "else")
    with pytest.raises(OSError, match="Not a directory"):
        LentRing(folder, SIZE, max_waiting=1)
    folder.unlink()
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(files.FolderError, match="not this user's alone"):
        LentRing(folder, SIZE, max_waiting=1)
    assert not list((tmp_path / "else").iterdir())


def test_a_ring_of_another_size_than_it_says_is_not_mapped(folder):
    lent = LentRing(folder, SIZE, max_waiting=1)
    (file,) = folder.iterdir()
    os.truncate(file, DATA_AT + SIZE - 1)
    with pytest.raises(OSError, match="size"):
        BorrowedRing(folder, lent.title)


def test_a_ring_that_was_cut_is_told_before_it_is_touched(folder):
    lent = LentRing(folder, SIZE, max_waiting=1)
    (file,) = folder.iterdir()
    os.truncate(file, DATA_AT)
    with pytest.raises(FrameCorruptError, match="cut"):
        lent.view(Slot(DATA_AT, 10, 0, 1))


@pytest.mark.parametrize(
    "slot", [Slot(0, 10, 0, 1), Slot(DATA_AT, SIZE + 1, 0, 1), Slot(10**18, 1, 0, 1), Slot(DATA_AT, 1, MARKS, 1)]
)
def test_a_handle_to_what_is_not_in_the_ring_is_corrupt(ends, slot):
    with pytest.raises(FrameCorruptError, match="not within the ring"):
        ends[0].view(slot)


def test_a_handle_to_a_slot_that_is_being_read_is_corrupt(ends):
    lent, borrowed = ends
    slot = put(borrowed, b"x")
    view = lent.view(slot)
    with pytest.raises(FrameCorruptError, match="not within the ring"):
        lent.view(slot)
    assert bytes(view) == b"x"


@given(st.text() | st.lists(st.integers(-5, 2**70)).map(lambda numbers: ":".join(map(str, numbers))))
def test_any_text_is_a_handle_or_corrupt(text):
    try:
        slot = slot_from_text(text)
    except FrameCorruptError:
        return
    assert slot_from_text(slot_to_text(slot)) == slot


def test_memory_that_is_not_there_makes_the_writer_do_without(ends, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    lent, borrowed = ends
    assert put(borrowed, b"x" * STEP) is not None  # has memory up to the end of its last step
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert put(borrowed, b"x" * 2 * STEP) is None
    slot = put(borrowed, b"y" * 1000)
    assert bytes(lent.view(slot)) == b"y" * 1000


def test_what_the_reader_has_outlives_the_writer_and_the_ring(folder):
    lent = LentRing(folder, SIZE, max_waiting=1)
    borrowed = BorrowedRing(folder, lent.title)
    view = lent.view(put(borrowed, b"kept"))
    borrowed.close()
    borrowed.close()
    lent.close_name()
    assert put(borrowed, b"late") is None
    del lent
    gc.collect()
    assert bytes(view) == b"kept"


def test_the_descriptors_go_with_the_ring(folder):
    before = len(list(Path("/proc/self/fd").iterdir()))
    lent = LentRing(folder, SIZE, max_waiting=1)
    borrowed = BorrowedRing(folder, lent.title)
    view = lent.view(put(borrowed, b"x"))
    borrowed.close()
    del lent, view
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_sweep_takes_what_the_dead_left_and_nothing_of_the_living(folder):
    lent = LentRing(folder, SIZE, max_waiting=1)
    os.close(os.open(folder / ("d" * 32), os.O_CREAT, 0o600))  # nobody holds its lock
    (folder / "readme").write_text("somebody else's")
    assert files.sweep(folder) == 1
    assert {file.name for file in folder.iterdir()} == {lent.title.partition(".")[0], "readme"}
    BorrowedRing(folder, lent.title).close()
