"""The clocks of the control side: the one that planes' times are compared with, and the one that leases go by."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)


def since_boot() -> float:
    """Seconds on a clock that never goes back, and that goes on while the machine sleeps, where there is one.

    A lease runs out in that time as well, which `time.monotonic` does not tell on Linux.
    """
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)


_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
