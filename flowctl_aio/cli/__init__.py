"""The command line: one verb per file."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn


def main() -> None:
    """Run `flowctl-aio`; the process ends with 0, 1 (it failed), 2 (asked wrongly) or 130 (Ctrl-C)."""
    try:
        from flowctl_aio.cli.app import run
    except ModuleNotFoundError as error:
        print(f"flowctl-aio needs {error.name}: install flowctl-aio[all]", file=sys.stderr)
        sys.exit(2)
    _leave(run(sys.argv[1:]))


def _leave(code: int) -> NoReturn:
    """End the process at once.

    Threads of obstore and gRPC still let go of Python objects after they have delivered; an interpreter that is
    taken down in that moment aborts, with a signal for an exit code. Ours has nothing left to take down.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    os._exit(code)
