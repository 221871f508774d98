"""The verbs as one application, and how its errors become one line and an exit code."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from flowctl_aio import __version__
from flowctl_aio.cli.children import ChildError
from flowctl_aio.cli.signals import TerminatedError
from flowctl_aio.errors import ConfigError, FlowctlError, PeerError
from flowctl_aio.owner import lone

app = App(
    name="flowctl-aio",
    help="Data pipelines on the Stellar network: a control plane, components, questions to them, and a demo of it all.",
    version=__version__,
    help_format="plaintext",
    result_action="return_value",
    # It would call sys.exit, past the one way out that is safe at any moment; see `cli._leave`.
    suppress_keyboard_interrupt=False,
)
VERBS = {
    "demo": "Run the whole pipeline on this machine.",
    "transfers": "Print the token transfers of a range of ledgers.",
    "ledgers": "Print the ledgers of a range.",
    "plane": "Run a control plane.",
    "source": "Serve ledgers.",
    "processor": "Serve token transfers out of ledgers.",
    "sink": "Write events into Parquet files.",
    "passthrough": "Give events on as they come, where a runner needs a processor.",
    "services": "Print the services that a control plane knows.",
    "topology": "Print who feeds whom.",
    "health": "Print how the services are together, and what to do about it.",
    "config": "Show the settings and where they come from, or check a file of them.",
}
for verb, text in VERBS.items():
    app.command(f"flowctl_aio.cli.{verb}:{verb}", name=verb, help=text)


def run(arguments: Sequence[str]) -> int:
    """Run one verb.

    Returns:
        The exit code.
    """
    # A fork after gRPC has started breaks both sides; with this set, only the child.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # noqa: TID251 - the command line owns its process
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - what goes wrong we say ourselves, in one line
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        code = app(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return fail(_without_types(str(error)), 2)
    except ConfigError as error:
        return fail(str(error), 2)
    except KeyboardInterrupt:
        return 130
    except TerminatedError:
        return 143
    except BrokenPipeError:
        # Whoever was reading has seen enough, and Python must not try to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        return fail(f"this needs {error.name}: install flowctl-aio[all]", 2)
    except (FlowctlError, OSError, ExceptionGroup) as error:
        return fail(*_verdict(lone(error)))
    return code if isinstance(code, int) else 0


def _without_types(text: str) -> str:
    """`int|Literal[latest]|None` → `int or latest`."""
    return re.sub(r"(?<=\w)\|(?=\w)", " or ", re.sub(r"Literal\[([^\]]*)\]", r"\1", text.replace("|None", "")))


def _verdict(error: BaseException) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    if isinstance(error, ConfigError):
        return str(error), 2
    if isinstance(error, ChildError):
        return str(error), error.code if error.code in (1, 2) else 1
    if isinstance(error, PeerError) and error.details:
        return error.details, 1
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}", 1
    return str(error) or type(error).__name__, 1


def fail(sentence: str, code: int) -> int:
    """Say what went wrong in one line."""
    if sys.stderr is not None:
        print(f"flowctl-aio: {' '.join(sentence.split())}", file=sys.stderr)
    return code
