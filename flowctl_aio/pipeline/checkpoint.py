"""Where a pipeline keeps how far it has come for certain: in a file, or at its source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import anyio.to_thread

from flowctl_aio.durable import read_bounded, write_durably
from flowctl_aio.errors import ConfigError
from flowctl_aio.streams.source import SourceClient
from flowctl_aio.types import Cursor

MAX_BYTES = 4096


class FileCheckpoint:
    """A cursor in a file of its own, which is replaced as a whole and is on the disk when `save` returns.

    Args:
        path: of the file; its folder must be there. It belongs to one pipeline at a time.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"FileCheckpoint({str(self.path)!r})"

    async def load(self) -> Cursor | None:
        """The cursor that was saved last; None if there is no file.

        Raises:
            ConfigError: if the file is something else: starting anew would do everything again without a word; or if
                its folder is not there, which nobody shall learn from the first `save`.
            OSError: if it cannot be read.

        Cancellation: safe at any point.
        """
        content = await read_bounded(self.path, MAX_BYTES)
        if content is None:
            if not await anyio.to_thread.run_sync(self.path.parent.is_dir):
                raise ConfigError(f"{self.path} cannot be a checkpoint: its folder is not there")
            return None
        try:
            found: Any = json.loads(content) if len(content) <= MAX_BYTES else None
            return Cursor.parse(found["cursor"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{self.path} is not a checkpoint; remove it to start anew") from error

    async def save(self, cursor: Cursor) -> None:
        """Return when `cursor` is on the disk.

        Raises:
            OSError: if it cannot be written; what was there stays.

        Cancellation: waits until it is written.
        """
        await write_durably(self.path, json.dumps({"cursor": str(cursor)}).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class SourceCheckpoint:
    """A cursor that the source keeps, under a key that belongs to one pipeline.

    As durable as the source makes it: ours keeps a file if its `state_file` is set.

    Args:
        key: of the state at the source.
    """

    key: str

    def at(self, source: SourceClient) -> CheckpointAtSource:
        """The checkpoint, once its source is known."""
        return CheckpointAtSource(source, self.key)


@dataclass(frozen=True, slots=True)
class CheckpointAtSource:
    """A cursor that `source` keeps under `key`."""

    source: SourceClient
    key: str

    async def load(self) -> Cursor | None:
        """The cursor that was saved last; None before the first.

        Raises:
            ConfigError: if what the source keeps is no cursor.
            StreamError: if the source keeps no state, or does not answer.

        Cancellation: safe at any point.
        """
        state = await self.source.get_state(self.key)
        if state.resume_token and state.cursor is None:
            raise ConfigError(f"the source at {self.source.peer.address} keeps no cursor under {self.key!r}")
        return state.cursor

    async def save(self, cursor: Cursor) -> None:
        """Return when the source has `cursor`.

        Raises:
            StreamError: if it does not take it, or does not answer.

        Cancellation: it may or may not be saved.
        """
        await self.source.save_state(self.key, {}, cursor=cursor)
