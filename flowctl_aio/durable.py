"""What has to outlive a crash: a small file whose readers find the old content or the new one, never a part."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import anyio
import anyio.to_thread

from flowctl_aio.owner import OwnerTask, Started


async def write_durably(path: Path, content: bytes) -> None:
    """Replace the content of `path`; when this returns it is on the disk.

    Raises:
        OSError: if it cannot be written; the old content is then still there.

    Cancellation: waits until the file is written.
    """

    async def write(started: Started) -> None:
        started()
        await anyio.to_thread.run_sync(_write, path, content)

    # In a task of its own: asyncio would break off the wait for the thread, which then replaced, at any time later,
    # what somebody has written since.
    owner = OwnerTask(write, name=f"flowctl_aio write of {path.name}")
    owner.start_nowait()
    try:
        await owner.wait()
    except BaseException as broken:
        with anyio.CancelScope(shield=True):
            await owner.join()
        if owner.error is not None and owner.error is not broken:
            broken.add_note(f"{path} was not written: {owner.error}")
        raise


async def read_bounded(path: Path, limit: int) -> bytes | None:
    """The content of `path`, None if there is no such file; at most `limit` bytes and one more.

    Raises:
        OSError: if it cannot be read.

    Cancellation: safe at any point.
    """
    return await anyio.to_thread.run_sync(_read, path, limit)


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk when it returns. Blocks."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(path.parent)  # the new name, too, has to outlive a crash


def _read(path: Path, limit: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:
        return None
