"""Some plain files as one run of ledgers, in their order, whatever the order of the files.

Which ledger a file begins with is found out when the files are opened, by reading a few bytes of each.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from flowctl_aio.components.stellar.files.containers import (
    HEAD_BYTES,
    Form,
    first_sequence,
    form_of,
    read_ledgers,
)
from flowctl_aio.components.stellar.files.unpacking import open_bytes
from flowctl_aio.components.stellar.lake.objects import StoredLedger
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.errors import CodecError, ConfigError, FrameCorruptError, MissingLedgerError

# A thread's trip for each small ledger would cost more than the ledger.
_AHEAD_LEDGERS, _AHEAD_BYTES = 16, 4 << 20


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    form: Form
    first: int


class LedgerFiles:
    """Files that hold ledgers. Holds none open: there is nothing to close.

    Attributes:
        where: a name for messages.
        passphrase: of the network, which no file tells.
        first: the first ledger that they hold.
        bytes_read: stored bytes read so far, over all ranges.
    """

    def __init__(self, files: Sequence[_File], passphrase: str) -> None:
        self._files = sorted(files, key=lambda file: file.first)
        self.passphrase = passphrase
        self.first = self._files[0].first
        more = len(files) - 1
        self.where = f"{self._files[0].path}{f' and {more} more' if more else ''}"
        self.bytes_read = 0
        self._limiter = CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"<LedgerFiles {self.where}>"

    @classmethod
    async def open(cls, paths: Sequence[Path], *, network: str) -> LedgerFiles:
        """Looks at each file.

        Args:
            paths: files, or folders for all files in and below them but those with a dot in front.
            network: name or passphrase.

        Raises:
            ConfigError: if there is no file, or the network has no known name.
            CodecError: if a file holds no ledgers.
            OSError: if a file cannot be read.

        Cancellation: takes effect when the file that is being looked at is done.
        """
        passphrase = passphrase_of(network)
        files = [await to_thread.run_sync(_look, path) for path in await to_thread.run_sync(_expand, paths)]
        if not files:
            raise ConfigError(f"there is no file in {', '.join(map(str, paths)) or 'no paths'}")
        return cls(files, passphrase)

    async def find_last(self) -> int:
        """Reads the last file for the last ledger.

        Raises:
            CodecError: if it cannot be read.

        Cancellation: takes effect when the file is read.
        """

        def read() -> int:
            last = self._files[-1].first
            with open_bytes(self._files[-1].path) as data:
                for ledger in read_ledgers(data, self._files[-1].form):
                    last = ledger.sequence
            return last

        return await to_thread.run_sync(read, limiter=self._limiter)

    @asynccontextmanager
    async def open_ledgers(self, first: int, last: int | None = None) -> AsyncIterator[AsyncIterable[StoredLedger]]:
        """Reads a range of ledgers, in order, without gaps.

        Args:
            first: the first ledger wanted.
            last: the last ledger wanted, inclusive; None ends where the files do. They are not watched for more.

        Yields:
            The ledgers, as an async iterator, whose errors are

            - MissingLedgerError: if one is not in the files, after all that lie before it;
            - CodecError: if a file is cut or broken, comes out of order or twice, or its ledgers do not chain;
            - OSError: if a file cannot be read any more.

        Cancellation: takes effect when the ledgers that are being read are there; no file stays open.
        """
        if first < 1 or (last is not None and last < first):
            raise ConfigError(f"a range of ledgers goes from 1 on and does not end before it starts: {first} to {last}")
        with closing(self._read(first, last)) as found:
            async with aclosing(self._some_at_a_time(found)) as ledgers:
                yield ledgers

    async def _some_at_a_time(self, found: Iterator[StoredLedger]) -> AsyncGenerator[StoredLedger, None]:
        failure: list[Exception] = []

        def take() -> list[StoredLedger]:
            taken: list[StoredLedger] = []
            size = 0
            try:
                for ledger in found:
                    taken.append(ledger)
                    size += len(ledger.xdr)
                    if len(taken) >= _AHEAD_LEDGERS or size >= _AHEAD_BYTES:
                        break
            except Exception as error:  # noqa: BLE001 - raised below, after the ledgers before it
                failure.append(error)
            return taken

        while taken := await to_thread.run_sync(take, limiter=self._limiter):
            for ledger in taken:
                yield ledger
            if failure:
                break
        if failure:
            raise failure[0]

    def _read(self, first: int, last: int | None) -> Generator[StoredLedger, None, None]:
        """The range out of the files; blocks."""
        previous: StoredLedger | None = None
        expected = first
        for at, file in enumerate(self._files):
            if at + 1 < len(self._files) and self._files[at + 1].first <= first:
                continue  # it ends before the range begins
            for ledger in self._read_file(file):
                previous = _follow(previous, ledger, file.path)
                if ledger.sequence > expected:
                    raise MissingLedgerError(expected, self.where)
                if ledger.sequence == expected:
                    expected += 1
                    yield ledger
                    if ledger.sequence == last:
                        return
        if expected == first or last is not None:
            raise MissingLedgerError(expected, self.where)

    def _read_file(self, file: _File) -> Iterator[StoredLedger]:
        with open_bytes(file.path) as data:
            for ledger in read_ledgers(data, file.form):
                self.bytes_read += ledger.stored_bytes
                yield ledger


def _follow(previous: StoredLedger | None, ledger: StoredLedger, path: Path) -> StoredLedger:
    """Checks that a ledger comes behind the one before it; a gap between them is not looked for here."""
    if previous is not None and ledger.sequence <= previous.sequence:
        again = "again" if ledger.sequence == previous.sequence else f"behind ledger {previous.sequence}"
        raise FrameCorruptError(f"{path}: ledger {ledger.sequence} comes {again}")
    if previous is not None and ledger.sequence == previous.sequence + 1:
        reason = ledger.break_after(previous)
        if reason is not None:
            raise FrameCorruptError(f"{path}: {reason}")
    return ledger


def _expand(paths: Sequence[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = (other for other in sorted(path.rglob("*")) if other.is_file())
            found.update(dict.fromkeys(other for other in inside if not _is_hidden(other.relative_to(path))))
        else:
            found[path] = None
    return list(found)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _look(path: Path) -> _File:
    """Finds out what a file is, and with which ledger it begins; blocks."""
    with open_bytes(path) as data:
        head = data.read(HEAD_BYTES)
    form = form_of(head)
    if form is None:
        raise FrameCorruptError(f"{path} holds no ledgers in any form that is known")
    if form == "answer":
        with open_bytes(path) as data:
            first = next((ledger.sequence for ledger in read_ledgers(data, form)), None)
        if first is None:
            raise FrameCorruptError(f"{path} is an answer without ledgers")
        return _File(path, form, first)
    try:
        return _File(path, form, first_sequence(head, form))
    except CodecError as error:
        raise FrameCorruptError(f"{path}: {error}") from error
