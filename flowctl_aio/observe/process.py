"""How much memory this process takes, without a library for it."""

from __future__ import annotations

import sys
from pathlib import Path

STATM = Path("/proc/self/statm")


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
