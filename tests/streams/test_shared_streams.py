"""Streams whose batches go through shared memory, on real gRPC: the same as without, only the bytes are elsewhere."""

from __future__ import annotations

import gc
from pathlib import Path

import anyio
import grpc.aio
import pytest

from flowctl_aio import FlowctlConfig, FlowctlSession, ServiceInfo, ServiceType
from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.codec.envelope import Envelope, decode, encode_handle, encode_rows
from flowctl_aio.component import Processor, Sink, Source
from flowctl_aio.config import FlowctlConfig as Config
from flowctl_aio.errors import CodecError, FrameCorruptError
from flowctl_aio.streams.forms import FrameEncoder, decoder_for, encoder_for
from flowctl_aio.streams.handshake import LEAST, SHARED_MEMORY, Offer, own_offer
from flowctl_aio.streams.shared import folder as files
from flowctl_aio.streams.shared.forms import SharedDecoder, SharedEncoder, sharing
from flowctl_aio.streams.shared.loan import Loan
from flowctl_aio.types import Cursor, Dialect, Event, RawLedger

pytestmark = pytest.mark.anyio
SIZE = 100_000


def ledger(sequence: int, size: int = SIZE) -> LedgerBatch:
    return LedgerBatch.from_ledgers([RawLedger(sequence, bytes([sequence % 251]) * size)])


def event(sequence: int, size: int = SIZE) -> EventBatch:
    return EventBatch.from_events(
        [Event("E", bytes([sequence % 251]) * size, id=f"{sequence}", cursor=Cursor(sequence))]
    )


class Ledgers(Source):
    outputs = (LedgerBatch.event_type,)

    async def stream(self, request):
        for sequence in range(request.start, request.end + 1):
            yield ledger(sequence)


class Echo(Processor):
    async def process(self, batch):
        return batch


class Keeper(Sink):
    def __init__(self) -> None:
        self.epochs: list[list[bytes]] = []

    async def consume(self, batch, epoch):
        epoch.state.setdefault("batches", []).append(batch)

    async def commit(self, epoch):
        self.epochs.append(
            [row.payload[:1] * 2 + row.payload[-1:] for batch in epoch.state["batches"] for row in batch]
        )


@pytest.fixture(params=list(Dialect))
def dialect(request):
    return request.param


@pytest.fixture
def place(tmp_path) -> str:
    return str(tmp_path)


@pytest.fixture
async def client(place):
    config = FlowctlConfig(enabled=False, drain_timeout=0.2, shared_memory_folder=place)
    async with FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config) as session:
        yield session


def left(place: str) -> list[str]:
    folder = files.folder_in(place)
    return [file.name for file in folder.iterdir()] if folder.exists() else []


async def test_a_source_stream_goes_through_the_ring_in_order(serve, client, place, dialect):
    session = await serve(Ledgers(), shared_memory_folder=place)
    async with client.source(session.endpoint, dialect=dialect) as source, source.stream(1, 300) as stream:
        got = [(row.sequence, row.xdr[0], len(row.xdr)) async for batch in stream for row in batch]
    assert got == [(sequence, sequence % 251, SIZE) for sequence in range(1, 301)]
    assert stream.bytes > 300 * SIZE
    assert stream.shared_bytes > 300 * SIZE / 2  # most of them did not come through the call
    assert session.metrics()["bytes_out_total"] > 300 * SIZE
    assert left(place) == []


async def test_a_processor_stream_goes_through_two_rings(serve, client, place, dialect):
    session = await serve(Echo(), shared_memory_folder=place)

    async def inputs():
        for sequence in range(100):
            yield event(sequence)

    async with (
        client.processor(session.endpoint, dialect=dialect) as processor,
        processor.stream(inputs()) as stream,
    ):
        got = [(batch.first_cursor.sequence, row.payload[0]) async for batch in stream for row in batch]
    assert got == [(sequence, sequence % 251) for sequence in range(100)]
    assert stream.shared_bytes > 100 * SIZE / 2
    assert session.metrics()["bytes_in_total"] > 100 * SIZE
    assert left(place) == []


async def test_a_sink_that_keeps_its_batches_until_it_commits_gets_all_of_them(serve, client, place, dialect):
    component = Keeper()
    session = await serve(component, shared_memory_folder=place, shared_memory_bytes=2**20)
    async with client.sink(session.endpoint, dialect=dialect) as sink:
        for _ in range(2):
            for sequence in range(40):  # four times what the ring holds
                await sink.send(event(sequence))
            assert (await sink.flush()).rows == 40
    assert component.epochs == [[bytes([sequence] * 3) for sequence in range(40)]] * 2
    assert left(place) == []


async def test_a_batch_outlives_its_stream_and_its_session(serve, place):
    session = await serve(Ledgers(), shared_memory_folder=place)
    config = FlowctlConfig(enabled=False, drain_timeout=0.2, shared_memory_folder=place)
    async with (
        FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config) as client,
        client.source(session.endpoint) as source,
        source.stream(7, 9) as stream,
    ):
        batch = await anext(stream)
    del stream, source, client
    gc.collect()
    assert [row.xdr for row in batch] == [bytes([7]) * SIZE]


async def test_neither_descriptors_nor_mappings_wait_for_the_garbage_collector(serve, client, place):
    def mapped() -> int:
        return sum(place in line for line in Path("/proc/self/maps").read_text().splitlines())

    session = await serve(Echo(), shared_memory_folder=place)

    async def inputs():
        for sequence in range(20):
            yield event(sequence)

    gc.disable()
    try:
        async with client.processor(session.endpoint) as processor:
            for _ in range(3):
                async with processor.stream(inputs()) as stream:
                    async for batch in stream:
                        assert mapped() > 0 < len(batch)
                del batch
        with anyio.fail_after(5):
            while mapped():  # noqa: ASYNC110 - the server is done a little later
                await anyio.sleep(0.005)
    finally:
        gc.enable()


@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True), (False, False)])
async def test_one_option_on_either_side_turns_it_off(serve, place, ours, theirs):
    session = await serve(Ledgers(), shared_memory_folder=place, shared_memory=theirs)
    config = FlowctlConfig(enabled=False, drain_timeout=0.2, shared_memory_folder=place, shared_memory=ours)
    async with (
        FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config) as client,
        client.source(session.endpoint) as source,
        source.stream(1, 20) as stream,
    ):
        assert [row.sequence async for batch in stream for row in batch] == list(range(1, 21))
    assert stream.shared_bytes == 0
    assert left(place) == []


async def test_peers_that_do_not_see_the_same_folder_do_without(serve, client, place, tmp_path_factory):
    session = await serve(Ledgers(), shared_memory_folder=str(tmp_path_factory.mktemp("other")))
    async with client.source(session.endpoint) as source, source.stream(1, 20) as stream:
        assert [row.sequence async for batch in stream for row in batch] == list(range(1, 21))
    assert stream.shared_bytes == 0
    assert left(place) == []


async def test_a_folder_that_is_not_ours_alone_is_said_once_and_not_used(serve, client, place, caplog):
    files.folder_in(place).mkdir(0o777)
    files.folder_in(place).chmod(0o777)
    session = await serve(Ledgers(), shared_memory_folder=place)
    for _ in range(2):
        async with client.source(session.endpoint) as source, source.stream(1, 5) as stream:
            assert [row.sequence async for batch in stream for row in batch] == [1, 2, 3, 4, 5]
    said = [record for record in caplog.records if "shared memory" in record.message]
    assert [record.levelname for record in said] == ["WARNING"]
    assert stream.shared_bytes == 0


async def test_a_ring_that_a_peer_never_opens_goes_with_its_stream(serve, place, until):
    session = await serve(Echo(), shared_memory_folder=place)
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        offer = Offer(LEAST.capabilities | {SHARED_MEMORY})
        call = channel.stream_stream("/flowctl.EventProcessor/Process")(metadata=offer.metadata)
        await call.initial_metadata()
        assert len(left(place)) == 1
        call.cancel()
        await until(lambda: not left(place))


async def test_leaving_a_stream_early_leaves_no_file_and_no_task(serve, client, place, no_tasks_left):
    session = await serve(Ledgers(), shared_memory_folder=place)
    async with client.source(session.endpoint) as source, no_tasks_left():
        with anyio.CancelScope() as scope:
            async with source.stream(1, 10_000) as stream:
                async for batch in stream:
                    assert len(batch) == 1
                    scope.cancel()
    assert left(place) == []


@pytest.fixture
def forms(place):
    """Both forms of one stream: a writer that borrows, and the reader that lends."""
    config = Config(enabled=False, shared_memory_folder=place)
    with Loan(config, own_offer(config), max_inflight=16) as loan:
        peer = Offer.of(dict((*own_offer(config).metadata, *loan.metadata)))
        encoder = sharing(encoder_for(Envelope.EVENT, peer, config), Envelope.EVENT, peer, config)
        inline = decoder_for(Envelope.EVENT, peer, config)
        yield encoder, SharedDecoder(Envelope.EVENT, loan, inline, limit=config.max_message_bytes)
        encoder.close()


def test_frames_in_the_ring_and_beside_it_are_counted_together(forms):
    encoder, decoder = forms
    assert isinstance(encoder, SharedEncoder)
    got = []
    for sequence, size in enumerate([10, SIZE, 10, SIZE, 3_000_000]):
        for message in encoder.encode(event(sequence, size), {}):
            assert len(message.data) < 2000 or size != SIZE
            got.append(decoder.decode(message.data))
    assert [frame.number for frame in got] == [0, 1, 2, 3, 4]
    assert [frame.batch.first_cursor.sequence for frame in got] == [0, 1, 2, 3, 4]


def test_what_a_handle_leads_to_is_checked_as_what_comes_in_a_message(forms):
    encoder, decoder = forms
    (message,) = encoder.encode(event(1), {})
    damaged = Envelope.EVENT.message.FromString(message.data)
    for key, text in (("arrow-rows", "2"), ("handle", "4096:64:0:1"), ("handle", "no"), ("handle", "")):
        other = Envelope.EVENT.message.FromString(damaged.SerializeToString())
        other.metadata[key] = text
        with pytest.raises(FrameCorruptError):
            decoder.decode(other.SerializeToString())
    assert len(decoder.decode(message.data).batch) == 1


def test_a_handle_is_no_row_where_nobody_lent_a_ring():
    data = encode_handle(Envelope.EVENT, event(1), handle="4096:64:0:1", number=0)
    with pytest.raises(FrameCorruptError, match="there is none"):
        decode(Envelope.EVENT, data, limit=2**20)
    row = EventBatch.from_events([Event("E", b"", content_type="application/vnd.flowctl-aio.handle")])
    with pytest.raises(CodecError, match="plain message"):
        list(encode_rows(Envelope.EVENT, row, limit=2**20))


def test_a_peer_that_does_not_share_is_lent_nothing_and_lends_nothing(place):
    config = Config(enabled=False, shared_memory_folder=place)
    with Loan(config, LEAST, max_inflight=1) as loan:
        assert loan.metadata == ()
    assert left(place) == []
    stranger = Offer(LEAST.capabilities, {"ring": "0" * 32 + "." + "0" * 32})
    for peer in (stranger, Offer(LEAST.capabilities | {SHARED_MEMORY}, stranger.facts)):
        encoder = sharing(encoder_for(Envelope.EVENT, peer, config), Envelope.EVENT, peer, config)
        assert isinstance(encoder, FrameEncoder)
        assert "0" * 32 not in repr(peer)
