"""The source on a Stellar RPC server: from a cursor, or from what is latest."""

from __future__ import annotations

import pytest

from flowctl_aio import StreamRequest
from flowctl_aio.components.stellar.rpc import FollowOptions, RpcServer
from flowctl_aio.components.stellar_arrow_source import RpcSupply, StellarArrowSource
from flowctl_aio.errors import ConfigError, LedgerGoneError
from tests.components.stellar.rpc.shaky_server import MADE, ShakyServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server():
    async with ShakyServer().serve() as served:
        yield served


async def source_on(server: ShakyServer, **settings: int) -> StellarArrowSource:
    place = await RpcServer.open(server.url, options=FollowOptions(poll_interval=0.01, retry_interval=0.01))
    return StellarArrowSource(RpcSupply(place), **settings)


async def sequences(source: StellarArrowSource, **asked: int) -> list[int]:
    return [ledger.sequence async for batch in source.stream(StreamRequest(**asked)) for ledger in batch]


async def test_a_cursor_is_where_reading_goes_on(server):
    source = await source_on(server)
    assert await sequences(source, start=110, end=112) == [110, 111, 112]
    assert await sequences(source, start=113, end=113) == [113]
    assert source.metrics()["current_ledger"] == 113
    assert source.metrics()["bytes_read_total"] > len(MADE.ledger(113).xdr)


async def test_without_a_start_the_stream_begins_at_the_latest_ledger(server):
    source = await source_on(server)
    assert await sequences(source, end=130) == [130]
    server.latest = 135
    assert await sequences(source, end=135) == [135]
    with pytest.raises(ConfigError, match="starts at ledger 135"):
        await sequences(source, end=134)


async def test_a_start_of_its_own_goes_before_the_latest(server):
    assert await sequences(await source_on(server, first=128, last=129)) == [128, 129]


async def test_a_ledger_that_is_gone_is_an_error_of_the_stream(server):
    with pytest.raises(LedgerGoneError):
        await sequences(await source_on(server), start=5)


async def test_the_sources_metadata_name_what_it_is(server):
    source = await source_on(server)
    assert "rpc" in source.metadata.values()
    assert server.url not in source.metadata.values()
