"""Workers in processes of their own, asked in turns; knows nothing of what they measure.

A worker says one JSON line when it is ready, and one for each JSON line that it reads. It ends when its
input does, so none outlives the benchmark, however that ends.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import anyio
import anyio.to_thread

Answer: TypeAlias = dict[str, Any]
START_TIMEOUT = 30.0
# Beyond what a round is meant to take: the machine may be busy.
ASK_SLACK = 20.0
EXIT_TIMEOUT = 5.0


class Worker:
    """A process that measures or is measured; made by `open_worker`.

    Attributes:
        hello: what it said when it was ready.
    """

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process, self._name = process, name
        self.hello = self._receive(START_TIMEOUT)

    def ask(self, *, seconds: float, **request: Any) -> Answer:
        """Have it work for `seconds`, and return what it says.

        Raises:
            RuntimeError: if it dies, or takes much longer.
        """
        assert self._process.stdin is not None
        print(json.dumps({"seconds": seconds, **request}), file=self._process.stdin, flush=True)
        return self._receive(seconds + ASK_SLACK)

    def _receive(self, timeout: float) -> Answer:
        assert self._process.stdout is not None
        timer = threading.Timer(timeout, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise RuntimeError(f"{self._name} died, or said nothing for {timeout:g} s")
        answer: Answer = json.loads(line)
        return answer


@contextmanager
def open_worker(module: str, *arguments: str) -> Iterator[Worker]:
    """`python -m module --worker arguments...`, ended with the block."""
    command = [sys.executable, "-m", module, "--worker", *arguments]
    # In a session of its own, Ctrl-C reaches only the parent, which then ends its workers in order.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield Worker(process, " ".join((module, *arguments)))
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def open_pairs(module: str, sides: Sequence[str], *arguments: str) -> Iterator[dict[str, Worker]]:
    """The clients of `sides`, by side, each with a server of its own behind it."""
    with ExitStack() as stack:
        clients = {}
        for side in sides:
            server = stack.enter_context(open_worker(module, f"{side}-server", *arguments))
            address = server.hello["address"]
            clients[side] = stack.enter_context(open_worker(module, f"{side}-client", *arguments, "--address", address))
        yield clients


def alternate(clients: Mapping[str, Worker], rounds: int, *, seconds: float, **request: Any) -> dict[str, float]:
    """The median rate of each client, asked in turns after one short round to warm up."""
    rates: dict[str, list[float]] = {name: [] for name in clients}
    for turn in range(-1, rounds):
        for name, client in clients.items():
            rate = client.ask(seconds=seconds if turn >= 0 else seconds / 4, **request)["rate"]
            if turn >= 0:
                rates[name].append(rate)
    return {name: statistics.median(values) for name, values in rates.items()}


async def answer_requests(hello: Answer, answer: Callable[[Answer], Awaitable[Answer]] | None = None) -> None:
    """A worker's main part: say hello, then answer requests until the parent is gone. A server answers none."""
    print(json.dumps(hello), flush=True)
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        if answer is not None:
            print(json.dumps(await answer(json.loads(line))), flush=True)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    # That no control plane is there is as it should be.
    logging.disable(logging.WARNING)
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--quick", action="store_true", help="fewer and shorter rounds: done within two minutes")
    options.add_argument("--worker", help=argparse.SUPPRESS)
    options.add_argument("--address", default="", help=argparse.SUPPRESS)
    return options


def report(benchmark: str, ratio: Any, **figures: Any) -> None:
    """The result, as one JSON line."""
    print(json.dumps({"benchmark": benchmark, "ratio": ratio, **figures}), flush=True)
