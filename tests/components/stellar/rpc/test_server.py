"""Ledgers off a Stellar RPC server: all of them, in order, whatever it does."""

from __future__ import annotations

import base64
import logging
import random
import ssl
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import pytest
import trustme
from aiohttp import web

from flowctl_aio.components.stellar.rpc import FollowOptions, RpcServer
from flowctl_aio.components.stellar.rpc.client import read_retry_after
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.errors import ConfigError, FrameTooLargeError, LedgerGoneError, RpcError, UsageError

from .shaky_server import (
    MADE,
    TESTNET,
    ShakyServer,
    changing,
    cut,
    entry,
    hang,
    refusing,
    result_with,
    sending,
)

pytestmark = pytest.mark.anyio
QUICK = FollowOptions(page_ledgers=4, retries=3, retry_interval=0.01, poll_interval=0.01)


@pytest.fixture
async def server():
    async with ShakyServer().serve() as served:
        yield served


async def opened(server: ShakyServer, *, options: FollowOptions = QUICK, **settings) -> RpcServer:
    return await RpcServer.open(server.url, options=options, **settings)


async def collect(place: RpcServer, first: int, last: int, found: list[int]) -> None:
    async with place.open_ledgers(first, last) as ledgers:
        async for ledger in ledgers:
            found.append(ledger.sequence)


async def read(server: ShakyServer, first: int, last: int, **settings) -> list[int]:
    place = await opened(server, **settings)
    async with place.open_ledgers(first, last) as ledgers:
        found = [ledger async for ledger in ledgers]
    assert [ledger.xdr for ledger in found] == [MADE.ledger(ledger.sequence).xdr for ledger in found]
    return [ledger.sequence for ledger in found]


async def test_a_range_comes_in_pages_and_exactly_as_it_is(server):
    assert await read(server, 101, 110) == list(range(101, 111))
    assert server.pages == [(101, 4), (105, 4), (109, 2)]


async def test_the_network_is_asked_for_and_another_one_refused(server):
    place = await opened(server, network="testnet")
    assert place.passphrase == TESTNET
    assert place.bytes_read > 0
    with pytest.raises(ConfigError, match=r"has the network 'Test SDF .*', not 'Public Global"):
        await opened(server, network="pubnet")


async def test_latest_is_what_the_server_holds_last(server):
    place = await opened(server)
    assert await place.find_latest() == 130
    server.latest = 131
    assert await place.find_latest() == 131


async def test_the_tip_is_followed_ledger_by_ledger(server):
    place = await opened(server)
    async with place.open_ledgers(129) as ledgers:
        found = [(await anext(ledgers)).sequence for _ in range(2)]
        polls = len([name for name, _ in server.calls if name == "getHealth"])
        await server.wait_calls("getHealth", polls + 3)
        server.latest = 132
        found += [(await anext(ledgers)).sequence for _ in range(2)]
    assert found == [129, 130, 131, 132]


async def test_a_range_that_begins_behind_the_tip_waits_for_it(server):
    place = await opened(server)
    async with place.open_ledgers(132, 133) as ledgers, anyio.create_task_group() as group:

        async def close_some() -> None:
            await server.wait_calls("getHealth", 3)
            server.latest = 140

        group.start_soon(close_some)
        assert [ledger.sequence async for ledger in ledgers] == [132, 133]


async def test_a_start_before_the_retention_window_names_both(server):
    with pytest.raises(LedgerGoneError, match=r"ledger 99 was asked for, and the oldest .* still has is 100") as caught:
        await read(server, 99, 110)
    assert (caught.value.ledger, caught.value.oldest) == (99, 100)


async def test_a_window_that_moves_past_the_reader_is_told_behind_the_ledgers_before_it(server):
    def move() -> None:
        if len(server.pages) == 2:
            server.oldest = 120

    server.before = move
    place = await opened(server)
    found: list[int] = []
    with pytest.raises(LedgerGoneError) as caught:
        await collect(place, 101, 130, found)
    assert found == list(range(101, 109))
    assert (caught.value.ledger, caught.value.oldest) == (109, 120)


async def test_older_ledgers_come_from_a_server_with_a_lake_behind_it(server):
    server.oldest = 90
    page = result_with(oldestLedger=120)
    server.faults.extend([page] * 3)
    assert await read(server, 95, 105) == list(range(95, 106))


FAULTS = {
    "500": 500,
    "502": 502,
    "503": 503,
    "429": 429,
    "408": 408,
    "cut": cut,
    "no json": sending(b"<html>"),
    "no object": sending(b"[]"),
    "deep": sending(b"[" * 100_000),
    "big number": sending(b'{"id": ' + b"9" * 5000 + b"}"),
    "other call": sending(b'{"jsonrpc":"2.0","id":999,"result":{}}'),
    "no result": lambda request, answer: {"jsonrpc": "2.0", "id": answer["id"], "result": None},
    "no list": result_with(ledgers={}),
    "no entries": result_with(ledgers=[]),
    "null for entries": result_with(ledgers=None),
    "no latest": result_with(latestLedger=None),
    "too many": result_with(ledgers=[entry(n) for n in range(101, 107)]),
    "storage": refusing(-32603, "could not read"),
    "skips one": result_with(ledgers=[entry(102)]),
    "goes back": result_with(ledgers=[entry(100)]),
    "repeats": changing(1, sequence=101),
    "another inside": changing(1, metadataXdr=entry(103)["metadataXdr"]),
    "another hash": changing(0, hash="00" * 32),
    "no hash": changing(0, hash=None),
    "no xdr": changing(0, metadataXdr=None),
    "empty xdr": changing(0, metadataXdr=""),
    "no base64": changing(0, metadataXdr="!" * 400),
    "cut xdr": changing(0, metadataXdr=base64.b64encode(MADE.ledger(101).xdr[:-2]).decode()),
    "no ledger": changing(0, metadataXdr="////" * 200),
    "no entry": lambda request, answer: {**answer, "result": {**answer["result"], "ledgers": [7]}},
    "a number that is none": changing(2, sequence=True),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_costs_another_question_and_no_ledger(server, fault):
    server.faults.extend([FAULTS[fault], None, FAULTS[fault] if isinstance(FAULTS[fault], int) else None, 500])
    assert await read(server, 101, 112) == list(range(101, 113))


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_that_stays_names_the_ledger_and_ends_the_stream(server, fault):
    server.faults.extend([FAULTS[fault]] * 20)
    named = r"ledger 1[01][0-9] cannot be read, tried 4 times: "
    with pytest.raises(RpcError, match=named):
        await read(server, 101, 110)


async def test_good_ledgers_of_a_page_are_given_before_its_bad_one(server):
    other = SyntheticLedgers(seed=9, transactions_per_ledger=1)
    server.faults.extend([result_with(ledgers=[entry(101), entry(102), entry(103, other)])])
    server.faults.extend([result_with(ledgers=[entry(103, other)])] * 9)
    place = await opened(server)
    found: list[int] = []
    with pytest.raises(RpcError, match=r"ledger 103 follows a ledger with hash .*, but ledger 102 has hash"):
        await collect(place, 101, 110, found)
    assert found == [101, 102]


async def test_a_failed_stream_fails_again_and_a_closed_one_says_so(server):
    place = await opened(server)
    async with place.open_ledgers(50) as ledgers:
        for _ in range(2):
            with pytest.raises(LedgerGoneError):
                await anext(ledgers)
    with pytest.raises(UsageError):
        await anext(ledgers)


async def test_a_server_that_hangs_is_left_and_asked_again(server):
    server.faults.append(hang)
    assert await read(server, 101, 102, timeout=0.2) == [101, 102]


async def test_retry_after_is_honoured(server):
    server.headers = {"Retry-After": "1"}
    server.faults.append(429)
    before = anyio.current_time()
    assert await read(server, 101, 101) == [101]
    assert anyio.current_time() - before >= 1


async def test_a_pause_that_is_too_long_is_an_error(server):
    server.headers = {"Retry-After": "86400"}
    server.faults.append(429)
    with pytest.raises(RpcError, match="answered 429, and wants 86400 seconds"):
        await read(server, 101, 101)


def test_retry_after_is_seconds_or_a_date():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < (read_retry_after(soon) or 0) <= 60
    assert read_retry_after(" 7 ") == 7
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [read_retry_after(text) for text in (None, "", "soon", "-1", "9" * 40)] == [None] * 5


@pytest.mark.parametrize(("status", "says"), [(401, "may not be asked"), (403, "may not be asked"), (404, "is no")])
async def test_a_refusal_is_not_argued_with(server, status, says):
    server.faults.extend([status] * 2)
    with pytest.raises(RpcError, match=f"{says}.*answered {status}"):
        await read(server, 101, 101)
    assert len(server.pages) == 1


async def test_a_redirect_is_not_followed(server):
    server.headers = {"Location": "http://127.0.0.1:9/"}
    server.faults.append(307)
    with pytest.raises(RpcError, match="answered 307"):
        await read(server, 101, 101)


async def test_a_server_without_the_method_is_told_at_once(server):
    server.faults.extend([refusing(-32601, "method not found")] * 2)
    server.faulty = "getNetwork"
    with pytest.raises(RpcError, match="tried once: the server says 'method not found'"):
        await opened(server)


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(server):
    size = len(entry(101)["metadataXdr"]) * 2
    assert await read(server, 101, 108, max_response_bytes=int(size * 1.5)) == list(range(101, 109))
    assert server.pages[:2] == [(101, 4), (101, 2)]


@pytest.mark.parametrize("packed", [False, True])
async def test_one_ledger_that_is_too_large_is_an_error_that_names_it(server, packed):
    server.faults.extend([sending(b" " * 3_000_000, packed=packed)] * 9)
    with pytest.raises(FrameTooLargeError, match="ledger 101 in an answer of http"):
        await read(server, 101, 108, max_response_bytes=1_000_000)


async def test_a_server_that_wants_smaller_pages_gets_them(server):
    server.most = 2
    assert await read(server, 101, 105) == list(range(101, 106))


async def test_a_server_that_lags_behind_its_siblings_costs_no_larger_pages(server):
    behind = refusing(-32600, "start ledger (101) must be between the oldest ledger: 90 and the latest ledger: 100")
    server.faults.extend([behind, behind, None, behind])
    assert await read(server, 101, 112) == list(range(101, 113))
    assert {limit for _, limit in server.pages} == {4}


async def test_a_server_that_flaps_all_the_time_gives_every_ledger_once(server):
    server.latest = 300
    chance = random.Random(5)
    faults = [*FAULTS.values()]
    server.faults.extend(chance.choice(faults) if chance.random() < 0.4 else None for _ in range(1000))
    patient = FollowOptions(page_ledgers=7, retries=30, retry_interval=0.0001, poll_interval=0.01)
    assert await read(server, 100, 300, options=patient) == list(range(100, 301))


async def test_a_reader_that_is_slow_stops_the_asking(server):
    place = await opened(server)
    async with place.open_ledgers(100, 130) as ledgers:
        await anext(ledgers)
        await server.wait_calls("getLedgers", 2)
        for _ in range(20):
            await anyio.sleep(0.005)
        assert len(server.pages) == 2


async def test_leaving_in_the_middle_of_a_call_leaves_nothing(server):
    server.faults.append(hang)
    place = await opened(server)
    with anyio.fail_after(5):
        async with place.open_ledgers(101) as ledgers:
            with anyio.move_on_after(0.05):
                await anext(ledgers)


async def test_secrets_of_the_address_are_sent_and_never_shown(server, caplog):
    caplog.set_level(logging.DEBUG)
    url = server.url.replace("://", "://me:hush1@") + "/hush2/v1?apikey=hush3"
    place = await RpcServer.open(url, options=QUICK)
    assert server.requests[-1].query["apikey"] == "hush3"
    assert server.requests[-1].path == "/hush2/v1"
    assert server.requests[-1].headers["Authorization"].startswith("Basic ")
    told = [repr(place), place.where]
    for fault in (500, 403, cut, sending(b"")):
        server.faults.extend([fault] * 4)
        with pytest.raises(RpcError) as caught:
            async with place.open_ledgers(101, 101) as ledgers:
                await anext(ledgers)
        server.faults.clear()
        told += traceback.format_exception(caught.value)
    assert "hush" not in "".join(told) + caplog.text


@pytest.mark.parametrize("url", ["ftp://hush@x", "https://", "hush", "http://hush:port/", "http://[hush", ""])
async def test_an_address_that_is_none_is_refused_without_being_shown(url):
    with pytest.raises(ConfigError, match="has an http or https URL") as caught:
        await RpcServer.open(url, options=QUICK)
    assert "hush" not in str(caught.value)


async def test_a_server_that_is_not_there_is_told():
    with pytest.raises(RpcError, match=r"^the network of http://\S+:1 cannot be read, tried 4 times: it cannot be"):
        await RpcServer.open("http://127.0.0.1:1", options=QUICK)


async def test_a_certificate_that_nobody_trusts_is_told():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with ShakyServer().serve(tls) as server:
        with pytest.raises(RpcError, match="its certificate is not trusted"):
            await opened(server)


async def test_an_answer_that_drips_for_ever_is_left(server):
    async def drip(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await anyio.sleep(0.02)

    server.faults.append(lambda request, answer: drip(request))
    assert await read(server, 101, 102, timeout=0.05) == [101, 102]


async def test_a_range_out_of_order_is_refused(server):
    place = await opened(server)
    for first, last in ((0, None), (5, 4), (1, 2**32)):
        with pytest.raises(ConfigError):
            async with place.open_ledgers(first, last):
                pass
