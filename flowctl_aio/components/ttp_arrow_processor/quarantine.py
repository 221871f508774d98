"""Where ledgers go that cannot be read: one file each, as they came, with the reason beside it.

Their names come from the sequence number alone, since nothing else about such a ledger is to be trusted.
A folder holds a bounded number of them: a stream that fills it is broken, and has to stop.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from flowctl_aio.durable import sync
from flowctl_aio.errors import LedgerDecodeError

MOST_LEDGERS = 1000


class Quarantine:
    """A folder for ledgers that cannot be read. Made when the first one comes; files are the owner's alone (0600).

    Args:
        folder: where; nothing else should be in it.
        most: how many ledgers it may hold.
    """

    def __init__(self, folder: str | Path, *, most: int = MOST_LEDGERS) -> None:
        self.folder = Path(folder)
        self.most = most

    def keep(self, sequence: int, xdr: bytes, error: LedgerDecodeError) -> Path:
        """Stores a ledger, durably, and returns its file. The same ledger again takes no second place.

        Raises:
            LedgerDecodeError: the given one with more to it, if there is no room or it cannot be written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._place(sequence, xdr)
            facts = f"{error}\n{len(xdr)} bytes, sha256 {sha256(xdr).hexdigest()}\n"
            # The ledger last: where it is, its reason is.
            _write(path.with_suffix(".reason"), facts.encode())
            _write(path, xdr)
            sync(self.folder)
        except OSError as problem:
            raise _lost(error, f"cannot be quarantined: {problem}") from problem
        except _FullError as problem:
            raise _lost(error, f"finds no room in {self.folder}: {problem}") from error
        return path

    def _place(self, sequence: int, xdr: bytes) -> Path:
        """A free name for the ledger, or that of its equal."""
        path, count = self.folder / f"ledger-{sequence}.xdr", 1
        while path.exists():
            if path.stat().st_size == len(xdr) and path.read_bytes() == xdr:
                return path
            count += 1
            path = self.folder / f"ledger-{sequence}-{count}.xdr"
        held = sum(entry.name.endswith(".xdr") for entry in os.scandir(self.folder))
        if held >= self.most:
            raise _FullError(f"it holds {held} ledgers")
        return path


class _FullError(Exception):
    """No room for another ledger."""


def _lost(error: LedgerDecodeError, why: str) -> LedgerDecodeError:
    return LedgerDecodeError(f"{error.reason}; and it {why}", ledger=error.ledger, offset=error.offset)


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, under this name."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)  # of a process that died
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
