"""What counts as the end of a stream: with an SDK peer its end marker and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import grpc
import grpc.aio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.codec.envelope import End, Envelope, encode_end, encode_frame, encode_rows
from flowctl_aio.component import Processor, Sink
from flowctl_aio.errors import FrameCorruptError, PeerError, StreamTruncatedError
from flowctl_aio.streams.handshake import LEAST, Role
from flowctl_aio.types import Cursor, Dialect, Event, RawLedger

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


def frame(number: int, rows: int = 1, envelope: Envelope = Envelope.LEDGER) -> bytes:
    if envelope is Envelope.LEDGER:
        batch = LedgerBatch.from_ledgers([RawLedger(number, b"xdr")] * rows)
    else:
        batch = EventBatch.from_events([Event("E", b"", cursor=Cursor(number))] * rows)
    return encode_frame(envelope, batch, number=number, limit=MIB)


def end(batches: int, rows: int, envelope: Envelope = Envelope.LEDGER) -> bytes:
    return encode_end(envelope, End(batches, rows))


@asynccontextmanager
async def raw_source(messages: Sequence[bytes], *, code: grpc.StatusCode | None = None) -> AsyncIterator[str]:
    """A source on bare grpc.aio that offers what the SDK offers, and then sends just `messages`."""

    async def ping(request, context):
        await context.send_initial_metadata(LEAST.metadata)
        return b""

    async def stream(request, context):
        for message in messages:
            await context.write(message)
        if code is not None:
            await context.abort(code, "on purpose")

    server = grpc.aio.server()
    handlers = {
        "Ping": grpc.unary_unary_rpc_method_handler(ping),
        "StreamRawLedgers": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("flowctl.LedgerSource", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def read_all(driver, messages, **kwargs) -> list[int]:
    got = []
    async with raw_source(messages, **kwargs) as address, driver.source(address) as source:
        assert source.peer.marks_ends
        async with source.stream(1) as batches:
            async for batch in batches:
                got.append(len(batch))
            # After the end there is nothing, however often one asks.
            with pytest.raises(StopAsyncIteration):
                await anext(batches)
            assert (batches.batches, batches.rows) == (len(got), sum(got))
    return got


async def test_a_stream_with_its_marker_is_complete(driver):
    assert await read_all(driver, [frame(0), frame(1, 3), end(2, 4)]) == [1, 3]


async def test_an_empty_stream_with_its_marker_is_complete(driver):
    assert await read_all(driver, [end(0, 0)]) == []


async def test_plain_rows_between_frames_are_counted_too(driver):
    rows = list(encode_rows(Envelope.LEDGER, LedgerBatch.from_ledgers([RawLedger(7, b"x")]), limit=MIB))
    assert sum(await read_all(driver, [frame(0), *rows, frame(1), end(2, 3)])) == 3


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "after 0 batches without its end marker"),
        ([frame(0), frame(1)], "after 2 batches without its end marker"),
        ([frame(0), end(1, 2)], "sent 2 rows and 1 arrived"),
        ([frame(0), end(1, 0)], "sent 0 rows and 1 arrived"),
        ([frame(0), end(2, 1)], "sent 2 batches and 1 arrived"),
    ],
)
async def test_a_stream_without_a_true_marker_is_truncated(driver, messages, reason):
    with pytest.raises(StreamTruncatedError, match=reason) as caught:
        await read_all(driver, messages)
    assert caught.value.peer in str(caught.value)


@pytest.mark.parametrize("numbers", [(1,), (0, 2), (0, 0), (1, 0)])
async def test_batches_out_of_their_order_are_no_stream(driver, numbers):
    with pytest.raises(FrameCorruptError, match="came where batch"):
        await read_all(driver, [*map(frame, numbers), end(len(numbers), len(numbers))])


@pytest.mark.parametrize("junk", [b"\xff" * 20, frame(0)[:-3], encode_end(Envelope.LEDGER, End(1, 1))[:-4]])
async def test_bytes_that_are_no_message_are_corrupt(driver, junk):
    with pytest.raises(FrameCorruptError):
        await read_all(driver, [junk, end(1, 1)])


async def test_a_failure_after_some_batches_comes_after_them(driver):
    failing = raw_source([frame(0), frame(1)], code=grpc.StatusCode.DATA_LOSS)
    async with failing as address, driver.source(address) as source, source.stream(1) as batches:
        got = [await anext(batches), await anext(batches)]
        # Asking again gives the error again, never a quiet end.
        for _ in range(2):
            with pytest.raises(PeerError, match="on purpose") as caught:
                await anext(batches)
            assert caught.value.code == "DATA_LOSS"
    assert len(got) == 2


class Recorder(Sink):
    def __init__(self) -> None:
        self.commits, self.aborts = 0, 0
        self.over = anyio.Event()

    async def consume(self, batch, epoch):
        pass

    async def commit(self, epoch):
        self.commits += 1
        self.over.set()

    async def abort(self, epoch):
        self.aborts += 1
        self.over.set()


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("ending", ["none", "rows", "batches", "true"])
async def test_a_sink_commits_only_what_has_a_true_marker(serve, dialect, ending):
    component = Recorder()
    session = await serve(component)
    envelope = Role.SINK.envelope(dialect)
    messages = [frame(0, 2, envelope), frame(1, 1, envelope)]
    messages += {
        "none": [],
        "rows": [end(2, 4, envelope)],
        "batches": [end(3, 3, envelope)],
        "true": [end(2, 3, envelope)],
    }[ending]
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        call = channel.stream_unary(Role.SINK.method(dialect))(metadata=LEAST.metadata)
        for message in messages:
            await call.write(message)
        await call.done_writing()
        if ending == "true":
            await call
            assert (component.commits, component.aborts) == (1, 0)
            return
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert (component.commits, component.aborts) == (0, 1)
    # A client that lies or dies is no fault of the component.
    assert session.metrics()["errors_total"] == 0


async def test_a_processor_does_not_flush_what_has_no_marker(serve):
    class Flushing(Processor):
        flushes = 0

        async def process(self, batch):
            return batch

        async def flush(self):
            self.flushes += 1

    component = Flushing()
    session = await serve(component)
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        call = channel.stream_stream("/flowctl.EventProcessor/Process")(metadata=LEAST.metadata)
        await call.write(frame(0, 1, Envelope.EVENT))
        assert await call.read() is not grpc.aio.EOF
        await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError, match="without its end marker"):
            await call.read()
    assert component.flushes == 0


async def test_the_ping_of_our_server_offers_what_we_can_do(serve):
    session = await serve(Recorder())
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        call = wire.EventSinkStub(channel).Ping(wire.Empty())
        await call
        assert ("flowctl-aio", "arrow,compression,credits,end-marker,schema-once,shared-memory") in tuple(
            await call.initial_metadata()
        )
