"""Processes that share memory and are killed: nothing stays behind, and nobody else notices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from flowctl_aio import FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio.errors import StreamError
from flowctl_aio.streams.shared import folder as files
from flowctl_aio.streams.shared.ring import BorrowedRing

pytestmark = pytest.mark.anyio
SCRIPT = Path(__file__).with_name("shared_process.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts one end; it and its first line."""
    with ExitStack() as stack:

        def start(what: str, *rest: str) -> tuple[subprocess.Popen[str], str]:
            command = [sys.executable, str(SCRIPT), what, str(tmp_path), *rest]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
            stack.callback(process.stdout.close)
            stack.callback(process.wait)
            stack.callback(process.kill)
            line = process.stdout.readline().strip()
            assert line, f"{what} died"
            return process, line

        yield start


@pytest.fixture
async def client(tmp_path):
    config = FlowctlConfig(enabled=False, drain_timeout=0.2, shared_memory_folder=str(tmp_path))
    async with FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config) as session:
        yield session


def rings(tmp_path: Path) -> list[str]:
    return [file.name for file in files.folder_in(str(tmp_path)).iterdir()]


async def test_a_writer_that_is_killed_leaves_what_was_read_and_no_file(start, client, tmp_path):
    server, address = await anyio.to_thread.run_sync(start, "serve")
    async with client.source(address) as source, source.stream(1) as stream:
        kept = [await anext(stream) for _ in range(20)]
        server.kill()
        with pytest.raises(StreamError):  # noqa: PT012 - whatever was on its way comes first
            async for batch in stream:
                kept.append(batch)
    assert [row.sequence for batch in kept for row in batch] == list(range(1, len(kept) + 1))
    assert all(row.xdr == row.sequence.to_bytes(4, "big") * 50_000 for batch in kept for row in batch)
    assert rings(tmp_path) == []


async def test_a_reader_that_is_killed_leaves_no_file_and_the_writer_serves_others(start, client, tmp_path):
    server, address = await anyio.to_thread.run_sync(start, "serve")
    reader, _ = await anyio.to_thread.run_sync(start, "read", address)
    reader.kill()
    assert rings(tmp_path) == []
    async with client.source(address) as source, source.stream(1, 30) as stream:
        assert [row.sequence async for batch in stream for row in batch] == list(range(1, 31))
    assert server.poll() is None


async def test_both_ends_killed_leave_no_file(start, tmp_path):
    server, address = await anyio.to_thread.run_sync(start, "serve")
    reader, _ = await anyio.to_thread.run_sync(start, "read", address)
    server.kill()
    reader.kill()
    assert rings(tmp_path) == []


async def test_a_reader_killed_before_its_ring_was_opened_leaves_a_file_until_the_next_start(start, tmp_path):
    dead, title = await anyio.to_thread.run_sync(start, "lend")
    _, other = await anyio.to_thread.run_sync(start, "lend")
    assert len(rings(tmp_path)) == 2
    dead.kill()
    dead.wait()
    _, third = await anyio.to_thread.run_sync(start, "lend")  # another process that starts
    names = {text.partition(".")[0] for text in (other, third)}
    assert set(rings(tmp_path)) == names
    with pytest.raises(FileNotFoundError):
        BorrowedRing(files.folder_in(str(tmp_path)), title)
