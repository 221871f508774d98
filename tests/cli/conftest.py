"""`flowctl-aio` as processes, in an environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "flowctl_aio"]
SETTINGS = ("FLOWCTL_", "ENABLE_FLOWCTL", "HEALTH_PORT", "PORT", "COMPONENT_ID", "NOTIFY_", "WATCHDOG_", "START_LEDGER")


class Shell:
    """Runs `flowctl-aio` in an environment without settings, and ends what it has started."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}

    def run(self, *arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=50,
            env={**self.environ, **environ},
            check=False,
        )

    def start_code(self, code: str) -> subprocess.Popen[str]:
        """Start an interpreter that runs `code`."""
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, env=self.environ, text=True)
        self.started.append(process)
        return process

    def start_at(self, terminal: int, *arguments: str) -> subprocess.Popen[str]:
        """Start it with both outputs at a terminal."""
        environ = {**self.environ, "TERM": "xterm", "COLUMNS": "160"}
        command = [*COMMAND, *arguments]
        process = subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environ, text=True)
        self.started.append(process)
        return process

    def start_bytes(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it; what it writes is not text."""
        process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, env=self.environ)
        self.started.append(process)  # type: ignore[arg-type]
        return process

    def start(self, *arguments: str | Path, log: Path | None = None, **environ: str) -> subprocess.Popen[str]:
        """Start it; with `log`, both outputs go into that file, as a runner has it."""
        out = log.open("w") if log else subprocess.PIPE
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdout=out,
            stderr=subprocess.STDOUT if log else subprocess.PIPE,
            text=True,
            env={**self.environ, **environ},
        )
        if log:
            out.close()
        self.started.append(process)
        return process


@pytest.fixture
def shell() -> Iterator[Shell]:
    shell = Shell()
    yield shell
    for process in shell.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
