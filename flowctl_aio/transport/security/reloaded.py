"""A value that is made from files, and made again when they have changed. It knows neither TLS nor tokens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Generic, TypeAlias, TypeVar

from flowctl_aio.errors import ConfigError

logger = logging.getLogger(__name__)

T = TypeVar("T")
# What tells two versions of a file apart: when it was written, how long it is, and which file it is.
Stamp: TypeAlias = tuple[int, int, int] | None
# Seconds between two looks at the files of a channel. A look is a `stat` for each of them, on the event loop.
LOOK_INTERVAL = 1.0


class Reloaded(Generic[T]):
    """The newest good value. A file that is half written, wrong or gone leaves the last one in place.

    There is no task behind it: whoever asks for the value looks at the files. It may be asked from any thread.

    Args:
        what: is made of the files, for the log.
        load: makes the value; it may raise ConfigError, whose text must not tell what a file holds.
        files: what `load` reads.
        every_look: look each time, not only once in `LOOK_INTERVAL`.

    Raises:
        ConfigError: what `load` raises the first time.
    """

    def __init__(
        self,
        what: str,
        load: Callable[[], T],
        files: Iterable[str | PathLike[str]],
        *,
        every_look: bool = False,
    ) -> None:
        self._what, self._load, self._files = what, load, [Path(file) for file in files]
        self._every_look, self._lock = every_look, Lock()
        self._looked = self._failed = time.monotonic()
        self._problem = ""
        # Taken before the files are read: what changes meanwhile is found at the next look.
        self._stamps = self._bad_stamps = self._look()
        self._value = load()

    def get(self) -> T:
        """The value, made again if its files have changed. Never fails: it was good once."""
        if self._files:
            with self._lock:
                now = time.monotonic()
                if self._every_look or now - self._looked >= LOOK_INTERVAL:
                    self._looked = now
                    self._renew(now)
        return self._value

    def _renew(self, now: float) -> None:
        stamps = self._look()
        if stamps == self._stamps:
            return
        if stamps == self._bad_stamps and now - self._failed < LOOK_INTERVAL:
            return  # else whoever may ask as often as he likes could have files read as often
        try:
            value = self._load()
        except ConfigError as error:
            self._bad_stamps, self._failed = stamps, now
            if str(error) != self._problem:
                self._problem = str(error)
                logger.warning("%s stays as it was, though its files have changed: %s", self._what, error)
            return
        self._value, self._stamps, self._problem = value, stamps, ""
        logger.info("%s is read again, because its files have changed", self._what)

    def _look(self) -> list[Stamp]:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> Stamp:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
