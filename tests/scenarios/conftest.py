"""The command line as a process, and what it must not leave behind."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

COMMAND = [sys.executable, "-m", "flowctl_aio"]


class CommandLine:
    """Runs `flowctl-aio`, and knows every process that came of it."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str | Path, timeout: float = 50) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command = [*COMMAND, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.started.append(process)
        return process


@pytest.fixture
def cli() -> Iterator[CommandLine]:
    line = CommandLine()
    yield line
    for process in line.started:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
        process.communicate()


def golden_lines(data: Path, network: str, mode: str, first: int, last: int) -> list[str]:
    """The events expected of a range of ledgers, as lines."""
    lines: list[str] = []
    for ledger in range(first, last + 1):
        with gzip.open(data / "golden" / f"{network}-{ledger}.{mode}.jsonl.gz", "rt") as file:
            lines.extend(file.read().splitlines())
    return lines
