"""The verbs as one application, and how its errors become one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from flowctl_aio import __version__
from flowctl_aio.cli.children import ChildError
from flowctl_aio.errors import ConfigError, FlowctlError
from flowctl_aio.owner import lone

app = App(
    name="flowctl-aio",
    help="Data pipelines on the Stellar network: a control plane, three components, and a demo of them all.",
    version=__version__,
    help_format="plaintext",
    result_action="return_value",
)
for verb in ("demo", "transfers", "plane", "source", "processor", "sink"):
    app.command(f"flowctl_aio.cli.{verb}:{verb}", name=verb)


def run(arguments: Sequence[str]) -> int:
    """Run one verb.

    Returns:
        The exit code.
    """
    # A fork after gRPC has started breaks both sides; with this set, only the child.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # noqa: TID251 - the command line owns its process
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        code = app(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return fail(str(error), 2)
    except ConfigError as error:
        return fail(str(error), 2)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever was reading has seen enough, and Python must not try to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (FlowctlError, OSError, ExceptionGroup) as error:
        cause = lone(error)
        code = cause.code if isinstance(cause, ChildError) and cause.code in (1, 2) else 1
        return fail(str(cause) or type(cause).__name__, 2 if isinstance(cause, ConfigError) else code)
    return code if isinstance(code, int) else 0


def fail(sentence: str, code: int) -> int:
    """Say what went wrong in one line."""
    print(f"flowctl-aio: {' '.join(sentence.split())}", file=sys.stderr)
    return code
