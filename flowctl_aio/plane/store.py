"""Records in a SQLite file: what has been put, and then waited for, outlives the process.

A record has a kind, an id, and bytes that mean nothing here. Changes are written by a thread, in groups: those that
arrive while one group is being written make up the next. The file survives the death of the process at any
moment; it is not forced to the disk at each commit, so a power cut may take the last groups, but never the rest.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread

from flowctl_aio.errors import ConfigError, ControlError

logger = logging.getLogger(__name__)

# Kind and id of a record.
Key: TypeAlias = tuple[str, str]
# Makes the bytes of a record, in the writing thread; None removes it.
Change: TypeAlias = Callable[[], bytes] | None

_APPLICATION = 0x464C5750  # "FLWP": tells files of planes from other databases
_VERSION = 1
_CREATE = f"""
CREATE TABLE records (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, record BLOB NOT NULL, UNIQUE (kind, id)
);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
"""
# A pause after each group, as a multiple of what it took, and in seconds at most. The fewer groups, the cheaper is each
# change; who sends one at a time hardly notices, and under load a group takes long and the pause is all of this.
_PAUSE_FACTOR, _MAX_PAUSE = 8, 0.015
# Bytes of the smallest database.
_SMALLEST = 512
# Seconds to wait for somebody who is just letting go of the file.
_LOCK_PATIENCE = 0.1
# Pages of the log after which it is folded into the file, 16 MiB: that is when the disk is waited for.
_LOG_PAGES = 4096
# Records in one statement. Only some sizes, filled up with nothing, so that their statements stay prepared.
_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)


class StoreError(ControlError):
    """A change is not in the file, and why."""


class _Group:
    """Changes that are written together."""

    def __init__(self) -> None:
        self.changes: dict[Key, Change] = {}
        self.over = anyio.Event()
        self.problem = "the plane ended before it wrote this"


class Store:
    """Records of one open file; made by `open_store`.

    Attributes:
        found: what stood in the file when it was opened, by kind, in the order in which the ids first came.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, found: Mapping[str, Mapping[str, bytes]]) -> None:
        self._path, self._connection, self.found = path, connection, found
        self._open, self._flying = _Group(), _Group()
        self._flying.problem = ""
        self._flying.over.set()
        self._wanted = anyio.Event()
        self._ailing = False
        self._one_thread = anyio.CapacityLimiter(1)

    def put(self, kind: str, record_id: str, change: Change) -> None:
        """Note a change; it goes into the file with the next group."""
        self._open.changes[kind, record_id] = change
        if not self._wanted.is_set():
            self._wanted.set()

    async def saved(self) -> None:
        """Return when everything that has been put is in the file.

        Raises:
            StoreError: if it could not be written; it is tried again with the next group.

        Cancellation: the changes are written all the same.
        """
        group = self._flying
        if self._open.changes:
            group = self._open
            self._wanted.set()  # after a failure it is not
        await group.over.wait()
        if group.problem:
            raise StoreError(group.problem)

    async def keep_writing(self) -> None:
        """Write group after group, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            start = anyio.current_time()
            await self.write()
            await anyio.sleep(min((anyio.current_time() - start) * _PAUSE_FACTOR, _MAX_PAUSE))

    async def write(self) -> None:
        """Write the group that is open.

        Cancellation: waits for the disk.
        """
        group, self._open = self._open, _Group()
        if not group.changes:
            return
        self._flying = group
        try:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._commit, group.changes, limiter=self._one_thread)
        except sqlite3.Error as error:
            group.problem = f"the plane cannot write its file: {error}"
            # What has come since is newer.
            self._open.changes = {**group.changes, **self._open.changes}
            if not self._ailing:
                logger.error("cannot write %s, and will try again: %s", self._path, error)
            self._ailing = True
        else:
            if self._ailing:
                logger.warning("%s can be written again", self._path)
            self._ailing, group.problem = False, ""
        finally:
            group.over.set()

    def _commit(self, changes: Mapping[Key, Change]) -> None:
        rows = [(*key, change()) for key, change in changes.items() if change is not None]
        gone = [key for key, change in changes.items() if change is None]
        if not gone and len(rows) <= _SIZES[-1]:  # one statement is a transaction by itself
            self._put_rows(rows)
            return
        with _transaction(self._connection):
            self._connection.executemany("DELETE FROM records WHERE kind = ? AND id = ?", gone)
            for start in range(0, len(rows), _SIZES[-1]):
                self._put_rows(rows[start : start + _SIZES[-1]])

    def _put_rows(self, rows: Sequence[tuple[str, str, bytes]]) -> None:
        """One statement for all of them: each would have to take the interpreter's lock back from the loop."""
        size = next(size for size in _SIZES if len(rows) <= size)
        values: list[str | bytes | None] = [value for row in rows for value in row]
        self._connection.execute(_PUT[size], values + [None] * (3 * size - len(values)))


_PUT = {
    size: f"INSERT INTO records (kind, id, record) SELECT * FROM (VALUES {', '.join(['(?, ?, ?)'] * size)}) "  # noqa: S608
    "WHERE column1 IS NOT NULL ON CONFLICT (kind, id) DO UPDATE SET record = excluded.record"
    for size in _SIZES
}


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[Store]:
    """Keep records in the file at `path` while the block runs; it is made if it is not there, with mode 0600.

    Raises:
        ConfigError: if another plane has it open, it is damaged or no file of a plane, or it cannot be opened.
    """
    connection, found = await anyio.to_thread.run_sync(_open, path)
    try:
        store = Store(path, connection, found)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.keep_writing)
            try:
                yield store
            finally:
                tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await store.write()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(connection.close)


def _open(path: Path) -> tuple[sqlite3.Connection, dict[str, dict[str, bytes]]]:
    _create(path)
    with _as_config_error(path):
        # Absolute, for some relative names mean something else to SQLite, such as `:memory:`.
        connection = sqlite3.connect(
            path.absolute(), timeout=_LOCK_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            # Before anything is changed, for the file may be somebody else's. The lock stays until the end.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            with _transaction(connection, "EXCLUSIVE"):
                _claim(connection, path)
            path.chmod(0o600)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise ConfigError(f"{path} is damaged: {' '.join(str(verdict).split())}")
            found: dict[str, dict[str, bytes]] = {}
            for kind, record_id, record in connection.execute("SELECT kind, id, record FROM records ORDER BY number"):
                found.setdefault(kind, {})[record_id] = record
        except BaseException:
            connection.close()
            raise
        return connection, found


def _create(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass  # it is not even opened here: closing a file lets go of locks that this process has on it
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}") from error
    if 0 < path.stat().st_size < _SMALLEST:  # SQLite would take it for an empty one
        raise ConfigError(f"cannot use {path} as the file of a plane: file is not a database")


def _claim(connection: sqlite3.Connection, path: Path) -> None:
    """Make an empty database a plane's, or see that it is one."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application, version, tables) == (0, 0, 0):
        for statement in _CREATE.split(";"):
            connection.execute(statement)
    elif application != _APPLICATION:
        raise ConfigError(f"{path} is a database, but not one of a plane")
    elif version != _VERSION:
        raise ConfigError(f"{path} has format {version}, and this version of the plane reads format {_VERSION}")


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _as_config_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise ConfigError(f"{path} is in use: another plane has it open") from error
        raise ConfigError(f"cannot use {path} as the file of a plane: {error}") from error
