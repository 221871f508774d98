"""Claims about following a lake that grows: what is written comes, in order and once."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import anyio
import pytest

from flowctl_aio.components.stellar.lake import Lake, write_object
from flowctl_aio.components.stellar.lake.objects import encode_object

from .lakes import build_lake, made
from .rough_server import RoughServer

pytestmark = pytest.mark.anyio


async def test_a_lake_that_grows_is_followed(tmp_path: Path) -> None:
    ledgers = made(2, 12)
    layout = build_lake(tmp_path, ledgers[:2])
    lake = await Lake.open(str(tmp_path))
    came = []
    async with lake.open_ledgers(2, poll_interval=0.005, prefetch_objects=4) as stream:
        async for ledger in stream:
            came.append(ledger)
            if ledger.sequence == 12:
                break
            if ledger.sequence >= 3:
                write_object(tmp_path, layout, [ledgers[ledger.sequence - 1]])
    assert [ledger.xdr for ledger in came] == [ledger.xdr for ledger in ledgers]


async def test_a_waiting_reader_gets_what_is_written_while_it_waits(tmp_path: Path) -> None:
    ledgers = made(2, 5)
    layout = build_lake(tmp_path, ledgers[:1])
    lake = await Lake.open(str(tmp_path))
    send, receive = anyio.create_memory_object_stream[int](10)

    async def follow() -> None:
        async with send, lake.open_ledgers(2, poll_interval=0.005) as stream:
            async for ledger in stream:
                await send.send(ledger.sequence)

    async with anyio.create_task_group() as tasks, receive:
        tasks.start_soon(follow)
        assert await receive.receive() == 2
        await anyio.wait_all_tasks_blocked()
        # The later ones first: they may not overtake.
        for ledger in reversed(ledgers[1:]):
            write_object(tmp_path, layout, [ledger])
        assert [await receive.receive() for _ in range(3)] == [3, 4, 5]
        tasks.cancel_scope.cancel()


async def test_an_object_that_is_still_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    ledgers = made(2, 3)
    layout = build_lake(tmp_path, ledgers[:1])
    lake = await Lake.open(str(tmp_path))
    data = encode_object(ledgers[1:])
    path = tmp_path / layout.key_of(3)
    async with lake.open_ledgers(2, poll_interval=0.005, retries=10_000, retry_interval=0.001) as stream:
        assert (await anext(stream)).sequence == 2
        before = lake.bytes_read
        path.write_bytes(data[:100])
        while lake.bytes_read == before:  # noqa: ASYNC110 - a count has no event
            await anyio.sleep(0.001)
        path.write_bytes(data)
        assert (await anext(stream)).xdr == ledgers[1].xdr


async def test_only_the_next_ledger_is_asked_for_again_and_again(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 3))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        name = layout.key_of(4).rpartition("/")[2]
        async with lake.open_ledgers(2, poll_interval=0.001, prefetch_objects=5) as stream:
            assert [(await anext(stream)).sequence for _ in range(2)] == [2, 3]
            while server.asked.count(name) < 20:
                server.seen = anyio.Event()
                await server.seen.wait()
            write_object(tmp_path, layout, made(4, 4))
            assert (await anext(stream)).sequence == 4
        others = Counter(server.asked)
        del others[name]
        later = [count for asked, count in others.items() if asked != layout.key_of(5).rpartition("/")[2]]
        assert set(later) == {1}


async def test_a_new_lake_without_ledgers_can_be_followed(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, [])
    lake = await Lake.open(str(tmp_path))
    async with lake.open_ledgers(2, poll_interval=0.005) as stream:
        await anyio.wait_all_tasks_blocked()
        write_object(tmp_path, layout, made(2, 2))
        assert (await anext(stream)).sequence == 2


async def test_a_later_ledger_without_the_one_waited_for_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layout = build_lake(tmp_path, made(3, 3))
    lake = await Lake.open(str(tmp_path))
    async with lake.open_ledgers(2, poll_interval=0.001) as stream:
        while not caplog.records:  # noqa: ASYNC110 - a log has no event
            await anyio.sleep(0.001)
        assert layout.key_of(2) in caplog.text
        write_object(tmp_path, layout, made(2, 2))
        assert [(await anext(stream)).sequence for _ in range(2)] == [2, 3]
    assert len(caplog.records) == 1


async def test_cancelling_the_whole_leaves_no_task(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 5))
    lake = await Lake.open(str(tmp_path))
    waiting = anyio.Event()

    async def follow() -> None:
        async with lake.open_ledgers(2, poll_interval=60) as stream:
            async for ledger in stream:
                if ledger.sequence == 5:
                    waiting.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await waiting.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert not [task for task in asyncio.all_tasks() if "lake object" in task.get_name()]
