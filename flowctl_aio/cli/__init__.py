"""The command line: one verb per file."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> None:
    """Run `flowctl-aio`; what its exit code means stands in `docs/cli.md`.

    0: done, or ended by a signal as it should. 1: it failed. 2: it was asked wrongly. 130, 143: SIGINT, SIGTERM came
    before it had begun, or ended what was under way (`demo`, `transfers`).
    """
    # Until a verb hears signals itself there is nothing to end in order, and a traceback helps nobody.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_unbegun)
    from flowctl_aio.cli.parent import remember_parent

    remember_parent()
    try:
        from flowctl_aio.cli.app import run
    except ModuleNotFoundError as error:
        print(f"flowctl-aio needs {error.name}: install flowctl-aio[all]", file=sys.stderr)
        _leave(2)
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # in the last moment of a verb that Ctrl-C interrupts
        code = 130
    _leave(code)


def _leave_unbegun(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _leave(code: int) -> NoReturn:
    """End the process at once.

    Threads of obstore and gRPC still let go of Python objects after they have delivered; an interpreter that is
    taken down in that moment aborts, with a signal for an exit code. Ours has nothing left to take down.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    os._exit(code)
