"""What the sink's files are called: data files, temporary files and records of commits.

A name is made of a date and of numbers only, so it cannot lead out of the folder,
and a name that is not exactly one of ours is somebody else's file, which is never touched.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from dataclasses import dataclass
from datetime import date
from itertools import count

MAX_LEDGER = 2**32 - 1
UNDATED = "__HIVE_DEFAULT_PARTITION__"
"""Where rows without a time go; readers of Hive partitions take it for null."""

TEMPORARY = "tmp"
RECORD = "commit"

_FOLDER = re.compile(rf"date=(\d{{4}}-\d{{2}}-\d{{2}}|{UNDATED})", re.ASCII)
_FILE = re.compile(r"ledgers-(\d{10})-(\d{10})\.parquet", re.ASCII)
_OWN = re.compile(
    rf"\.flowctl-([0-9a-f]{{8}})-(\d{{1,10}})-([0-9a-f]{{16}})-\d{{1,20}}\.({TEMPORARY}|{RECORD})", re.ASCII
)

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
# A restarted container has the process number of its predecessor; this tells the two apart.
_RUN = secrets.token_hex(8)
_NUMBERS = count()


@dataclass(frozen=True, slots=True, order=True)
class DataFile:
    """A file of the data set: the rows of one day, of ledgers `first` to `last`, both included.

    Attributes:
        date: `YYYY-MM-DD`, in UTC, or `UNDATED`.
    """

    date: str
    first: int
    last: int

    @property
    def folder(self) -> str:
        return f"date={self.date}"

    @property
    def path(self) -> str:
        """Its path under the folder of the data set."""
        return f"{self.folder}/ledgers-{self.first:010d}-{self.last:010d}.parquet"

    def overlaps(self, first: int, last: int) -> bool:
        """Whether it may hold rows of ledgers `first` to `last`, both included."""
        return self.first <= last and first <= self.last


def parse_folder(name: str) -> str | None:
    """Returns the date of a partition's folder; None if it is no such folder."""
    match = _FOLDER.fullmatch(name)
    return match[1] if match is not None and _is_date(match[1]) else None


def parse_data_path(path: str) -> DataFile | None:
    """Reads what `DataFile.path` writes; None if it is anything else."""
    folder, _, name = path.partition("/")
    day, match = parse_folder(folder), _FILE.fullmatch(name)
    if day is None or match is None:
        return None
    first, last = int(match[1]), int(match[2])
    return DataFile(day, first, last) if first <= last <= MAX_LEDGER else None


def new_name(kind: str) -> str:
    """Makes the name of a `TEMPORARY` or a `RECORD`: hidden from readers, and nobody else's."""
    return f".flowctl-{_HOST}-{os.getpid()}-{_RUN}-{next(_NUMBERS)}.{kind}"


def is_own(name: str, kind: str) -> bool:
    """Whether some sink made this name, here or elsewhere."""
    match = _OWN.fullmatch(name)
    return match is not None and match[4] == kind


def is_abandoned(name: str, kind: str) -> bool:
    """Whether a sink made this name whose process is certainly gone: it ran on this host, and no longer does."""
    match = _OWN.fullmatch(name)
    if match is None or match[4] != kind or match[1] != _HOST:
        return False
    pid = int(match[2])
    return match[3] != _RUN if pid == os.getpid() else not _is_running(pid)


def _is_running(pid: int) -> bool:
    if os.name != "posix" or pid < 1:
        return True  # where it cannot be asked without doing harm
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _is_date(text: str) -> bool:
    if text == UNDATED:
        return True
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
