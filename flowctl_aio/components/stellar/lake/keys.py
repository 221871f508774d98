"""Where a ledger lies in a data lake: the names of partitions and objects.

Takes the two sizes of a lake and gives object keys and ranges, both by arithmetic alone. It knows nothing of stores,
and never makes a key from a name that a lake told.

Source: SEP-54, "Data Lake Structure".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from flowctl_aio.errors import ConfigError

FIRST_LEDGER = 2
"""The first ledger of any network that has metadata."""

LAST_LEDGER = 0xFFFFFFFF

KNOWN_EXTENSIONS = ("xdr.zst", "xdr.zstd")
"""What SEP-54 says, and what exporters wrote until about August 2025."""

_OBJECT_NAME = re.compile(r"[0-9A-F]{8}--(\d+)(?:-(\d+))?\.(xdr\.[A-Za-z0-9._-]+)")
_PARTITION_NAME = re.compile(r"[0-9A-F]{8}--(\d{1,10})-\d{1,10}")
_EXTENSION = re.compile(r"xdr\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class LakeLayout:
    """How ledgers are cut into objects and objects into partitions.

    Attributes:
        ledgers_per_batch: ledgers in one object.
        batches_per_partition: objects in one partition; with 1 there are no partition folders.
        extension: what object names end with, without the first dot.
    """

    ledgers_per_batch: int
    batches_per_partition: int
    extension: str = KNOWN_EXTENSIONS[0]

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be a whole number from 1 on, not {size!r}"
            for name in ("ledgers_per_batch", "batches_per_partition")
            if not isinstance(size := getattr(self, name), int) or size < 1
        ]
        if not _EXTENSION.fullmatch(self.extension):
            problems.append(f"extension must look like 'xdr.zst', not {self.extension!r}")
        if problems:
            raise ConfigError(*problems)

    def batch_of(self, sequence: int) -> tuple[int, int]:
        """Gives the first and last ledger (inclusive) of the object that holds `sequence`."""
        start = sequence // self.ledgers_per_batch * self.ledgers_per_batch
        return start, start + self.ledgers_per_batch - 1

    def batches(self, first: int, last: int | None) -> Iterator[tuple[int, int]]:
        """Gives the ranges of the objects that hold `first` to `last` (inclusive; None: to the last number)."""
        end = LAST_LEDGER if last is None else last
        start = self.batch_of(first)[0]
        while start <= end:
            yield start, start + self.ledgers_per_batch - 1
            start += self.ledgers_per_batch

    def key_of(self, sequence: int) -> str:
        """Gives the key, relative to the lake, of the object that holds `sequence`."""
        start, end = self.batch_of(sequence)
        # The prefix counts down, so that a plain listing runs from the newest ledger to the oldest.
        name = f"{LAST_LEDGER - start:08X}--{start}"
        if self.ledgers_per_batch > 1:
            name += f"-{end}"
        name += f".{self.extension}"
        partition = self.partition_of(sequence)
        return f"{partition}/{name}" if partition else name

    def partition_of(self, sequence: int) -> str:
        """Gives the partition that holds `sequence`; the empty text in a lake without partitions."""
        if self.batches_per_partition == 1:
            return ""
        size = self.ledgers_per_batch * self.batches_per_partition
        start = sequence // size * size
        return f"{LAST_LEDGER - start:08X}--{start}-{start + size - 1}"


def parse_partition_name(name: str) -> int | None:
    """Reads the first ledger from a partition's name; None when it is none."""
    match = _PARTITION_NAME.fullmatch(name)
    return None if match is None else int(match[1])


def parse_object_name(name: str) -> tuple[int, int, str] | None:
    """Reads first ledger, last ledger (inclusive) and extension from an object's base name.

    Returns:
        None when the name is not that of a batch of ledgers, like `.config.json`.
    """
    match = _OBJECT_NAME.fullmatch(name)
    if match is None:
        return None
    first, last, extension = match.groups()
    return int(first), int(last or first), extension
