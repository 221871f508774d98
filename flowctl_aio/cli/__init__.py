"""The command line: one verb per file."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `flowctl-aio`; the process ends with 0, 1 (it failed), 2 (asked wrongly) or 130 (Ctrl-C)."""
    try:
        from flowctl_aio.cli.app import run
    except ModuleNotFoundError as error:
        print(f"flowctl-aio needs {error.name}: install flowctl-aio[all]", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(sys.argv[1:]))
