"""Tell glibc to keep the memory of long messages. Only an application calls this; the library never does.

Out of the box, glibc gets memory for a long message from the kernel and gives it back when the message is done,
and the kernel clears each page again. With higher thresholds it keeps such memory and hands it out
again, which makes streams of messages from about half a MiB up much faster. The price is that the process stays as
large as it once was. The setting is of the whole process, and cannot be taken back.
"""

from __future__ import annotations

import ctypes
import platform

MIB = 1024 * 1024
# Numbers of `mallopt`, from <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def tune_malloc(mmap_threshold: int = 32 * MIB, trim_threshold: int = 512 * MIB) -> bool:
    """Have glibc reuse memory instead of returning it to the kernel, in the whole process and for good.

    Call it once, early, in a process that streams messages from about half a MiB up and has memory to spare.

    Args:
        mmap_threshold: up to this size memory comes out of the heap, in bytes; older glibc refuses more than 32 MiB.
        trim_threshold: free memory at the top of the heap that is kept, in bytes.

    Returns: whether it took; False where the C library is another than glibc.

    Source: mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Both in any case: one that took is better than none.
    took = [mallopt(_M_MMAP_THRESHOLD, mmap_threshold), mallopt(_M_TRIM_THRESHOLD, trim_threshold)]
    return all(took)


__all__ = ["tune_malloc"]
