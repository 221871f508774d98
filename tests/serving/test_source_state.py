"""What a served source keeps for its clients: by key, bounded, and in a file if it has one."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import anyio
import grpc.aio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.batches import LedgerBatch
from flowctl_aio.component import Source
from flowctl_aio.errors import PeerError
from flowctl_aio.serving.state import MAX_ENTRIES, MAX_KEYS, MAX_STATE_BYTES, StateStore
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import Cursor, Dialect, RawLedger

pytestmark = pytest.mark.anyio


class Ledgers(Source):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def stream(self, request):
        self.tokens.append(request.resume_token)
        for sequence in range(request.start or 1, (request.end or 20) + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"xdr")])


async def sequences(stream) -> list[int]:
    async with stream:
        return [row.sequence async for batch in stream for row in batch]


@pytest.fixture
async def grpc_stub():
    """Stubs of a client that knows nothing of this SDK."""
    async with AsyncExitStack() as stack:
        channels: list[grpc.aio.Channel] = []

        def stub(address: str):
            channels.append(grpc.aio.insecure_channel(address))
            stack.push_async_callback(channels[-1].close)
            return wire.v1.SourceServiceStub(channels[-1])

        yield stub


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_what_is_saved_comes_back_with_its_token_and_a_stream_goes_on_behind_it(serve, driver, dialect):
    session = await serve(Ledgers())
    async with driver.source(session.endpoint, dialect=dialect) as source:
        fresh = await source.get_state("reader")
        assert (fresh.values, fresh.resume_token, fresh.cursor, fresh.last_updated) == ({}, "", None, None)
        await source.save_state("reader", {"done": "17"}, cursor=Cursor(17))
        state = await source.get_state("reader")
        assert (state.values["done"], state.resume_token, state.cursor) == ("17", "17:0", Cursor(17))
        assert state.last_updated.tzinfo is not None
        assert (await source.get_state("other")).values == {}
        assert await sequences(source.stream(resume_token=state.resume_token)) == [18, 19, 20]


async def test_a_plain_client_resumes_by_the_token_only_if_it_says_so(serve, grpc_stub):
    component = Ledgers()
    session = await serve(component)
    stub = grpc_stub(session.endpoint)
    for resume, expected in ((True, 3), (False, 20)):
        request = wire.v1.StreamRequest(params={"end_ledger": "20"}, resume=resume, resume_token="17:0")
        assert len([message async for message in stub.StreamEvents(request)]) == expected
    request = wire.v1.StreamRequest(resume=True, resume_token="page=4")
    assert len([message async for message in stub.StreamEvents(request)]) == 20
    assert component.tokens == ["17:0", "", "page=4"]


async def test_a_plain_client_can_save_and_get(serve, grpc_stub):
    session = await serve(Ledgers())
    stub = grpc_stub(session.endpoint)
    await stub.SaveState(wire.v1.SaveStateRequest(key="go", state={"resume_token": "5:0", "a": "b"}))
    answer = await stub.GetState(wire.v1.StateRequest(key="go"))
    assert (dict(answer.state), answer.resume_token) == ({"resume_token": "5:0", "a": "b"}, "5:0")
    assert answer.last_updated_unix > 1_600_000_000


@pytest.mark.parametrize(
    ("key", "values", "named"),
    [
        ("", {}, "the key '' has 0 bytes"),
        ("k" * 257, {}, "the key 'kkk"),
        ("k", {str(n): "" for n in range(MAX_ENTRIES + 1)}, "65 entries"),
        ("k", {"a": "b", "large": "x" * MAX_STATE_BYTES}, "most of it is 'large'"),
    ],
)
async def test_a_state_out_of_bounds_is_refused_and_named(serve, driver, key, values, named):
    session = await serve(Ledgers())
    async with driver.source(session.endpoint) as source:
        with pytest.raises(PeerError, match=named) as caught:
            await source.save_state(key, values)
    assert caught.value.code == "INVALID_ARGUMENT"


async def test_there_is_a_bound_to_the_keys():
    store = StateStore()
    for n in range(MAX_KEYS):
        await store.save(str(n), {})
    await store.save("0", {"again": "yes"})
    with pytest.raises(Refused, match="256 keys") as caught:
        await store.save("one more", {})
    assert caught.value.code == "RESOURCE_EXHAUSTED"


async def test_a_file_outlives_the_service(serve, driver, tmp_path):
    path = tmp_path / "states.json"
    for cursor in (Cursor(3), Cursor(9, 2)):
        session = await serve(Ledgers(), state_file=str(path))
        async with driver.source(session.endpoint) as source:
            if cursor == Cursor(9, 2):
                assert (await source.get_state("k")).cursor == Cursor(3)
            await source.save_state("k", {}, cursor=cursor)
        await session.aclose()
    assert json.loads(path.read_text())["k"]["state"] == {"resume_token": "9:2"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"k": 1}', b'{"k": {"state": {"a": 1}, "updated": 1}}', b"\xff"])
async def test_a_file_that_cannot_be_read_is_no_fresh_start(tmp_path, content):
    path = tmp_path / "states.json"
    path.write_bytes(content)
    store = StateStore(str(path))
    for call in (store.get("k"), store.save("k", {})):
        with pytest.raises(Refused, match="cannot be read"):
            await call
    assert path.read_bytes() == content


async def test_a_folder_that_is_gone_keeps_what_was_there(tmp_path):
    store = StateStore(str(tmp_path / "gone" / "states.json"))
    with pytest.raises(Refused, match="cannot be written"):
        await store.save("k", {"a": "b"})
    assert (await store.get("k")).values == {}


async def test_many_at_once_lose_none(tmp_path):
    store = StateStore(str(tmp_path / "states.json"))
    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(store.save, str(n), {"n": str(n)})
    again = StateStore(str(tmp_path / "states.json"))
    assert [(await again.get(str(n))).values for n in range(20)] == [{"n": str(n)} for n in range(20)]
