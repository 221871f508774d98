"""The seam to object storage: a folder, S3, GCS or a web server, as one thing that gives bytes for a key.

Everything of obstore stays behind this file, its errors too: a key that is not there is None, a fault that asking
again cannot mend is a LakeError, and one that may pass is a PassingError for the caller's retry loop.
"""

from __future__ import annotations

import atexit
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

import anyio

from flowctl_aio.components.stellar.lake.keys import KNOWN_EXTENSIONS, parse_object_name
from flowctl_aio.errors import LakeError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

MAX_RETRY_PAUSE = 60.0
"""Seconds; however many attempts failed, the next comes after this at the latest."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_CREDENTIALS = re.compile(r"[^:/]*://[^/]*@")
_REMOTE = ("s3", "gs", "http", "https")
_MAX_LISTED = 10_000
_EXIT_PAUSE = 0.1


class PassingError(Exception):
    """Something went wrong that may go right the next time."""


class LakeStore:
    """Reads whole objects, and finds out what they are called. Each call asks once: retrying is the caller's.

    Attributes:
        url: of the lake, without a slash at its end.
        lists: whether such a store can tell what is in it; web servers cannot.
    """

    def __init__(self, url: str, store: ObjectStore, *, lists: bool = True) -> None:
        self.url = url
        self.lists = lists
        self._store = store

    def __repr__(self) -> str:
        return f"<LakeStore {self.url}>"

    async def get(self, key: str) -> bytes | None:
        """Reads the object `key`; None when there is no such object.

        Raises:
            LakeError: if access is denied.
            PassingError: if anything else goes wrong.

        Cancellation: gives the request up; nothing is kept.
        """
        import obstore
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            answer = await obstore.get_async(self._store, key)
            return bytes(await answer.bytes_async())
        except FileNotFoundError:
            return None
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise LakeError(f"{self.url}/{key} may not be read: {_first_line(error)}") from error
        except (BaseError, OSError) as error:
            raise PassingError(_first_line(error)) from error

    async def find_extension(self) -> str | None:
        """Finds the extension of the lake's objects from the first one that a listing shows.

        Returns:
            None when the first 10 000 names of the listing hold no batch of ledgers.

        Raises:
            LakeError: if listing is denied.
            PassingError: if anything else goes wrong.

        Cancellation: gives the listing up; nothing is kept.
        """
        import obstore

        seen = 0
        with self._listing():
            async for page in obstore.list(self._store, chunk_size=50):
                for entry in page:
                    parsed = parse_object_name(entry["path"].rpartition("/")[2])
                    if parsed is not None and parsed[2] in KNOWN_EXTENSIONS:
                        return parsed[2]
                seen += len(page)
                if seen >= _MAX_LISTED:
                    return None
        return None

    async def list_folders(self) -> list[str]:
        """Lists the folders at the root, without what is in them.

        Raises:
            LakeError: if listing is denied.
            PassingError: if anything else goes wrong.

        Cancellation: gives the listing up; nothing is kept.
        """
        import obstore

        with self._listing():
            found = await obstore.list_with_delimiter_async(self._store)
        return [prefix.rstrip("/") for prefix in found["common_prefixes"]]

    async def list_newest(self, folder: str) -> list[str]:
        """Lists the base names of objects in a folder (empty: the root), from the newest on.

        A bucket lists in the order of names, which is from the newest on: there it is the first page that holds
        a batch of ledgers. A file system has no order, so there it is all of them.

        Raises:
            LakeError: if listing is denied.
            PassingError: if anything else goes wrong.

        Cancellation: gives the listing up; nothing is kept.
        """
        import obstore
        from obstore.store import LocalStore

        names: list[str] = []
        with self._listing():
            async for page in obstore.list(self._store, prefix=folder or None, chunk_size=1000):
                names += [entry["path"].rpartition("/")[2] for entry in page]
                if not isinstance(self._store, LocalStore) and any(map(parse_object_name, names)):
                    break
        return sorted(names)

    @contextmanager
    def _listing(self) -> Iterator[None]:
        """Turns the errors of a listing into ours."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise LakeError(f"{self.url} may not be listed: {_first_line(error)}") from error
        except (BaseError, OSError) as error:
            raise PassingError(_first_line(error)) from error


@cache
def _leave_time_at_exit() -> None:
    """Let obstore's threads finish before the interpreter is taken down.

    After a result is delivered, the thread that brought it still has Python objects to let go of; if the interpreter
    ends in that moment, the process aborts. Giving up the lock for a moment at exit is all they need.
    """
    atexit.register(time.sleep, _EXIT_PAUSE)


def open_store(url: str, *, anonymous: bool = False, region: str | None = None) -> LakeStore:
    """Makes a store for a lake's URL; asks nothing yet, except whether a local folder is there.

    Args:
        url: a folder's path, or a URL of scheme file, s3, gs, http or https.
        anonymous: send no credentials (public buckets).
        region: of an S3 bucket.

    Raises:
        LakeError: if the URL has another scheme, holds a password, cannot be understood,
            or names a folder that does not exist.
    """
    _leave_time_at_exit()
    match = _SCHEME.match(url)
    if match and _CREDENTIALS.match(url):
        # They would end in messages and logs, the store's own ones too.
        raise LakeError(f"{_CREDENTIALS.sub(match[0], url)}: a lake's URL may not hold a user or password")
    scheme = match[1].lower() if match else "file"
    if scheme == "file":
        return LakeStore(url.rstrip("/") or url, _local_store(url, is_url=match is not None))
    if scheme not in _REMOTE:
        raise LakeError(f"{url}: a lake is a folder or a URL of scheme file, {', '.join(_REMOTE)}, not {scheme}")
    store = _remote_store(url, scheme, anonymous=anonymous, region=region)
    return LakeStore(url.rstrip("/"), store, lists=scheme in ("s3", "gs"))


def _local_store(url: str, *, is_url: bool) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore

    path = Path(url)
    if is_url:
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost"):
            raise LakeError(f"{url}: a file URL has three slashes, or names this computer: {parts.netloc!r} does not")
        path = Path(unquote(parts.path))
    if not path.is_dir():
        raise LakeError(f"{url}: there is no such folder")
    try:
        return LocalStore(path.absolute())
    except (BaseError, OSError) as error:
        raise LakeError(f"{url} cannot be opened: {_first_line(error)}") from error


def _remote_store(url: str, scheme: str, *, anonymous: bool, region: str | None) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    # Retrying is done in one place, and that is ours: it counts attempts and says what happened.
    options: dict[str, Any] = {"retry_config": {"max_retries": 0}}
    if scheme == "http":
        options["client_options"] = {"allow_http": True}
    if anonymous and scheme in ("s3", "gs"):
        options["skip_signature"] = True
    if region is not None and scheme == "s3":
        options["region"] = region
    try:
        return from_url(url, **options)
    except (BaseError, OSError, ValueError, TypeError) as error:
        raise LakeError(f"{url} cannot be opened: {_first_line(error)}") from error


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    *,
    what: str,
    retries: int,
    interval: float,
) -> T:
    """Calls `attempt` until it gives something, as long as what goes wrong may pass.

    Args:
        attempt: asks once.
        what: what is being read, for the message.
        retries: attempts after the first one.
        interval: seconds before the second attempt, doubled for each one after it.

    Raises:
        LakeError: if the last attempt fails too.

    Cancellation: ends the attempt or the pause at once.
    """
    failed = 0
    while True:
        try:
            return await attempt()
        except PassingError as error:
            failed += 1
            if failed > retries:
                times = "once" if failed == 1 else f"{failed} times"
                raise LakeError(f"{what} cannot be read, tried {times}: {error}") from error
        await anyio.sleep(retry_pause(failed, interval, jitter=random.random()))


def retry_pause(failed: int, interval: float, *, jitter: float) -> float:
    """Seconds to wait after `failed` attempts: doubling, capped, and shortened by up to half by `jitter` (0 to 1)."""
    whole = min(interval * 2.0 ** min(failed - 1, 32), MAX_RETRY_PAUSE)
    return whole * (1 - jitter / 2)


def _first_line(error: BaseException) -> str:
    # What follows in obstore's messages is a dump of its own structures.
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
