"""Peers that know nothing of us: built on the generated stubs alone, one row a message, ends that mean the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.component import Processor, Sink, Source
from flowctl_aio.errors import FrameTooLargeError, PeerError, StreamError, UsageError
from flowctl_aio.types import Cursor, Dialect, Event, RawLedger

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def listening(add, servicer) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def add_of(stub: str, package=wire):
    """The generated registration function of a service."""
    name = f"add_{stub}Servicer_to_server"
    return getattr(package, name)


class ClassicSource(wire.LedgerSourceServicer):
    async def Ping(self, request, context):
        return wire.Pong(version="1")

    async def StreamRawLedgers(self, request, context):
        for sequence in range(request.start_ledger, int(request.params["end_ledger"]) + 1):
            yield wire.RawLedger(ledger_sequence=sequence, xdr_data=b"x" * sequence, network=request.network)


class V1Source(wire.v1.SourceServiceServicer):
    async def GetInfo(self, request, context):
        return wire.v1.ComponentInfo(id="v1")

    async def StreamEvents(self, request, context):
        first, last = int(request.params["start_ledger"]), int(request.params["end_ledger"])
        for sequence in range(first, last + 1):
            payload = wire.StellarLedger(sequence=sequence, ledger_close_meta_xdr=b"x" * sequence)
            yield wire.v1.Event(
                type="stellar.ledger.v1",
                payload=payload.SerializeToString(),
                content_type="application/protobuf",
            )


class ClassicProcessor(wire.EventProcessorServicer):
    async def Ping(self, request, context):
        return wire.Pong()

    async def Process(self, requests, context):
        async for event in requests:
            yield wire.Event(event_type="done", payload=event.payload)


class V1Processor(wire.v1.ProcessorServiceServicer):
    async def GetInfo(self, request, context):
        return wire.v1.ComponentInfo(id="v1")

    async def Process(self, requests, context):
        async for event in requests:
            yield wire.v1.Event(id=event.id, type="done", payload=event.payload)


class ClassicSink(wire.EventSinkServicer):
    def __init__(self, *, refuse_after: int | None = None) -> None:
        self.got: list[bytes] = []
        self.refuse_after = refuse_after

    async def Ping(self, request, context):
        return wire.Pong()

    async def Ingest(self, requests, context):
        async for event in requests:
            self.got.append(event.payload)
            if len(self.got) == self.refuse_after:
                return wire.SinkAck(success=False, error="the disk is full")
        return wire.SinkAck(success=True, metadata={"file": "a.parquet"})


class V1Sink(wire.v1.ConsumerServiceServicer):
    def __init__(self) -> None:
        self.got: list[bytes] = []

    async def GetInfo(self, request, context):
        return wire.v1.ComponentInfo(id="v1")

    async def Consume(self, requests, context):
        async for event in requests:
            self.got.append(event.payload)
        return wire.v1.ConsumeResponse(events_consumed=len(self.got) - 1, events_failed=1, errors=["one was odd"])


def events(*payloads: bytes) -> EventBatch:
    return EventBatch.from_events([Event("E", payload, id=payload.decode()) for payload in payloads])


@pytest.mark.parametrize(
    ("add", "servicer", "dialect"),
    [
        (add_of("LedgerSource"), ClassicSource, Dialect.CLASSIC),
        (add_of("SourceService", wire.v1), V1Source, Dialect.V1),
    ],
)
async def test_a_plain_source_gives_ledger_batches_and_its_end_is_trusted(driver, add, servicer, dialect):
    async with listening(add, servicer()) as address, driver.source(address) as source:
        assert (source.peer.dialect, source.peer.capabilities) == (dialect, frozenset())
        async with source.stream(3, 2000, network="n") as batches:
            got = [batch async for batch in batches]
    assert all(isinstance(batch, LedgerBatch) for batch in got)
    rows = [row for batch in got for row in batch]
    assert [row.sequence for row in rows] == list(range(3, 2001))
    assert rows[-1].xdr == b"x" * 2000
    assert (batches.rows, batches.batches) == (1998, len(got))


@pytest.mark.parametrize(
    ("add", "servicer"),
    [(add_of("EventProcessor"), ClassicProcessor), (add_of("ProcessorService", wire.v1), V1Processor)],
)
async def test_a_plain_processor_gets_rows_and_keeps_their_order(driver, add, servicer):
    async def inputs():
        for number in range(300):
            yield events(*(b"%d.%d" % (number, row) for row in range(3)))

    async with listening(add, servicer()) as address, driver.processor(address) as processor:
        rows = [row async for batch in processor.stream(inputs()) for row in batch]
    assert [row.payload for row in rows] == [b"%d.%d" % (number, row) for number in range(300) for row in range(3)]
    assert {row.event_type for row in rows} == {"done"}


async def test_plain_rows_that_come_close_behind_each_other_are_handed_on_together(driver):
    async with (
        listening(wire.add_LedgerSourceServicer_to_server, ClassicSource()) as address,
        driver.source(address) as source,
    ):
        batches = [batch async for batch in source.stream(1, 500)]
    assert [ledger.sequence for batch in batches for ledger in batch] == list(range(1, 501))
    assert len(batches) < 250


async def test_rows_that_came_before_a_plain_peer_failed_are_handed_on_first(driver):
    class Failing(ClassicSource):
        async def StreamRawLedgers(self, request, context):
            async for ledger in super().StreamRawLedgers(request, context):
                yield ledger
            await context.abort(grpc.StatusCode.DATA_LOSS, "the disk is gone")

    seen = []

    async def read(stream):
        async for batch in stream:
            seen.extend(ledger.sequence for ledger in batch)

    async with (
        listening(wire.add_LedgerSourceServicer_to_server, Failing()) as address,
        driver.source(address) as source,
    ):
        with pytest.raises(PeerError, match="the disk is gone"):
            await read(source.stream(1, 20))
    assert seen == list(range(1, 21))


async def test_a_row_that_a_stranger_could_not_take_is_refused_here(driver):
    large = events(b"x" * (5 * 1024 * 1024))
    async with (
        listening(wire.add_EventSinkServicer_to_server, ClassicSink()) as address,
        driver.sink(address) as sink,
    ):
        with pytest.raises(FrameTooLargeError, match="above the limit of 4194304"):
            await send_and_flush(sink, large)


async def test_what_is_no_batch_is_refused_by_name(driver):
    async with (
        listening(wire.add_EventSinkServicer_to_server, ClassicSink()) as address,
        driver.sink(address) as sink,
    ):
        with pytest.raises(UsageError, match="not RecordBatch"):
            await send_and_flush(sink, events(b"x").record_batch)


async def send_and_flush(sink, batch):
    await sink.send(batch)
    await sink.flush()


async def test_a_plain_classic_sink_acknowledges_what_was_sent(driver):
    servicer = ClassicSink()
    async with listening(add_of("EventSink"), servicer) as address, driver.sink(address) as sink:
        await sink.send(events(b"a", b"b"))
        await sink.send(events(b"c"))
        ack = await sink.flush()
    assert servicer.got == [b"a", b"b", b"c"]
    assert (ack.batches, ack.rows, ack.failed, ack.metadata) == (2, 3, 0, {"file": "a.parquet"})


async def test_a_plain_v1_sink_acknowledges_by_its_own_count(driver):
    servicer = V1Sink()
    async with listening(add_of("ConsumerService", wire.v1), servicer) as address, driver.sink(address) as sink:
        await sink.send(events(b"a", b"b", b"c"))
        ack = await sink.flush()
    assert servicer.got == [b"a", b"b", b"c"]
    assert (ack.rows, ack.failed, list(ack.errors)) == (2, 1, ["one was odd"])


async def test_a_refusal_is_told_in_the_sinks_words_also_when_it_comes_before_the_end(driver):
    async with listening(add_of("EventSink"), ClassicSink(refuse_after=1)) as address:

        async def send_for_ever():
            async with driver.sink(address) as sink:
                while True:
                    await sink.send(events(b"a" * 100_000))

        with pytest.raises(PeerError, match="the disk is full") as caught:
            await send_for_ever()
        assert caught.value.details == "the disk is full"
        # The client goes on: the next epoch is a new one.
        async with driver.sink(address) as sink:
            await sink.send(events(b"b"))
            assert (await sink.flush()).rows == 1


async def test_a_dialect_can_be_demanded(driver):
    async with listening(add_of("LedgerSource"), ClassicSource()) as address:
        async with driver.source(address, dialect=Dialect.CLASSIC) as source:
            assert source.peer.dialect is Dialect.CLASSIC
        with pytest.raises(StreamError, match="serves no source"):
            async with driver.source(address, dialect=Dialect.V1):
                pass


async def test_somebody_who_serves_something_else_is_not_taken_for_a_source(driver):
    async with listening(add_of("EventSink"), ClassicSink()) as address:
        with pytest.raises(StreamError, match="serves no source"):
            async with driver.source(address):
                pass


# The other way round: plain clients at our servers.


class Numbers(Source):
    async def stream(self, request):
        yield LedgerBatch.from_ledgers(
            [RawLedger(n, b"xdr", network="n") for n in range(request.start, request.end + 1)]
        )


class Upper(Processor):
    flushed = 0

    async def process(self, batch):
        return EventBatch.from_events([Event("U", row.payload.upper(), id=row.id, cursor=row.cursor) for row in batch])

    async def flush(self):
        self.flushed += 1
        return EventBatch.from_events([Event("LAST", b"last")])


class Keeper(Sink):
    def __init__(self) -> None:
        self.rows: list[Event] = []
        self.commits = 0

    async def consume(self, batch, epoch):
        self.rows += batch
        if any(row.payload == b"odd" for row in batch):
            epoch.failed += 1
            epoch.errors.append("odd")

    async def commit(self, epoch):
        self.commits += 1
        return {"file": "b.parquet"}


async def test_plain_clients_get_ledgers_one_a_message(serve):
    session = await serve(Numbers())
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        request = wire.SourceRequest(start_ledger=5, params={"end_ledger": "7"})
        got = [message async for message in wire.LedgerSourceStub(channel).StreamRawLedgers(request)]
        assert [(m.ledger_sequence, m.xdr_data, m.network) for m in got] == [(n, b"xdr", "n") for n in (5, 6, 7)]
        v1 = wire.v1.StreamRequest(params={"start_ledger": "5", "end_ledger": "7"})
        events = [message async for message in wire.v1.SourceServiceStub(channel).StreamEvents(v1)]
    assert [wire.StellarLedger.FromString(event.payload).sequence for event in events] == [5, 6, 7]
    assert {event.type for event in events} == {"stellar.ledger.v1"}


async def test_plain_clients_of_a_processor_get_rows_and_its_flush(serve):
    component = Upper()
    session = await serve(component)

    async def classic():
        for payload in (b"a", b"b"):
            yield wire.Event(event_type="E", payload=payload)

    async def v1():
        for payload in (b"a", b"b"):
            yield wire.v1.Event(id="1", type="E", payload=payload)

    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        got = [(e.event_type, e.payload) async for e in wire.EventProcessorStub(channel).Process(classic())]
        assert got == [("U", b"A"), ("U", b"B"), ("LAST", b"last")]
        got = [(e.type, e.payload) async for e in wire.v1.ProcessorServiceStub(channel).Process(v1())]
        assert got == [("U", b"A"), ("U", b"B"), ("LAST", b"last")]
    assert component.flushed == 2


async def test_the_end_of_a_plain_client_of_a_sink_is_trusted(serve):
    component = Keeper()
    session = await serve(component)

    async def classic():
        for payload in (b"a", b"odd"):
            yield wire.Event(event_type="E", payload=payload)

    async def v1():
        yield wire.v1.Event(type="E", payload=b"c")

    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        ack = await wire.EventSinkStub(channel).Ingest(classic())
        assert (ack.success, ack.error) == (True, "odd")
        assert (ack.metadata["file"], ack.metadata["rows"], ack.metadata["failed"]) == ("b.parquet", "1", "1")
        response = await wire.v1.ConsumerServiceStub(channel).Consume(v1())
        assert (response.events_consumed, response.events_failed) == (1, 0)
    assert component.commits == 2
    assert [row.payload for row in component.rows] == [b"a", b"odd", b"c"]


async def test_a_plain_client_does_not_see_our_markers(serve):
    session = await serve(Numbers())
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        request = wire.SourceRequest(start_ledger=1, params={"end_ledger": "1"})
        call = wire.LedgerSourceStub(channel).StreamRawLedgers(request)
        assert [message.ledger_sequence async for message in call] == [1]


@pytest.mark.parametrize("text", ["abc", "-1", "4294967296", "١"])
async def test_a_request_for_no_ledger_is_an_invalid_argument(serve, text):
    session = await serve(Numbers())
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        stub = wire.LedgerSourceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.StreamRawLedgers(wire.SourceRequest(params={"end_ledger": text})).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert text in caught.value.details()


async def test_a_range_that_ends_before_it_starts_is_refused(serve, driver):
    session = await serve(Numbers())
    async with driver.source(session.endpoint) as source, source.stream(9, 3) as batches:
        with pytest.raises(PeerError, match="ends before it starts"):
            await anext(batches)


async def test_a_stranger_may_not_shut_us_down(serve):
    session = await serve(Keeper())
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="PERMISSION_DENIED"):
            await wire.EventSinkStub(channel).Shutdown(wire.ShutdownRequest())
        info = await wire.v1.ConsumerServiceStub(channel).GetInfo(wire.Empty())
    assert info.id == "keeper"


async def test_cursors_and_ids_survive_a_plain_classic_peer(serve, driver):
    session = await serve(Upper())
    async with grpc.aio.insecure_channel(session.endpoint) as channel:

        async def inputs():
            yield wire.Event(event_type="E", payload=b"a", metadata={"event-id": "7", "cursor": "12:3"})

        got = [event async for event in wire.EventProcessorStub(channel).Process(inputs())]
    assert got[0].metadata["event-id"] == "7"
    assert Cursor.parse(got[0].metadata["cursor"]) == Cursor(12, 3)
