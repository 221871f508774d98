"""Claims about servers that fail: they are asked again for a while, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.components.stellar.lake import Lake
from flowctl_aio.components.stellar.lake.store import MAX_RETRY_PAUSE, retry_pause
from flowctl_aio.errors import LakeError

from .lakes import build_lake, made, read, read_until_failure
from .rough_server import RoughServer

pytestmark = pytest.mark.anyio


async def test_a_server_that_is_not_there_is_told_after_the_retries() -> None:
    with pytest.raises(LakeError, match="tried 3 times"):
        await Lake.open("http://127.0.0.1:9/lake", retries=2, retry_interval=0.001)


async def test_a_server_that_fails_for_a_while_loses_nothing(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 9))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        name = layout.key_of(5).rpartition("/")[2]
        server.failures[name] = 2
        ledgers = await read(lake, 2, 9, retries=2, retry_interval=0.001)
        assert [ledger.sequence for ledger in ledgers] == list(range(2, 10))
        assert server.asked.count(name) == 3
        server.failures[name] = 3
        came, failure = await read_until_failure(lake, 2, 9, retries=2, retry_interval=0.001)
        assert came == [2, 3, 4]
        assert isinstance(failure, LakeError)
        assert name in str(failure)
        assert "\n" not in str(failure)


async def test_a_server_that_refuses_is_not_asked_again(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 3))
    async with RoughServer(tmp_path).serve() as server:
        server.status = 403
        lake = await Lake.open(server.url)
        name = layout.key_of(3).rpartition("/")[2]
        server.failures[name] = 9
        came, failure = await read_until_failure(lake, 2, 3)
        assert came == [2]
        assert isinstance(failure, LakeError)
        assert server.asked.count(name) == 1


@pytest.mark.parametrize("list_failures", [[], [503, 503], [403]])
async def test_a_public_bucket_is_read_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, list_failures: list[int]
) -> None:
    ledgers = made(2, 9)
    build_lake(tmp_path / "bucket" / "v1" / "testnet", ledgers)
    async with RoughServer(tmp_path).serve() as server:
        monkeypatch.setenv("AWS_ENDPOINT", server.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        server.list_failures = list_failures
        settings = {"network": "testnet", "region": "us-east-2", "retry_interval": 0.001}
        lake = await Lake.open("s3://bucket/v1/testnet", anonymous=True, **settings)  # type: ignore[arg-type]
        assert not server.list_failures
        assert [ledger.xdr for ledger in await read(lake, 2, 9)] == [ledger.xdr for ledger in ledgers]
        assert server.headers
        assert not any("Authorization" in headers for headers in server.headers)


@given(st.integers(1, 100), st.floats(0.001, 100), st.floats(0, 1))
def test_a_pause_between_attempts_is_bounded_on_both_sides(failed: int, interval: float, jitter: float) -> None:
    pause = retry_pause(failed, interval, jitter=jitter)
    assert min(interval, MAX_RETRY_PAUSE) / 2 <= pause <= MAX_RETRY_PAUSE
