"""Which ledgers the source gives: those that the client asks for, or else its own."""

from __future__ import annotations

import pytest

from flowctl_aio import StreamRequest
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar_arrow_source import StellarArrowSource, SyntheticSupply
from flowctl_aio.errors import ConfigError

pytestmark = pytest.mark.anyio
MADE = SyntheticLedgers("testnet", seed=0, transactions_per_ledger=1)


async def given(source: StellarArrowSource, **asked: int) -> list[int]:
    return [ledger.sequence async for batch in source.stream(StreamRequest(**asked)) for ledger in batch]


async def test_a_client_that_names_no_start_gets_the_sources_own_range():
    source = StellarArrowSource(SyntheticSupply(MADE), first=10, last=12)
    assert await given(source) == [10, 11, 12]
    assert await given(source, end=11) == [10, 11]
    assert await given(source, start=11, end=13) == [11, 12, 13]
    with pytest.raises(ConfigError, match="starts at ledger 10"):
        await given(source, end=9)


async def test_a_client_that_names_a_start_alone_gets_no_end():
    source = StellarArrowSource(SyntheticSupply(MADE), batch_ledgers=1, first=10, last=12)
    stream = source.stream(StreamRequest(start=12))
    assert [ledger.sequence async for ledger in first(stream, 3)] == [12, 13, 14]


async def first(stream, count):
    async for batch in stream:
        for ledger in batch:
            yield ledger
            count -= 1
        if not count:
            break
    await stream.aclose()


async def test_without_a_range_of_its_own_a_client_without_start_is_refused():
    with pytest.raises(ConfigError, match="needs a start_ledger"):
        await given(StellarArrowSource(SyntheticSupply(MADE)))
