"""The same line again and again → the first one, a few of the rest with their count, and the end with its length."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_KEYS = 256
NO_FIELDS: Mapping[str, Any] = {}


@dataclass(slots=True)
class _Outage:
    since: float
    logged: float
    count: int = 0


class Repeats:
    """Lines about a thing that keeps failing.

    The first failure is logged, then the 10th, the 100th and so on, and one whenever `interval` seconds have passed
    without a line. When the thing works again, one line says how long it did not.

    Args:
        logger: where the lines go.
        interval: of an outage, how long it may go on without a line, in seconds.
        fields: go with every line as `extra`, such as the service's id; never anything secret.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        interval: float = 60.0,
        fields: Mapping[str, Any] = NO_FIELDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger, self._interval, self._clock = logger, interval, clock
        self._fields = dict(fields)
        self._outages: dict[str, _Outage] = {}

    def failed(
        self, key: str, message: str, *args: object, level: int = logging.WARNING, fields: Mapping[str, Any] = NO_FIELDS
    ) -> bool:
        """`key` has failed; `message` with `args` says how. Returns whether a line was written."""
        now = self._clock()
        outage = self._outages.get(key)
        if outage is None:
            while len(self._outages) >= MAX_KEYS:  # keys may come from outside; the oldest one is forgotten
                del self._outages[next(iter(self._outages))]
            outage = self._outages[key] = _Outage(since=now, logged=now)
        outage.count += 1
        if not (_is_power_of_ten(outage.count) or now - outage.logged >= self._interval):
            return False
        outage.logged = now
        extra = {**self._fields, **fields, "repeats": outage.count}
        if outage.count == 1:
            self._logger.log(level, message, *args, extra=extra)
        else:
            # Formatted on its own: with mapping arguments the two could not share one line.
            text = message % args if args else message
            self._logger.log(level, "%s (%d times in %.1f s)", text, outage.count, now - outage.since, extra=extra)
        return True

    def recovered(
        self, key: str, message: str, *args: object, level: int = logging.INFO, fields: Mapping[str, Any] = NO_FIELDS
    ) -> bool:
        """`key` works; a line is written if it had failed before. Returns whether one was."""
        outage = self._outages.pop(key, None)
        if outage is None:
            return False
        seconds = self._clock() - outage.since
        extra = {**self._fields, **fields, "repeats": outage.count, "outage_seconds": round(seconds, 3)}
        text = message % args if args else message
        times = "1 failure" if outage.count == 1 else f"{outage.count} failures"
        self._logger.log(level, "%s after %s in %.1f s", text, times, seconds, extra=extra)
        return True


def _is_power_of_ten(count: int) -> bool:
    return str(count).strip("0") == "1"
