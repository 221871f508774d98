"""A program that ends right after it has read from a lake ends as it should."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, sys
from flowctl_aio.components.stellar.lake import Lake
from flowctl_aio.errors import LakeError

try:
    asyncio.run(Lake.open(sys.argv[1]))
except LakeError:
    sys.exit(3)
"""


def test_a_program_that_ends_right_after_reading_does_not_abort(tmp_path):
    """Several at a time, so that they get in each other's way: alone on a machine it hardly ever happens."""
    programs = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)]) for _ in range(12)]
    assert [program.wait(timeout=50) for program in programs] == [3] * len(programs)
