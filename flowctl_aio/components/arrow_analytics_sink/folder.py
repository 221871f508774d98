"""The data set on the disk: which files there are, and how a commit changes them.

Of each ledger there is what was committed last. A commit of ledgers 150 to 300 over a file of 100 to 200
puts its own file in place, puts 100 to 149 in place, and then removes the old file: a reader sees whole files only,
and may for a moment see rows twice, but never misses any. Everything here blocks, and one call at a time may run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flowctl_aio.errors import ComponentError, ConfigError, SchemaMismatchError

from .changes import Change, finish_change, remove_record
from .columns import Columns, columns_of
from .names import RECORD, TEMPORARY, DataFile, is_abandoned, new_name, parse_data_path, parse_folder
from .parts import ParquetOptions, Part, open_parquet

logger = logging.getLogger(__name__)


class DataFolder:
    """The folder that a sink writes to. One process writes to a folder at a time; any number may read.

    Attributes:
        is_open: whether the files in it are known; false also after a commit failed half-way.
    """

    def __init__(self, path: Path, options: ParquetOptions) -> None:
        self.path = path
        self.is_open = False
        self._options = options
        self._files: set[DataFile] = set()
        self._unfinished: list[Path] = []

    def open(self) -> None:
        """Make the folder, finish or remove what a crash left behind, and list the files.

        Raises:
            ConfigError: if the folder cannot be made, read and written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / new_name(TEMPORARY)
            probe.touch(exist_ok=False)
            probe.unlink()
            self._recover()
            self._files = set(self._listed())
        except OSError as error:
            raise ConfigError(f"out={self.path} cannot be written: {error.strerror or error}") from error
        self.is_open = True

    def publish(self, parts: Sequence[Part], first: int, last: int) -> None:
        """Make `parts` what there is of ledgers `first` to `last`, both included; all of it, or nothing.

        The steps: the rest of files that reach out of the range is written to temporary files · the change is
        written down · new files get their names · rests get theirs · replaced files go · the record goes.
        A crash before the second step leaves everything as it was, one after it is made good by the next `open`.

        Args:
            parts: sealed, one for each date, with no ledger outside of the range. They are released.

        Raises:
            ComponentError: if the files in the folder contradict each other or cannot be read.
        """
        if not self.is_open:
            self.open()
        replaced = sorted(file for file in self._files if file.overlaps(first, last))
        rests: list[Part] = []
        try:
            for file in replaced:
                self._cut(file, first, last, rests)
            change = self._change([*parts, *rests], replaced)
            self._apply(change, [*parts, *rests])
        except BaseException:
            for rest in rests:
                rest.discard()
            raise
        self._files.difference_update(replaced)
        self._files.update(file for _, file in change.moves)

    def _change(self, parts: Sequence[Part], replaced: Sequence[DataFile]) -> Change:
        targets = {part.file for part in parts}
        if len(targets) < len(parts) or targets & (self._files - set(replaced)):
            raise ComponentError(f"{self.path} has ledgers in two files of one date; somebody else writes to it too")
        moves = tuple((part.path.name, part.file) for part in parts)
        return Change(moves, tuple(file for file in replaced if file not in targets))

    def _apply(self, change: Change, parts: Sequence[Part]) -> None:
        if not change.moves and not change.removals:
            return
        record = None if change.is_atomic else change.write(self.path)
        if record is not None:
            # It will be finished now or later, so the temporary files have to stay until it is.
            for part in parts:
                part.release()
        try:
            change.apply(self.path)
            if record is not None:
                remove_record(record)
        except BaseException:
            self.is_open = False
            if record is not None:
                self._unfinished.append(record)
            raise
        for part in parts:
            part.release()

    def _cut(self, file: DataFile, first: int, last: int, rests: list[Part]) -> None:
        """Copy the rows of `file` before `first` and after `last`, and add the parts to `rests`."""
        if first <= file.first and file.last <= last:
            return
        try:
            with open_parquet(self.path / file.path) as source:
                columns = columns_of(source.schema_arrow)
                for is_kept in (_before(columns, first), _after(columns, last)):
                    rest: Part | None = None
                    for group in range(source.num_row_groups):
                        rows = source.read_row_group(group).filter(is_kept)
                        if rows.num_rows and rest is None:
                            rest = Part(self.path, file.date, source.schema_arrow, columns, self._options)
                            rests.append(rest)
                        if rest is not None:
                            rest.write(rows)
                    if rest is not None:
                        rest.seal()
        except FileNotFoundError:
            logger.warning("%s is gone: somebody else removed it", self.path / file.path)
        except (pa.ArrowInvalid, SchemaMismatchError) as error:
            raise ComponentError(f"{self.path / file.path} is not a file that this sink wrote: {error}") from error

    def _recover(self) -> None:
        """Finish changes that were written down, then remove temporary files that no writer will come back to."""
        for record in self._unfinished:
            if record.exists():
                finish_change(self.path, record)
        self._unfinished.clear()
        names = sorted(entry.name for entry in self.path.iterdir())
        for name in names:
            if is_abandoned(name, RECORD):
                logger.warning("finishing a commit that was cut short in %s", self.path)
                finish_change(self.path, self.path / name)
        for name in names:
            if is_abandoned(name, TEMPORARY):
                (self.path / name).unlink(missing_ok=True)

    def _listed(self) -> Iterator[DataFile]:
        for folder in self.path.iterdir():
            if parse_folder(folder.name) is not None and folder.is_dir():
                for entry in folder.iterdir():
                    file = parse_data_path(f"{folder.name}/{entry.name}")
                    if file is not None:
                        yield file


def _before(columns: Columns, first: int) -> pc.Expression:
    return pc.field(columns.ledger) < pa.scalar(first, pa.int64())


def _after(columns: Columns, last: int) -> pc.Expression:
    return pc.field(columns.ledger) > pa.scalar(min(last, 2**63 - 1), pa.int64())
