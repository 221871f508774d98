"""The two ends of a ring: the reader lends it, the writer borrows it. Frames as bytes; knows no messages.

A ring begins with a page of its own: what it is, the key that its name goes with, how many frames the reader
has looked at, and a word for each slot in which it notes that it is done with that. Each has one writer: nobody locks.
"""

from __future__ import annotations

import hmac
import mmap
import os
import secrets
import struct
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flowctl_aio.errors import FrameCorruptError
from flowctl_aio.streams.shared import folder as files
from flowctl_aio.streams.shared.slots import Slot, Slots

TAKEN_AT, MARKS, MARKS_AT, DATA_AT = 1024, 256, 2048, 4096
_HEAD = struct.Struct("<8sQQ32s")
_MAGIC = b"flowring"
# Memory is asked for in steps: a stream of a few batches takes no more than it needs.
STEP = 1024 * 1024
MAX_RING = 2**40
# Makes all pages of a part in one go, which takes half the time. Python has no name for it. Source: madvise(2).
_POPULATE_WRITE = 23


class LentRing:
    """The reader's end: it makes the file, and has a view of each frame.

    Args:
        folder: the user's.
        size: bytes that the peer may fill; they are taken only as it does.
        max_waiting: frames that may wait in it for somebody to look at them.

    Raises:
        OSError: if there can be none here.

    Attributes:
        title: what the peer must know to open it: its name and its key, which is secret.
    """

    def __init__(self, folder: Path, size: int, *, max_waiting: int) -> None:
        self._folder, self._size = folder, DATA_AT + size
        self._name, file = files.create(folder)
        try:
            key = secrets.token_hex(16)
            os.ftruncate(file, self._size)
            head = _HEAD.pack(_MAGIC, self._size, max_waiting, key.encode())
            os.pwrite(file, head.ljust(DATA_AT, b"\0"), 0)
            self._map = mmap.mmap(file, self._size)  # with a descriptor of its own, and so with the lock
        except (OSError, ValueError):
            files.remove(folder, self._name)
            raise
        finally:
            os.close(file)
        self.title = f"{self._name}.{key}"
        self._whole = memoryview(self._map)
        self._taken, self._marks = _words(self._whole)
        self._in_use: set[int] = set()

    def __repr__(self) -> str:
        return f"<LentRing {self._name} of {self._size} bytes, {len(self._in_use)} slots in use>"

    def view(self, slot: Slot) -> memoryview:
        """The bytes of a frame. The slot is the writer's again when the last that looks at them is gone.

        Raises:
            FrameCorruptError: if there can be no such frame.
        """
        if slot.offset < DATA_AT or slot.end > self._size or slot.mark >= MARKS or slot.mark in self._in_use:
            raise FrameCorruptError(f"a frame of {slot.length} bytes at {slot.offset} is not within the ring")
        if self._map.size() < self._size:  # to touch what is no more would end the process
            raise FrameCorruptError("the ring was cut")
        view = self._whole[slot.offset : slot.end].toreadonly()
        self._in_use.add(slot.mark)
        self._taken[0] += 1
        weakref.finalize(view, _note_done, self._marks, self._in_use, slot).atexit = False
        return view

    def close_name(self) -> None:
        """Let nobody open it any more. What is in it stays readable; it goes with the last that looks at it."""
        files.remove(self._folder, self._name)


def _note_done(marks: memoryview, in_use: set[int], slot: Slot) -> None:
    in_use.discard(slot.mark)  # before the word: with it, the writer may use the mark again
    marks[slot.mark] = slot.turn


class BorrowedRing:
    """The writer's end: it opens the file that the peer names, once, and takes its name away.

    Args:
        folder: the user's.
        title: what the peer says.

    Raises:
        OSError: if there is no such ring: the peer is on another host, is another user, or its word is not true.
    """

    def __init__(self, folder: Path, title: str) -> None:
        name, _, key = title.partition(".")
        file = files.open_file(folder, name)
        try:
            magic, size, self._max_waiting, found = _HEAD.unpack(os.pread(file, _HEAD.size, 0).ljust(_HEAD.size, b"\0"))
            if magic != _MAGIC or not hmac.compare_digest(found, key.encode()):
                raise files.FolderError(f"{name} is not the ring that the peer speaks of")
            if not DATA_AT < size == os.fstat(file).st_size <= MAX_RING:
                raise files.FolderError(f"{name} has not the size that it says")
            self._map = mmap.mmap(file, size)
        except (OSError, ValueError):
            os.close(file)
            raise
        files.remove(folder, name)
        self._close_file = weakref.finalize(self, os.close, file)
        self._file, self._reserved = file, DATA_AT
        self._slots = Slots(DATA_AT, size, MARKS)
        self._whole = memoryview(self._map)
        self._taken, self._marks = _words(self._whole)
        self._written = 0

    def write(self, length: int, fill: Callable[[memoryview], None]) -> Slot | None:
        """Have `fill` write a frame of `length` bytes.

        Returns: where it is; None if there is no room now, or enough waits.
        """
        if not self._close_file.alive or self._written - self._taken[0] >= self._max_waiting:
            return None
        marks = self._marks
        self._slots.sweep(lambda slot: marks[slot.mark] == slot.turn)
        slot = self._slots.take(length)
        if slot is None:
            return None
        if not self._has_memory(slot.end):
            self._slots.limit(self._reserved)
            self._slots.free(slot)
            return None
        try:
            with self._whole[slot.offset : slot.end] as room:
                fill(room)
        except BaseException:
            self._slots.free(slot)
            raise
        self._written += 1
        return slot

    def close(self) -> None:
        """Give it back. The reader keeps what it has. May be called twice."""
        if self._close_file.detach() is None:
            return
        os.close(self._file)
        self._taken.release()
        self._marks.release()
        self._whole.release()
        self._map.close()

    def _has_memory(self, end: int) -> bool:
        """Have the memory up to `end`, for good.

        A file system that is full says so here. To write to a page that it then has not got would end the process.
        """
        if end > self._reserved:
            wanted = min(-(-end // STEP) * STEP, len(self._whole))
            try:
                os.posix_fallocate(self._file, self._reserved, wanted - self._reserved)
            except OSError:
                return False
            with suppress(OSError, ValueError):  # an older kernel makes each page when it is first written to
                self._map.madvise(_POPULATE_WRITE, self._reserved, wanted - self._reserved)
            self._reserved = wanted
        return True


def _words(whole: memoryview) -> tuple[memoryview, memoryview]:
    """Where the reader counts the frames that it has looked at, and where it notes those that it is done with."""
    return whole[TAKEN_AT : TAKEN_AT + 8].cast("Q"), whole[MARKS_AT:DATA_AT].cast("Q")


__all__ = ["BorrowedRing", "LentRing"]
