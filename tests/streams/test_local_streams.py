"""Peers of one loop are joined in memory, where both sides want it and neither has to prove who it is."""

from __future__ import annotations

import anyio
import anyio.to_thread
import grpc.aio
import pyarrow as pa
import pytest

from flowctl_aio import FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.codec.envelope import End, Envelope, Frame, decode
from flowctl_aio.component import Processor, Sink, Source
from flowctl_aio.errors import FrameCorruptError, PeerError, PeerUnavailableError
from flowctl_aio.streams.forms import WireDecoder
from flowctl_aio.streams.local import HandDecoder, HandEncoder
from flowctl_aio.types import Cursor, Event, RawLedger

from .components import MIB, Echo, GatedSource, ledger

pytestmark = pytest.mark.anyio
ROWS = pa.record_batch({"amount": pa.array(range(1000), pa.int64())})


@pytest.fixture
def local_streams():
    return True


class One(Source):
    """One batch, and what was asked of it."""

    outputs = ("E",)

    def __init__(self) -> None:
        self.batch = EventBatch(ROWS, event_type="E", first_cursor=Cursor(1), last_cursor=Cursor(3))

    async def stream(self, request):
        yield self.batch


class Kept(Sink):
    def __init__(self) -> None:
        self.batches = []

    async def consume(self, batch, epoch):
        self.batches.append(batch)


def addresses(rows: pa.RecordBatch) -> list[int]:
    return [buffer.address for column in rows.columns for buffer in column.buffers() if buffer is not None]


async def test_the_very_rows_pass_through_source_processor_and_sink(serve, driver):
    source, sink = One(), Kept()
    giving, echoing, taking = await serve(source), await serve(Echo()), await serve(sink)
    async with (
        driver.source(giving.endpoint) as first,
        driver.processor(echoing.endpoint) as second,
        driver.sink(taking.endpoint) as last,
    ):
        async for batch in second.stream(first.stream()):
            await last.send(batch)
        ack = await last.flush()
    (got,) = sink.batches
    assert got.record_batch is ROWS
    assert addresses(got.record_batch) == addresses(ROWS)
    assert (got.event_type, got.first_cursor, got.last_cursor) == ("E", Cursor(1), Cursor(3))
    assert (ack.batches, ack.rows) == (1, 1000)
    assert taking.metrics()["bytes_in_total"] == ROWS.nbytes
    assert giving.metrics()["bytes_out_total"] == ROWS.nbytes


async def test_each_side_has_a_wrapper_of_its_own(serve, driver):
    source = One()
    source.batch.trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    session = await serve(source)
    async with driver.source(session.endpoint) as client, client.stream() as stream:
        (got,) = [batch async for batch in stream]
    assert got is not source.batch
    assert got.trace == source.batch.trace
    got.trace = {}
    got.first_cursor = None
    assert source.batch.trace
    assert source.batch.first_cursor == Cursor(1)


@pytest.mark.parametrize("off", ["server", "client"])
async def test_either_side_can_insist_on_grpc(serve, off):
    session = await serve(One(), local_streams=off != "server")
    config = FlowctlConfig(enabled=False, local_streams=off != "client")
    async with (
        FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config) as driver,
        driver.source(session.endpoint) as client,
        client.stream() as stream,
    ):
        (got,) = [batch async for batch in stream]
    assert got.record_batch == ROWS
    assert addresses(got.record_batch) != addresses(ROWS)


async def test_a_session_in_another_loop_is_reached_over_grpc(serve):
    session = await serve(One())

    async def read() -> list[int]:
        config = FlowctlConfig(enabled=False)
        async with (
            FlowctlSession(ServiceInfo("other", ServiceType.PIPELINE), config) as driver,
            driver.source(session.endpoint) as client,
            client.stream() as stream,
        ):
            return [number async for batch in stream for number in addresses(batch.record_batch)]

    assert await anyio.to_thread.run_sync(anyio.run, read) != addresses(ROWS)


async def test_who_lacks_the_token_is_kept_out_of_his_own_process_too(serve, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-sixteen-characters\n")
    session = await serve(One(), accept_tokens_file=str(tokens))

    async def read(**settings) -> list[int]:
        config = FlowctlConfig(enabled=False, **settings)
        async with (
            FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config) as driver,
            driver.source(session.endpoint) as client,
            client.stream() as stream,
        ):
            return [len(batch) async for batch in stream]

    with pytest.raises(PeerError, match="UNAUTHENTICATED"):
        await read()
    assert await read(token="a-token-of-sixteen-characters") == [1000]


async def test_who_has_set_tls_up_gets_no_peer_without_a_certificate(serve):
    session = await serve(One())
    config = FlowctlConfig(enabled=False, tls=True)
    async with FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config) as driver:
        with pytest.raises(PeerUnavailableError, match="TLS"):
            async with driver.source(session.endpoint):
                pass


async def test_a_batch_without_rows_arrives_too(serve, driver):
    source, sink = One(), Kept()
    source.batch = EventBatch(ROWS.slice(0, 0), event_type="E", first_cursor=Cursor(1), last_cursor=Cursor(2))
    giving, taking = await serve(source), await serve(sink)
    async with driver.source(giving.endpoint) as first, driver.sink(taking.endpoint) as last:
        async for batch in first.stream():
            await last.send(batch)
        ack = await last.flush()
    assert (ack.batches, ack.rows, ack.last_cursor) == (1, 0, Cursor(2))
    assert [len(batch) for batch in sink.batches] == [0]


async def test_nobody_on_the_network_can_claim_to_be_in_this_loop(serve):
    session = await serve(One())
    metadata = (("flowctl-aio", "arrow,end-marker,local,handed"), ("flowctl-aio-local", "1"))
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        call = wire.LedgerSourceStub(channel).StreamRawLedgers(wire.SourceRequest(), metadata=metadata)
        messages = [message.SerializeToString() async for message in call]
    frame, end = (decode(Envelope.LEDGER, message, limit=MIB) for message in messages)
    assert isinstance(frame, Frame)
    assert frame.batch.record_batch == ROWS
    assert end == End(1, 1000)


def test_only_what_was_handed_over_is_taken_as_it_is():
    decoder = HandDecoder(WireDecoder(Envelope.EVENT, limit=MIB))
    batch = EventBatch.from_events([Event("E", b"x", cursor=Cursor(1))])
    (message,) = HandEncoder().encode(batch, {})
    assert decoder.decode(message.data).batch.record_batch is batch.record_batch
    assert len(message.data) == batch.nbytes
    with pytest.raises(FrameCorruptError):
        decoder.decode(repr(message.data).encode())


def test_ledgers_arrive_as_ledgers_also_where_they_were_called_events():
    rows = LedgerBatch.from_ledgers([RawLedger(7, b"x")]).record_batch
    (message,) = HandEncoder().encode(EventBatch(rows, event_type="E"), {})
    assert isinstance(message.data.received.batch, LedgerBatch)
    assert message.data.received.batch.record_batch is rows


async def test_a_server_that_comes_back_at_the_same_place_is_joined_again(driver, free_port):
    config = FlowctlConfig(enabled=False, bind=f"127.0.0.1:{free_port}", drain_timeout=0.2)
    for _ in range(2):
        async with (
            FlowctlSession(One(), config) as session,
            driver.source(session.endpoint) as client,
            client.stream() as stream,
        ):
            (got,) = [batch async for batch in stream]
        with pytest.raises(PeerUnavailableError):
            async with driver.source(config.bind):
                pass
        assert got.record_batch is ROWS


async def test_a_source_that_stops_in_the_middle_is_unavailable_and_not_at_its_end(driver):
    component = GatedSource()
    component.gate.set()
    config = FlowctlConfig(enabled=False, drain_timeout=0.2)
    async with (
        FlowctlSession(component, config) as session,
        driver.source(session.endpoint) as client,
        client.stream(1) as stream,
    ):
        await anext(stream)
        session.stop()
        with pytest.raises(PeerUnavailableError, match="resume behind the last batch"):
            async for _ in stream:
                pass
    assert component.closed.is_set()


async def test_a_component_that_ignores_the_draining_is_cut_off_and_cleans_up(driver):
    begun, cleaned = anyio.Event(), anyio.Event()

    class Stuck(Processor):
        async def process(self, batch):
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                await anyio.sleep(0.01)
                cleaned.set()

    async def inputs():
        yield ledger(1)
        await anyio.sleep_forever()

    async def stop_when_begun() -> None:
        await begun.wait()
        session.stop()

    async with (
        FlowctlSession(Stuck(), FlowctlConfig(enabled=False, drain_timeout=0.05)) as session,
        driver.processor(session.endpoint) as client,
        client.stream(inputs()) as stream,
        anyio.create_task_group() as group,
    ):
        group.start_soon(stop_when_begun)
        with pytest.raises(PeerUnavailableError):
            await anext(stream)
    assert cleaned.is_set()


async def test_nothing_is_left_behind(serve, driver, no_tasks_left, until):
    session = await serve(Echo())

    async def inputs():
        for sequence in range(1000):
            yield ledger(sequence)

    async with no_tasks_left(), driver.processor(session.endpoint) as client:
        async with client.stream(inputs()) as stream:
            await anext(stream)
        async with client.stream(inputs()) as stream:
            assert [row.sequence async for batch in stream for row in batch] == list(range(1000))
    await until(lambda: session.metrics()["streams"] == 0)
