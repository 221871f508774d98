"""How far a range is, on a terminal: one line on standard error that is gone at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

INTERVAL = 0.25


class RangeProgress:
    """Counts ledgers, and draws now and then; without a terminal it only counts.

    Attributes:
        ledgers: that are done.
    """

    def __init__(self, first: int, last: int | None, live: Live | None) -> None:
        self.ledgers = 0
        self._first, self._last, self._live = first, last, live
        self._began = self._drawn = time.monotonic()

    def done(self, sequence: int) -> None:
        """Take one more ledger as done."""
        self.ledgers += 1
        now = time.monotonic()
        if self._live is not None and now - self._drawn >= INTERVAL:
            self._drawn = now
            self._live.update(Text(self.line(sequence, now)), refresh=True)

    def line(self, sequence: int, now: float) -> str:
        """What is drawn."""
        rate = self.ledgers / max(now - self._began, 1e-9)
        if self._last is None:
            return f"ledger {sequence}, {self.ledgers} so far, {rate:.0f}/s"
        total = self._last - self._first + 1
        return f"ledger {sequence}, {self.ledgers} of {total} ({self.ledgers / total:.0%}), {rate:.0f}/s"


@contextmanager
def show_progress(first: int, last: int | None, *, is_quiet: bool = False) -> Iterator[RangeProgress]:
    """A block that draws on standard error if that is a terminal and standard output is not the same one.

    Args:
        first, last: the range; without an end it tells how many there were.
        is_quiet: whether nothing goes to standard output, so that it may be the same terminal.
    """
    # Lines that go to the terminal show by themselves how far it is, and would be torn by ours.
    is_torn = not is_quiet and sys.stdout is not None and sys.stdout.isatty()
    if sys.stderr is None or not sys.stderr.isatty() or is_torn:
        yield RangeProgress(first, last, None)
        return
    console = Console(stderr=True)
    # What is printed is for whoever reads standard output, so it must not go through the display.
    with Live(
        console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as live:
        yield RangeProgress(first, last, live)
