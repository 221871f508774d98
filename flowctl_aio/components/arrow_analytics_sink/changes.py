"""One change of the data set: which temporary files take which names, and which files go.

A change of more than one step is written down before its first step, so that a crash between two steps
leaves something to finish it by. The record is gone before the next change begins.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flowctl_aio.durable import sync
from flowctl_aio.errors import ConfigError

from .names import RECORD, TEMPORARY, DataFile, is_own, new_name, parse_data_path


@dataclass(frozen=True, slots=True)
class Change:
    """Steps, in their order: first all moves, then all removals.

    Attributes:
        moves: name of a temporary file, and what it becomes; it replaces what has that name.
        removals: files that go; none of them is the target of a move.
    """

    moves: tuple[tuple[str, DataFile], ...]
    removals: tuple[DataFile, ...]

    @property
    def is_atomic(self) -> bool:
        """Whether a crash can only come before or after it."""
        return len(self.moves) + len(self.removals) <= 1

    def apply(self, out: Path, *, again: bool = False) -> None:
        """Take the steps; on the disk when this returns.

        Args:
            again: finishing what may have been begun: a temporary file that is gone has been moved.
        """
        folders = {file.folder for _, file in self.moves}
        for folder in sorted(folders):
            (out / folder).mkdir(exist_ok=True)
        for name, file in self.moves:
            try:
                (out / name).replace(out / file.path)
            except FileNotFoundError:
                if not again:
                    raise
        for folder in sorted(folders):
            sync(out / folder)
        for file in self.removals:
            (out / file.path).unlink(missing_ok=True)
        for folder in sorted({file.folder for file in self.removals} - folders):
            with suppress(OSError):  # it still has files, or is gone already
                (out / folder).rmdir()
            with suppress(FileNotFoundError):
                sync(out / folder)
        sync(out)

    def write(self, out: Path) -> Path:
        """Write the change down.

        Returns:
            The record, safely on the disk.
        """
        text = json.dumps(
            {
                "moves": [[name, file.path] for name, file in self.moves],
                "removals": [file.path for file in self.removals],
            }
        )
        temporary, record = out / new_name(TEMPORARY), out / new_name(RECORD)
        try:
            temporary.write_text(text)
            sync(temporary)
            temporary.replace(record)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(out)
        return record


def read_change(record: Path) -> Change:
    """Reads what `Change.write` wrote; names that are not of the sink's own making are not followed.

    Raises:
        ConfigError: if the file is no such record.
    """
    try:
        content = json.loads(record.read_text())
        moves = tuple((_temporary(name), _data_file(path)) for name, path in content["moves"])
        return Change(moves, tuple(_data_file(path) for path in content["removals"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{record} is not the record of a commit; look at it, and remove it") from error


def finish_change(out: Path, record: Path) -> None:
    """Finishes a change that a crash or a fault cut short, and removes its record."""
    read_change(record).apply(out, again=True)
    remove_record(record)


def remove_record(record: Path) -> None:
    """Removes the record of a finished change, for good when this returns.

    Finishing a change a second time is harmless only until the next one: that may use names which this one removed.
    """
    record.unlink(missing_ok=True)
    sync(record.parent)


def _temporary(name: str) -> str:
    if not is_own(name, TEMPORARY):
        raise ValueError(name)
    return name


def _data_file(path: str) -> DataFile:
    file = parse_data_path(path)
    if file is None:
        raise ValueError(path)
    return file
