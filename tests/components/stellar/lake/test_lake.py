"""Claims about opening lakes: what is none says so, and settings that contradict are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flowctl_aio.components.stellar.lake import Lake
from flowctl_aio.errors import ConfigError, LakeError
from tests.conftest import DATA

from .lakes import TESTNET, build_lake, made, read, real_ledgers

pytestmark = pytest.mark.anyio


async def test_whatever_is_no_lake_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for url in (
        str(tmp_path / "empty"),
        str(tmp_path / "nowhere"),
        str(tmp_path / "file"),
        (tmp_path / "nowhere").as_uri(),
        "file://elsewhere/lake",
        "ftp://host/lake",
        "s3://",
        "",
    ):
        with pytest.raises(LakeError) as caught:
            await Lake.open(url, ledgers_per_batch=1, batches_per_partition=1, retries=0)
        assert "\n" not in str(caught.value)
        assert url in str(caught.value)


async def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(LakeError, match=r"http://127\.0\.0\.1:9/lake: .*password") as caught:
        await Lake.open("http://me:secret@127.0.0.1:9/lake", retries=0)
    assert "secret" not in str(caught.value)


async def test_settings_that_contradict_the_manifest_are_all_named(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 2))
    with pytest.raises(LakeError) as caught:
        await Lake.open(str(tmp_path), network="pubnet", ledgers_per_batch=8, batches_per_partition=17)
    for part in ("network", "Public Global Stellar Network", TESTNET, "ledgers_per_batch", "batches_per_partition"):
        assert part in str(caught.value)
    assert (await Lake.open(str(tmp_path), network="testnet")).passphrase == TESTNET


async def test_a_range_that_is_none_is_refused(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 2))
    lake = await Lake.open(str(tmp_path))
    for first, last, options in (
        (0, 5, {}),
        (5, 4, {}),
        (2, 2**32, {}),
        (2, 3, {"prefetch_objects": 0}),
        (2, 3, {"poll_interval": 0}),
    ):
        with pytest.raises(ConfigError):
            await read(lake, first, last, **options)


@real_ledgers
async def test_a_lake_with_the_old_extension_and_no_manifest_is_read_with_sizes_set(tmp_path: Path) -> None:
    folder = tmp_path / "FFFFFFFF--0-63999"
    folder.mkdir()
    for name in ("FFFFFC1A--997.xdr.zstd", "FFFFFC19--998.xdr.zstd", "FFFFFC18--999.xdr.zstd"):
        shutil.copy(DATA / "containers" / "galexie" / name, folder)
    with pytest.raises(LakeError, match="ledgers_per_batch and batches_per_partition must be set"):
        await Lake.open(str(tmp_path))
    lake = await Lake.open(str(tmp_path), ledgers_per_batch=1, batches_per_partition=64000)
    assert lake.layout.extension == "xdr.zstd"
    assert [ledger.sequence for ledger in await read(lake, 997, 999)] == [997, 998, 999]
