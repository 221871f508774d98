"""The user's folder of rings: files that nobody else may open, and none of which outlives those who could use it."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A name is never a path, whoever says it.
NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class FolderError(OSError):
    """The folder, or a file in it, is not as it must be."""


def folder_in(place: str) -> Path:
    """The folder of this user in `place`, such as `/dev/shm`."""
    return Path(place) / f"flowctl_aio-{os.geteuid()}"


def create(folder: Path) -> tuple[str, int]:
    """A new file of mode 0600 under a random name, locked for as long as its descriptor or a copy of it is open.

    Raises:
        OSError: if that is not possible here.
    """
    with _opened(folder, is_made=True) as directory:
        while True:
            name = secrets.token_hex(16)
            file = os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
            if _is_ours_alone(file) and os.fstat(file).st_nlink:
                return name, file
            os.close(file)  # somebody swept the folder just then, and took it for a dead one


def open_file(folder: Path, name: str) -> int:
    """Open the file that a peer calls `name`.

    Raises:
        FolderError: if that is no name, or what is there is no file of this user's alone.
        OSError: if there is none.
    """
    if not NAME.fullmatch(name):
        raise FolderError("what a peer calls a ring is no name of one")
    with _opened(folder) as directory:
        file = os.open(name, _OPEN, dir_fd=directory)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(file)
        raise FolderError(f"{name} is no file of this user's alone")
    return file


def remove(folder: Path, name: str) -> None:
    """Take a file's name away; whoever has it open or mapped keeps it. There may be none any more."""
    with suppress(OSError), _opened(folder) as directory:
        os.unlink(name, dir_fd=directory)


def sweep(folder: Path) -> int:
    """Remove the files whose makers are dead: nobody holds their locks.

    Returns: how many there were.

    Raises:
        OSError: if the folder is not as it must be.
    """
    removed = 0
    with _opened(folder) as directory:
        for name in os.listdir(directory):  # noqa: PTH208 - by descriptor
            if not NAME.fullmatch(name):
                continue
            with suppress(OSError):  # gone meanwhile
                file = os.open(name, _OPEN, dir_fd=directory)
                try:
                    if _is_ours_alone(file):
                        os.unlink(name, dir_fd=directory)
                        removed += 1
                finally:
                    os.close(file)
    return removed


def _is_ours_alone(file: int) -> bool:
    """Lock a file, if nobody else has."""
    import fcntl  # not there on every system that the rest runs on

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _opened(folder: Path, *, is_made: bool = False) -> Iterator[int]:
    """The folder's descriptor. Whoever replaces the folder later changes nothing for those who have it.

    Raises:
        FolderError: if others may write to it, or read it, or it is a link.
    """
    if is_made:
        with suppress(FileExistsError):
            folder.mkdir(0o700)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(directory)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise FolderError(f"{folder} is not this user's alone")
        yield directory
    finally:
        os.close(directory)
