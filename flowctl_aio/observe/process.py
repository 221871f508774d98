"""How much memory this process takes, without a library for it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

STATM = Path("/proc/self/statm")
# Asking costs as much as a good part of a beat, and the answer does not change that fast.
MAX_AGE = 1.0


class ResidentMemory:
    """What this process takes, asked at most once a second."""

    def __init__(self) -> None:
        self._asked_at, self._bytes = -MAX_AGE, 0

    def read(self) -> int:
        """Resident memory in bytes, see `rss_bytes`."""
        now = time.monotonic()
        if now - self._asked_at >= MAX_AGE:
            self._asked_at, self._bytes = now, rss_bytes()
        return self._bytes


def rss_bytes() -> int:
    """Resident memory in bytes: the present one on Linux, elsewhere the highest so far, 0 where nobody tells."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    try:
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
