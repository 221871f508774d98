"""Claims about reading a range: all ledgers in order, and those before a fault also when there is one."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from flowctl_aio.components.stellar.lake import Lake, LedgerStream
from flowctl_aio.components.stellar.lake.objects import encode_object
from flowctl_aio.errors import FrameTooLargeError, LakeError, MissingLedgerError, UsageError
from tests.conftest import DATA

from .lakes import TESTNET, build_lake, made, read, read_until_failure, real_ledgers
from .rough_server import RoughServer

pytestmark = pytest.mark.anyio


# Real ledgers


@real_ledgers
async def test_real_pubnet_ledgers_come_in_order_and_chain() -> None:
    lake = await Lake.open(str(DATA / "lake" / "pubnet"), network="pubnet")
    ledgers = await read(lake, 63092982, 63092991)
    assert [ledger.sequence for ledger in ledgers] == list(range(63092982, 63092992))
    for before, after in pairwise(ledgers):
        assert after.previous_hash == before.hash
        assert after.closed_at > before.closed_at
    assert [len(ledger.xdr) for ledger in ledgers][:3] == [1343024, 1137292, 1195000]
    assert sum(ledger.stored_bytes for ledger in ledgers) == lake.bytes_read > 1_000_000


@real_ledgers
async def test_eight_ledgers_per_object_give_the_same_bytes_as_one() -> None:
    ones = await read(await Lake.open(str(DATA / "lake" / "pubnet")), 63092982, 63092991)
    lake = await Lake.open((DATA / "lake8" / "pubnet").as_uri())
    eights = await read(lake, 63092982, 63092991)
    assert [ledger.xdr for ledger in eights] == [ledger.xdr for ledger in ones]
    assert sum(ledger.stored_bytes for ledger in eights) == lake.bytes_read
    assert [ledger.sequence for ledger in await read(lake, 63092983, 63092986)] == list(range(63092983, 63092987))


@real_ledgers
async def test_a_batch_at_the_edge_that_lacks_ledgers_names_the_first_that_lacks() -> None:
    lake = await Lake.open(str(DATA / "lake8" / "pubnet"))
    came, failure = await read_until_failure(lake, 63092980, 63092991)
    assert came == []
    assert isinstance(failure, MissingLedgerError)
    assert failure.ledger == 63092980


@real_ledgers
async def test_testnet_ledgers_with_a_content_size_in_the_frame_come() -> None:
    lake = await Lake.open(str(DATA / "lake" / "testnet"), network=TESTNET, ledgers_per_batch=1)
    ledgers = await read(lake, 997, 999)
    assert [(ledger.sequence, len(ledger.xdr)) for ledger in ledgers] == [(997, 9304), (998, 9692), (999, 6512)]


@real_ledgers
async def test_a_hole_ends_a_bounded_range_after_the_ledgers_before_it() -> None:
    lake = await Lake.open(str(DATA / "lake" / "pubnet"))
    came, failure = await read_until_failure(lake, 30822018, 30822040)
    assert came == [30822018, 30822019, 30822020]
    assert isinstance(failure, MissingLedgerError)
    assert failure.ledger == 30822021
    assert str(DATA / "lake" / "pubnet") in str(failure)


# Made ledgers


@pytest.mark.parametrize(("batch", "partition"), [(1, 1), (1, 10), (3, 4), (8, 1), (64, 64000)])
async def test_any_sizes_give_the_same_ledgers(tmp_path: Path, batch: int, partition: int) -> None:
    ledgers = made(2, 70)
    build_lake(tmp_path, ledgers, batch=batch, partition=partition)
    lake = await Lake.open(str(tmp_path))
    for first, last in ((2, 70), (5, 5), (31, 66)):
        came = await read(lake, first, last)
        assert [ledger.xdr for ledger in came] == [ledger.xdr for ledger in ledgers[first - 2 : last - 1]]


async def test_the_ledgers_before_a_gap_inside_a_batch_come(tmp_path: Path) -> None:
    build_lake(tmp_path, made(8, 13), batch=8)
    came, failure = await read_until_failure(await Lake.open(str(tmp_path)), 10, 20)
    assert came == [10, 11, 12, 13]
    assert isinstance(failure, MissingLedgerError)
    assert failure.ledger == 14


async def test_a_failed_stream_fails_again_instead_of_ending(tmp_path: Path) -> None:
    build_lake(tmp_path, made(5, 6))
    async with (await Lake.open(str(tmp_path))).open_ledgers(5, 9) as ledgers:
        for _ in range(2):
            with pytest.raises(MissingLedgerError):
                async for _ledger in ledgers:
                    pass


@pytest.mark.parametrize("harm", ["flip", "cut", "foreign"])
async def test_a_harmed_object_is_named_after_the_ledgers_before_it(tmp_path: Path, harm: str) -> None:
    layout = build_lake(tmp_path, made(2, 9))
    path = tmp_path / layout.key_of(6)
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
    elif harm == "cut":
        del data[-3:]
    else:
        data[:] = encode_object(made(7, 7))
    path.write_bytes(data)
    came, failure = await read_until_failure(await Lake.open(str(tmp_path)), 2, 9, retries=1, retry_interval=0.001)
    assert came == [2, 3, 4, 5]
    assert isinstance(failure, LakeError)
    assert layout.key_of(6) in str(failure)
    assert "tried 2 times" in str(failure)


async def test_an_object_above_the_limit_is_not_retried(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 3))
    size = (tmp_path / layout.key_of(2)).stat().st_size
    lake = await Lake.open(str(tmp_path))
    _, failure = await read_until_failure(lake, 2, 2, max_object_bytes=1000)
    assert isinstance(failure, FrameTooLargeError)
    assert lake.bytes_read == size


async def test_a_ledger_that_does_not_follow_the_one_before_names_both_hashes(tmp_path: Path) -> None:
    ours, theirs = made(2, 4), made(5, 7, seed=1)
    build_lake(tmp_path, [*ours, *theirs])
    lake = await Lake.open(str(tmp_path))
    came, failure = await read_until_failure(lake, 2, 7)
    assert came == [2, 3, 4]
    assert isinstance(failure, LakeError)
    assert ours[-1].hash.hex() in str(failure)
    assert theirs[0].previous_hash.hex() in str(failure)
    assert len(await read(lake, 2, 7, verify_chain=False)) == 6


async def test_no_more_objects_than_the_bound_are_in_flight_or_waiting(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 41), batch=2)
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        server.gate = anyio.Event()
        async with lake.open_ledgers(2, 41, prefetch_objects=3) as ledgers:
            await server.wait_open(3)
            server.gate.set()
            taken = 0
            async for _ in ledgers:
                taken += 1
                assert len(server.asked) <= taken // 2 + 3
        assert taken == 40
        assert server.most_open == 3
        assert len(server.asked) == len(set(server.asked)) == 20


async def test_waiting_bytes_above_their_bound_stop_the_fetching(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 21))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        async with lake.open_ledgers(2, 21, prefetch_objects=2, prefetch_bytes=1) as ledgers:
            taken = 0
            async for _ in ledgers:
                taken += 1
                assert len(server.asked) <= taken + 2
            assert taken == 20


# Leaving


async def test_what_the_body_raises_leaves_as_itself(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 9))
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with (await Lake.open(str(tmp_path))).open_ledgers(2, 9):
            raise mine
    assert caught.value is mine


async def test_a_stream_that_was_left_says_so_instead_of_waiting(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 9))
    async with (await Lake.open(str(tmp_path))).open_ledgers(2, 9) as stream:
        await anext(stream)
    with pytest.raises(UsageError, match="closed"):
        await anext(stream)


async def test_who_waits_for_a_ledger_when_the_stream_is_left_is_told(tmp_path: Path) -> None:
    build_lake(tmp_path, [])
    waiter = await Lake.open(str(tmp_path))
    told: list[BaseException] = []

    async def wait(stream: LedgerStream) -> None:
        try:
            await anext(stream)
        except UsageError as error:
            told.append(error)

    async with anyio.create_task_group() as tasks, waiter.open_ledgers(2, poll_interval=60) as stream:
        tasks.start_soon(wait, stream)
        await anyio.wait_all_tasks_blocked()
    assert len(told) == 1


async def test_cancelling_a_waiting_reader_loses_no_ledger(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 5))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        server.gate = anyio.Event()
        async with lake.open_ledgers(2, 5, prefetch_objects=2) as stream:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, stream)
                await server.wait_open(2)
                tasks.cancel_scope.cancel()
            server.gate.set()
            assert [ledger.sequence async for ledger in stream] == [2, 3, 4, 5]


@pytest.mark.parametrize("held", [True, False])
async def test_leaving_early_leaves_no_task(tmp_path: Path, held: bool) -> None:
    build_lake(tmp_path, made(2, 40))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        before = {task for task in asyncio.all_tasks() if "lake object" in task.get_name()}
        if held:
            server.gate = anyio.Event()
        async with lake.open_ledgers(2, 40) as stream:
            if held:
                await server.wait_open(3)
            else:
                await anext(stream)
            assert "held=" in repr(stream)
        assert {task for task in asyncio.all_tasks() if "lake object" in task.get_name()} == before == set()
