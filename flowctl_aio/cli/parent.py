"""Who started this process, and whether it still lives."""

from __future__ import annotations

import os

_remembered: list[int] = []


def remember_parent() -> None:
    """Note the parent, as early as can be: of one that ends before it is noted, nobody hears."""
    if not _remembered:
        _remembered.append(os.getppid())


def is_orphan() -> bool:
    """Whether the parent that was noted has ended; whoever takes its place is no parent."""
    remember_parent()
    return os.getppid() != _remembered[0]
