"""Several instances of one peer: who is chosen, and where a client goes when its peer fails."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import anyio
import grpc
import grpc.aio
import pytest

from flowctl_aio import FlowctlConfig, FlowctlSession
from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch
from flowctl_aio.component import Source
from flowctl_aio.errors import ConfigError, DeadlineExceededError, PeerError, PeerUnavailableError, StreamError
from flowctl_aio.instances import Choice, Instance, instances_at
from flowctl_aio.testing import RecordingSink, assert_no_leaks, open_link, wait_registered
from flowctl_aio.types import Event

from .conftest import INFO, Numbers

pytestmark = pytest.mark.anyio
ALONE = FlowctlConfig(enabled=False, drain_timeout=0.2, discover_timeout=0.3)


def numbered(name: str) -> Numbers:
    numbers = Numbers()
    numbers.component_id = name
    return numbers


class Endless(Source):
    component_id = "endless"
    outputs = ("L",)

    async def stream(self, request):
        async for batch in Numbers().stream(replace(request, start=1, end=1)):
            yield batch
        await anyio.sleep_forever()


class GoSource(wire.v1.SourceServiceServicer):
    """Serves one stream at a time, and takes a moment to see that one is over."""

    def __init__(self, *, is_endless: bool = False, lag: float = 0.0) -> None:
        self.is_streaming, self.is_endless, self.lag = False, is_endless, lag
        self.refused = 0

    async def GetInfo(self, request, context):
        return wire.v1.ComponentInfo(id="go")

    async def StreamEvents(self, request, context):
        if self.is_streaming:
            self.refused += 1
            await context.abort(grpc.StatusCode.UNKNOWN, "already streaming")
        self.is_streaming = True
        try:
            for sequence in range(1, 4):
                ledger = wire.StellarLedger(sequence=sequence, ledger_close_meta_xdr=b"x")
                yield wire.v1.Event(
                    type="stellar.ledger.v1",
                    payload=ledger.SerializeToString(),
                    content_type="application/protobuf",
                )
            if self.is_endless:
                await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(self.lag)
            self.is_streaming = False


@asynccontextmanager
async def go_source(servicer: GoSource):
    server = grpc.aio.server()
    wire.v1.add_SourceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def rows(stream) -> int:
    async with stream:
        async for _ in stream:
            pass
    return stream.rows


# Who is chosen


def test_the_order_goes_by_failure_then_health_then_our_own_streams_then_what_beats_tell():
    now = [0.0]
    own = {"b": 1}
    choice = Choice(lambda endpoint: own.get(endpoint, 0), clock=lambda: now[0])
    a, b, c = Instance("a", metrics={"inflight": 5.0}), Instance("b"), Instance("c", metrics={"queue_depth": 2.0})
    sick = Instance("sick", rank=1)
    assert [one.endpoint for one in choice.ordered([sick, b, a, c])] == ["c", "a", "b", "sick"]
    choice.note_failure("c")
    assert [one.endpoint for one in choice.ordered([sick, b, a, c])] == ["a", "b", "sick", "c"]
    now[0] = 1.0
    assert choice.ordered([a, c])[0] is c
    choice.note_success("c")
    assert not choice.is_resting("c")


def test_equals_are_chosen_by_lot():
    choice = Choice(lambda endpoint: 0)
    both = [Instance("a"), Instance("b")]
    assert {choice.ordered(both)[0].endpoint for _ in range(100)} == {"a", "b"}


def test_the_rest_after_failures_is_capped_and_what_is_remembered_bounded():
    now = [0.0]
    choice = Choice(lambda endpoint: 0, clock=lambda: now[0])
    for _ in range(1000):
        choice.note_failure("a")
    now[0] = 30.0
    assert not choice.is_resting("a")
    for number in range(1000):
        choice.note_failure(str(number))
    assert not choice.is_resting("0")
    assert choice.is_resting("999")


@pytest.mark.parametrize("address", ["a:1,b:2", "a:1, b:2,a:1", ["a:1", "b:2"], ("a:1", "b:2", "a:1")])
def test_addresses_are_a_text_with_commas_or_a_sequence(address):
    assert [one.endpoint for one in instances_at(address)] == ["a:1", "b:2"]


@pytest.mark.parametrize("address", ["a:1,", "a:1,nohost", [], [1], ["a:1", "http://b:2"], ","])
def test_a_list_with_a_wrong_address_is_refused_as_a_whole(address):
    with pytest.raises(ConfigError, match="give host:port"):
        instances_at(address)


async def test_clients_are_spread_over_the_instances_that_discovery_finds(plane, config):
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(FlowctlSession(INFO, config))
        served = [await stack.enter_async_context(FlowctlSession(numbered(f"n{i}"), config)) for i in range(3)]
        for i in range(3):
            await wait_registered(plane, f"n{i}")
        session._life.ask().forget()
        clients = [await stack.enter_async_context(session.source()) for _ in range(6)]
        where = [client.peer.address for client in clients]
        assert {endpoint: where.count(endpoint) for endpoint in where} == {one.endpoint: 2 for one in served}


# When one fails


async def test_an_instance_that_cannot_be_reached_is_passed_over(serve):
    served = await serve(Numbers())
    async with FlowctlSession(INFO, ALONE) as session:
        for _ in range(5):
            async with session.source(f"localhost:1,{served.endpoint}") as source:
                assert await rows(source.stream(1, 3)) == 3


async def test_when_none_can_be_reached_one_error_names_them_all():
    async with FlowctlSession(INFO, ALONE) as session:
        with pytest.raises(PeerUnavailableError, match="none of 2 sources can be reached: ") as caught:
            async with session.source(["localhost:1", "localhost:2"]):
                pass
        assert "localhost:1: unavailable" in str(caught.value)
        assert "localhost:2: unavailable" in str(caught.value)


async def test_a_stream_that_breaks_is_not_moved_but_the_next_one_of_the_client_is(serve):
    one, two = await serve(Endless()), await serve(Endless())
    async with (
        FlowctlSession(INFO, ALONE) as session,
        open_link(one.endpoint) as link,
        # What this session has open at the other one makes the link the first choice.
        session.source(two.endpoint),
        session.source([link.endpoint, two.endpoint]) as source,
    ):
        assert source.peer.address == link.endpoint
        stream = source.stream(1, 1)
        await anext(stream)
        link.refuse()
        link.cut()
        with pytest.raises(StreamError):
            await anext(stream)
        assert stream.rows == 1
        async with source.stream(1, 1) as following:
            await anext(following)
        assert source.peer.address == two.endpoint


async def test_a_peer_that_restarts_at_its_address_is_found_again_by_the_same_client(free_port):
    again = replace(ALONE, bind=f"127.0.0.1:{free_port}")
    async with FlowctlSession(INFO, ALONE) as session, AsyncExitStack() as stack:
        async with FlowctlSession(Endless(), again) as served:
            source = await stack.enter_async_context(session.source(served.endpoint))
            stream = source.stream(1)
            await anext(stream)
        with pytest.raises(StreamError):
            await anext(stream)
        with pytest.raises(PeerUnavailableError):
            await anext(source.stream(1))
        async with FlowctlSession(Endless(), again):
            await anext(source.stream(1))
            await stack.aclose()


async def test_a_plane_that_is_away_does_not_keep_a_client_from_moving(plane, config):
    quick = replace(config, discover_timeout=0.3, query_timeout=0.3)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(FlowctlSession(INFO, quick))
        for name in ("one", "two"):
            await stack.enter_async_context(FlowctlSession(numbered(name), quick))
            await wait_registered(plane, name)
        session._life.ask().forget()
        async with session.source() as source:
            await plane.aclose()
            source._channel._choice.note_failure(source.peer.address)
            first = source.peer.address
            source._channel._leave()  # as if it had gone
            async with source.stream(1, 2) as stream:
                await anext(stream)
            assert source.peer.address != first


async def test_the_next_epoch_of_a_sink_goes_to_an_instance_that_is_there(plane, config):
    batch = EventBatch.from_events([Event("E", b"x")])
    first, second = RecordingSink(component_id="one", inputs=["E"]), RecordingSink(component_id="two", inputs=["E"])
    async with FlowctlSession(INFO, replace(config, discover_timeout=2.0)) as session, AsyncExitStack() as stack:
        async with FlowctlSession(first, config):
            await wait_registered(plane, "one")
            sink = await stack.enter_async_context(session.sink())
            await sink.send(batch)
            await sink.flush()
        async with FlowctlSession(second, config):
            await wait_registered(plane, "two")
            await sink.send(batch)
            await sink.flush()
            assert (len(first.epochs), len(second.epochs)) == (1, 1)
            await stack.aclose()


async def test_a_hundred_streams_share_the_pool_and_nothing_is_left_after_the_session(serve):
    served = await serve(Endless())
    async with assert_no_leaks(), FlowctlSession(INFO, ALONE) as session, AsyncExitStack() as stack:
        source = await stack.enter_async_context(session.source(served.endpoint))
        streams = [source.stream(1) for _ in range(100)]
        for stream in streams:
            await anext(stream)
        stats = session.connections()[served.endpoint]
        assert (stats.total, stats.healthy, stats.idle, stats.streams) == (10, 10, 0, 100)
        await stack.aclose()
        assert session.connections()[served.endpoint].idle == 10
        session._life.sight.view.metrics()
        pages = {one.name: dict(one.series) for one in session._life.sight.view.meter.families()}
        assert pages["flowctl_pool_total_connections"] == {(served.endpoint,): 10.0}
        assert pages["flowctl_pool_idle_connections"] == {(served.endpoint,): 10.0}
        assert pages["flowctl_pool_healthy_connections"] == {(served.endpoint,): 10.0}


# Strangers that serve one stream at a time


async def test_a_second_stream_to_a_go_source_waits_for_the_first(serve):
    go = GoSource(lag=0.1)
    async with (
        go_source(go) as endpoint,
        FlowctlSession(INFO, replace(ALONE, discover_timeout=5.0)) as session,
        session.source(endpoint) as one,
        session.source(endpoint) as two,
    ):
        counts = []
        async with anyio.create_task_group() as group:
            for client in (one, two, one, two):

                async def run(client=client) -> None:
                    counts.append(await rows(client.stream()))

                group.start_soon(run)
        assert counts == [3, 3, 3, 3]


async def test_a_second_stream_does_not_wait_for_ever():
    async with (
        go_source(GoSource(is_endless=True)) as endpoint,
        FlowctlSession(INFO, ALONE) as session,
        session.source(endpoint) as source,
        source.stream() as first,
    ):
        await anext(first)
        with pytest.raises(DeadlineExceededError, match=r"serves one stream at a time.* end that one first"):
            await anext(source.stream())


async def test_a_go_source_that_another_client_has_says_so():
    async with go_source(GoSource(is_endless=True)) as endpoint, AsyncExitStack() as stack:
        other, session = [await stack.enter_async_context(FlowctlSession(INFO, ALONE)) for _ in range(2)]
        theirs = (await stack.enter_async_context(other.source(endpoint))).stream()
        await anext(theirs)
        ours = await stack.enter_async_context(session.source(endpoint))
        with pytest.raises(PeerError, match=r"one stream at a time, and has one already \(already streaming\)"):
            await anext(ours.stream())


async def test_of_several_go_sources_one_that_is_free_is_taken():
    busy, free = GoSource(is_endless=True), GoSource()
    async with go_source(busy) as taken, go_source(free) as there, AsyncExitStack() as stack:
        other, session = [await stack.enter_async_context(FlowctlSession(INFO, ALONE)) for _ in range(2)]
        theirs = (await stack.enter_async_context(other.source(taken))).stream()
        await anext(theirs)
        for _ in range(4):
            async with session.source([taken, there]) as source:
                assert await rows(source.stream()) == 3
                assert source.peer.address == there
