"""Claims about the latest ledger of a lake: the last one that is really in its newest object."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowctl_aio import StreamRequest
from flowctl_aio.components.stellar.lake import Lake, LakeLayout, write_object
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar_arrow_source import LakeSupply, StellarArrowSource, SyntheticSupply
from flowctl_aio.errors import ConfigError, FrameCorruptError, LakeError

from .lakes import build_lake, made
from .rough_server import RoughServer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("partition", [1, 2, 10])
@pytest.mark.parametrize("batch", [1, 4])
async def test_it_is_found_whatever_the_sizes(tmp_path: Path, batch: int, partition: int) -> None:
    build_lake(tmp_path, made(2, 31), batch=batch, partition=partition)
    assert await (await Lake.open(str(tmp_path))).find_latest() == 31


async def test_it_is_the_last_ledger_in_the_object_and_not_in_its_name(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 29), batch=8)
    assert await (await Lake.open(str(tmp_path))).find_latest() == 29


async def test_it_is_another_one_when_the_lake_has_grown(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 9))
    lake = await Lake.open(str(tmp_path))
    assert await lake.find_latest() == 9
    write_object(tmp_path, layout, made(10, 10))
    assert await lake.find_latest() == 10


async def test_what_only_looks_like_an_object_is_passed_over(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 9))
    (tmp_path / "FFFFFFEB--20-29").mkdir()  # made before its first object
    (tmp_path / "00000000--9999999999-9999999999").mkdir()
    (tmp_path / "notes.txt").write_text("none")
    folder = (tmp_path / layout.key_of(9)).parent
    for name in ("00000000--9.xdr.zst", ".FFFFFFF6--9.xdr.zst.part", "FFFFFFF7--8-9.xdr.zst", "FFFFFFF6--9.xdr.gz"):
        (folder / name).write_bytes(b"")
    assert await (await Lake.open(str(tmp_path))).find_latest() == 9


async def test_a_lake_without_ledgers_has_none(tmp_path: Path) -> None:
    build_lake(tmp_path, [])
    with pytest.raises(LakeError, match="holds no ledgers yet"):
        await (await Lake.open(str(tmp_path))).find_latest()


async def test_a_newest_object_that_is_broken_is_an_error_and_not_an_older_one(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 9))
    (tmp_path / layout.key_of(9)).write_bytes(b"cut")
    with pytest.raises(FrameCorruptError, match=r"--9\.xdr\.zst"):
        await (await Lake.open(str(tmp_path))).find_latest()


@pytest.mark.parametrize("list_failures", [[], [503, 503]])
async def test_a_bucket_is_asked_for_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, list_failures: list[int]
) -> None:
    build_lake(tmp_path / "bucket" / "v1", made(2, 31))
    async with RoughServer(tmp_path).serve() as server:
        monkeypatch.setenv("AWS_ENDPOINT", server.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        lake = await Lake.open("s3://bucket/v1", network="testnet", region="us-east-2", anonymous=True)
        server.list_failures = list_failures
        asked = 3 + len(list_failures)  # the folders, the names in the newest one, the object
        before = len(server.headers)
        assert await lake.find_latest(retry_interval=0.001) == 31
        assert len(server.headers) - before == asked
        assert server.asked == [LakeLayout(1, 10).key_of(31).rpartition("/")[2]]


async def test_a_web_server_that_lists_nothing_cannot_tell(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 3))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        with pytest.raises(LakeError, match=r"does not list what it holds.*name a ledger"):
            await lake.find_latest()


async def test_a_source_from_latest_on_begins_where_the_lake_ends_when_a_client_comes(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 9))
    source = StellarArrowSource(LakeSupply(await Lake.open(str(tmp_path))), first="latest", batch_ledgers=1)

    async def sequences(**asked: int) -> list[int]:
        return [ledger.sequence async for batch in source.stream(StreamRequest(**asked)) for ledger in batch]

    assert await sequences(end=9) == [9]
    write_object(tmp_path, layout, made(10, 10))
    assert await sequences(end=10) == [10]
    assert await sequences(start=8, end=10) == [8, 9, 10]
    with pytest.raises(ConfigError, match="starts at ledger 10"):
        await sequences(end=9)


async def test_made_ledgers_have_no_latest() -> None:
    source = StellarArrowSource(SyntheticSupply(SyntheticLedgers("testnet")), first="latest")
    with pytest.raises(ConfigError, match="the synthetic source has no latest ledger"):
        await anext(source.stream(StreamRequest()))
