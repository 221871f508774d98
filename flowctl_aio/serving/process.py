"""One worker process, as its parent sees it: start, ask, end. Everything here blocks, and belongs into threads."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from threading import Lock
from typing import Any, cast

from flowctl_aio.batches import Batch
from flowctl_aio.errors import ComponentError
from flowctl_aio.worker import dumps, loads, read_message, write_message

# How long an idle worker may take to end, in seconds, before it is killed.
GRACE = 2.0
# It finds what its parent finds: the path may have been changed since the interpreter started.
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from flowctl_aio.worker import main; main()"


class WorkerProcess:
    """One process, and its replacements. Its methods block, and are called in threads, but for `kill`.

    Args:
        work: its first message: what it needs, to know what to do.
        name: of the component, for errors.
    """

    def __init__(self, work: bytes, name: str) -> None:
        self._work, self._name = work, name
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._lock = Lock()

    def start(self) -> None:
        """Return when it is ready.

        Raises:
            ComponentError: if it cannot be; the reason is its cause.
        """
        with self._lock:
            self._start()

    def ask(self, batch: Batch) -> Any:
        """What it makes of a batch.

        Raises:
            ComponentError: if it dies of it; it is replaced when the next batch comes.
            Exception: what the work raised.
        """
        message = dumps(batch)
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self._end()
            return self._exchange(self._process or self._start(), message, f"with {batch!r}")

    def kill(self) -> None:
        """End it at once, also while a thread waits for it, and let there be no other. Does not block."""
        self._is_closed = True
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """End it when it has nothing to do, and return when it has ended."""
        self._is_closed = True
        with self._lock:
            self._end(grace=GRACE)

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            # Executed, not forked: a fork of a process with a live gRPC hangs, or breaks its parent.
            self._process = process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
            if self._is_closed:  # by somebody who did not see it yet
                process.kill()
            self._exchange(process, self._work, "while it started")
        except Exception as error:
            self._end()
            # Peers hear this, and its kind is all they should know of the reason.
            raise ComponentError(f"a worker process of {self._name} cannot start: {type(error).__name__}") from error
        return process

    def _exchange(self, process: subprocess.Popen[bytes], message: bytes, when: str) -> Any:
        try:
            write_message(cast("io.RawIOBase", process.stdin), message)
            answer = read_message(cast("io.RawIOBase", process.stdout))
        except OSError:
            answer = None
        if answer is None:
            code = self._end(grace=GRACE)
            raise ComponentError(f"worker process {process.pid} of {self._name} {_fate(code)} {when}")
        is_made, made = loads(answer)
        if not is_made:
            raise made
        return made

    def _end(self, *, grace: float = 0.0) -> int:
        """Close its pipes, wait for it, and forget it."""
        if (process := self._process) is None:
            return 0
        self._process = None
        with process:  # closes the pipes, whatever happens
            assert process.stdin is not None
            process.stdin.close()
            try:
                return process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait()


def _fate(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
