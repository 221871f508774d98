"""Children of the command line: what they ended with is told as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from flowctl_aio.cli.children import Child

pytestmark = pytest.mark.anyio


def has_ended(pid: int) -> bool:
    """Whether a process has come to its end, also if nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_a_child_that_is_told_in_the_moment_it_ends_keeps_its_exit_code(caplog):
    for _ in range(60):  # somebody may be quicker than we are; half a dozen of them hit the moment
        process = await anyio.open_process(
            [sys.executable, "-S", "-E", "-c", "raise SystemExit(2)"], stdin=subprocess.DEVNULL
        )
        while not has_ended(process.pid):
            pass  # the loop does not hear of it meanwhile
        Child("child", process).tell()
        assert await process.wait() == 2
        await process.aclose()
    assert caplog.messages == []
