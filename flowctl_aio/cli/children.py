"""Our own verbs as child processes that end with us, whatever ends us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteReceiveStream, Process, TaskGroup
from anyio.streams.text import TextReceiveStream

from flowctl_aio.errors import ComponentError

STOP_TIMEOUT = 10.0
PREFIX = "flowctl-aio: "


class ChildError(ComponentError):
    """A child process ended when it should not have.

    Attributes:
        code: its exit code.
    """

    def __init__(self, name: str, code: int, sentence: str) -> None:
        self.name, self.code = name, code
        super().__init__(sentence or f"the {name} ended with exit code {code}")


@dataclass(slots=True, eq=False)
class Child:
    """A running verb.

    Attributes:
        endpoint: where it listens, once it is ready.
        last_words: its own word on why it failed.
    """

    name: str
    process: Process
    endpoint: str = ""
    is_verbose: bool = False
    last_words: str = ""
    is_told: bool = False
    fell_silent: anyio.Event = field(default_factory=anyio.Event)

    def tell(self) -> None:
        """Ask it to end; leaving its block waits for that. Once only: a second signal would cut its draining off."""
        if self.process.returncode is None and not self.is_told:
            self.is_told = True
            self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """As `process.send_signal`, which first looks whether the process has ended, and so takes its exit code away
        from asyncio: that then warns of an unknown child, and says 255.
        """
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    async def wait_ready(self) -> str:
        """Return where it listens, once it does.

        Raises:
            ChildError: if it ends before that; the error says what it said.

        Cancellation: it cannot be waited for again.
        """
        assert self.process.stdout is not None
        text = ""
        async for part in TextReceiveStream(self.process.stdout):
            text += part
            if "\n" in text:
                self.endpoint = json.loads(text.partition("\n")[0])["endpoint"]
                return self.endpoint
        raise await self.wait()

    async def wait(self) -> ChildError:
        """Return, once the process has ended, what to say of it."""
        code = await self.process.wait()
        await self.fell_silent.wait()
        return ChildError(self.name, code, self.last_words)


@asynccontextmanager
async def open_child(group: TaskGroup, name: str, *arguments: str, verbose: bool = False) -> AsyncIterator[Child]:
    """Run `flowctl-aio ARGUMENTS` until the block ends; the block begins at once, so that several start side by side.

    Args:
        group: runs the task that listens to what the child logs; it ends with the child.
        verbose: whether to pass that on.

    Cancellation: stops the child, by force if it does not go within some seconds.
    """
    command = [sys.executable, "-m", "flowctl_aio", *arguments, "--with-parent"]
    # In a session of its own it does not hear our Ctrl-C; it hears of our end by its standard input.
    process = await anyio.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    child = Child(name, process, is_verbose=verbose)
    group.start_soon(_relay, child, name=f"log of {name}")
    try:
        yield child
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(child)
            await process.aclose()


async def _relay(child: Child) -> None:
    """Listen to what the child logs; if it fails, its last line in the form of ours is the reason."""
    assert child.process.stderr is not None
    try:
        async for line in _lines(child.process.stderr):
            if line.startswith(PREFIX):
                child.last_words = line.removeprefix(PREFIX)
            elif child.is_verbose:
                print(f"[{child.name}] {line}", file=sys.stderr)
    except anyio.ClosedResourceError:
        return  # stopped while it was still talking
    finally:
        child.fell_silent.set()


async def _lines(stream: ByteReceiveStream) -> AsyncIterator[str]:
    rest = ""
    async for part in TextReceiveStream(stream, errors="replace"):
        *lines, rest = (rest + part).split("\n")
        for line in lines:
            yield line
    if rest:
        yield rest


async def _stop(child: Child) -> None:
    child.tell()
    if child.process.returncode is None:
        with anyio.move_on_after(STOP_TIMEOUT):
            await child.process.wait()
    if child.process.returncode is None:
        child.send(signal.SIGKILL)
        await child.process.wait()
