"""The trace of a batch through real streams: from component to component, past strangers, and apart from the calls."""

from __future__ import annotations

import grpc.aio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from flowctl_aio import _wire as wire
from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.codec.envelope import Envelope, Frame, decode, encode_frame, encode_rows
from flowctl_aio.component import Processor, Sink, Source
from flowctl_aio.errors import PeerError
from flowctl_aio.observe import tracing
from flowctl_aio.observe.calls import client_call
from flowctl_aio.pipeline.runner import Pipeline
from flowctl_aio.streams import spans as spans_module
from flowctl_aio.streams.forms import WireDecoder
from flowctl_aio.streams.handshake import Role
from flowctl_aio.streams.receive import BatchReader, Inbox
from flowctl_aio.types import Cursor, Dialect, Event, LedgerRange, RawLedger

pytestmark = pytest.mark.anyio
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = PARENT.replace("b7ad", "aaaa").replace("0af7", "bbbb")


@pytest.fixture(params=[False, True], ids=["grpc", "local"])
def local_streams(request):
    return request.param


class Spans:
    """The finished spans, by name; and which is whose child."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def named(self, name: str) -> list:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def ids(self, name: str) -> set[int]:
        return {span.context.span_id for span in self.named(name)}


def parents(found: list) -> set[int | None]:
    return {span.parent.span_id if span.parent else None for span in found}


def links(found: list) -> set[int]:
    return {link.context.span_id for span in found for link in span.links}


@pytest.fixture
def spans(monkeypatch) -> Spans:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return Spans(exporter)


class Ledgers(Source):
    async def stream(self, request):
        for sequence in range(request.start, request.end + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"xdr")])


class Double(Processor):
    async def process(self, batch):
        with tracing.span("inside"):
            return EventBatch.from_events(Event("E", b"x", cursor=Cursor(row.sequence)) for row in batch)


class Relay(Processor):
    async def process(self, batch):
        return batch


class Table(Sink):
    async def consume(self, batch, epoch): ...


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_a_batch_from_a_source_carries_its_trace_to_the_client(spans, serve, driver, dialect, until):
    session = await serve(Ledgers())
    async with driver.source(session.endpoint, dialect=dialect) as source, source.stream(1, 3) as stream:
        batches = [batch async for batch in stream]
    method = Role.SOURCE.method(dialect).removeprefix("/")
    await until(lambda: len(spans.named(method)) == 2)
    sent = spans.named("send batch")
    assert len(sent) == 3
    # One trace each, and not the call's, to which they are linked.
    assert len({span.context.trace_id for span in sent}) == 3
    assert parents(sent) == {None}
    assert [int(batch.trace["traceparent"].split("-")[2], 16) for batch in batches] == [
        span.context.span_id for span in sent
    ]
    assert sent[0].kind is SpanKind.PRODUCER
    assert dict(sent[0].attributes) == {
        "flowctl.event_type": "raw_ledger_service.RawLedger",
        "flowctl.batch.rows": 1,
        "flowctl.batch.bytes": sent[0].attributes["flowctl.batch.bytes"],
        "flowctl.batch.first_cursor": "1:0",
        "flowctl.batch.last_cursor": "1:0",
    }
    server, client = sorted(spans.named(method), key=lambda span: span.kind.name, reverse=True)
    assert (client.kind, server.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert server.parent.span_id == client.context.span_id
    assert links(sent) == {server.context.span_id}
    host, _, port = session.endpoint.rpartition(":")
    assert dict(client.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "server.address": host,
        "server.port": int(port),
        "rpc.response.status_code": "OK",
    }
    # The handshake is a call too.
    assert {
        span.kind for span in spans.named(method.rpartition("/")[0] + ("/Ping" if "LedgerS" in method else "/GetInfo"))
    } == {SpanKind.CLIENT}


async def test_one_trace_leads_through_the_whole_pipeline(spans, serve, driver, until):
    source, processor, sink = [await serve(component()) for component in (Ledgers, Double, Table)]
    pipeline = Pipeline(
        driver, source=source.endpoint, processors=[processor.endpoint], sink=sink.endpoint, epoch_batches=2
    )
    await pipeline.run(LedgerRange(1, 4))
    await until(lambda: len(spans.named("consume batch")) == 4)
    consumed = spans.named("consume batch")
    assert len({span.context.trace_id for span in consumed}) == 4
    for last in consumed:
        of_trace = [
            span for span in spans._exporter.get_finished_spans() if span.context.trace_id == last.context.trace_id
        ]
        by_id = {span.context.span_id: span for span in of_trace}
        path = [last]
        while path[-1].parent is not None:
            path.append(by_id[path[-1].parent.span_id])
        # Out of the source, through the driver, through the processor, through the driver, into the sink.
        assert [span.name for span in reversed(path)] == [
            "send batch",
            "send batch",
            "process batch",
            "send batch",
            "send batch",
            "consume batch",
        ]
        assert len(of_trace) == len(path) + 1  # and the component's own
    assert parents(spans.named("inside")) == spans.ids("process batch")
    assert spans.named("process batch")[0].attributes["flowctl.component_id"] == "double"


async def test_a_batch_that_is_passed_on_as_it_is_stays_below_the_work_on_it(spans, serve, driver, until):
    session = await serve(Relay())

    async def inputs():
        yield EventBatch.from_events([Event("E", b"x")])

    async with driver.processor(session.endpoint) as processor, processor.stream(inputs()) as stream:
        (batch,) = [batch async for batch in stream]
    await until(lambda: len(spans.named("send batch")) == 2)
    (work,) = spans.named("process batch")
    assert work.context.span_id in parents(spans.named("send batch"))
    assert work.context.trace_id == int(batch.trace["traceparent"].split("-")[1], 16)


async def test_what_is_sent_to_a_sink_belongs_to_the_span_of_whoever_sends_it(spans, serve, driver, until):
    session = await serve(Table())
    async with driver.sink(session.endpoint) as sink:
        for name in ("first job", "second job"):
            with tracing.span(name, parent={}):
                await sink.send(EventBatch.from_events([Event("E", b"x")]))
        await sink.flush()
    await until(lambda: len(spans.named("consume batch")) == 2)
    assert parents(spans.named("send batch")) == spans.ids("first job") | spans.ids("second job")


async def test_the_span_around_a_session_is_not_that_of_its_batches(spans, serve, driver):
    with tracing.span("main"):
        session = await serve(Ledgers())
    async with driver.source(session.endpoint) as source, source.stream(1, 1) as stream:
        assert len([batch async for batch in stream]) == 1
    assert parents(spans.named("send batch")) == {None}


async def test_a_fault_in_a_component_marks_its_work_and_tells_no_secret(spans, serve, driver, until):
    class Failing(Processor):
        async def process(self, batch):
            raise ValueError("token=abc123")

    session = await serve(Failing())

    async def inputs():
        yield EventBatch.from_events([Event("E", b"x")])

    async with driver.processor(session.endpoint) as processor, processor.stream(inputs()) as stream:
        with pytest.raises(PeerError):
            await anext(stream)
    method = Role.PROCESSOR.method(Dialect.CLASSIC).removeprefix("/")
    await until(lambda: len(spans.named(method)) == 2)
    (work,) = spans.named("process batch")
    assert (work.status.status_code, work.status.description) == (StatusCode.ERROR, "ComponentError")
    server, client = sorted(spans.named(method), key=lambda span: span.kind.name, reverse=True)
    assert client.attributes["rpc.response.status_code"] == server.attributes["rpc.response.status_code"]
    assert client.attributes["rpc.response.status_code"] == "FAILED_PRECONDITION"
    # To the caller it is a failure; that the request was refused is none of the server's.
    assert client.status.status_code is StatusCode.ERROR
    assert client.attributes["error.type"] == "FAILED_PRECONDITION"
    assert server.status.status_code is StatusCode.UNSET
    assert "abc123" not in "".join(span.to_json() for span in spans._exporter.get_finished_spans())


async def test_to_leave_a_stream_early_is_no_failure(spans, serve, driver, until):
    session = await serve(Ledgers())
    async with driver.source(session.endpoint) as source, source.stream(1, 100_000) as stream:
        await anext(stream)
    method = Role.SOURCE.method(Dialect.CLASSIC).removeprefix("/")
    await until(lambda: len(spans.named(method)) == 2)
    for span in spans.named(method):
        assert span.attributes["rpc.response.status_code"] == "CANCELLED"
        assert span.status.status_code is StatusCode.UNSET


async def read_rows(*metadata: dict[str, str]) -> EventBatch:
    """The batch that a reader makes of plain rows which are all there already."""
    rows = iter([wire.Event(event_type="E", metadata=each).SerializeToString() for each in metadata])

    async def read() -> bytes | None:
        return next(rows, None)

    inbox = Inbox(100)
    reader = BatchReader(inbox, WireDecoder(Envelope.EVENT, limit=10_000), expects_end=False, peer="stranger")
    await inbox.run_pump(read)
    batch = await reader.next()
    assert isinstance(batch, EventBatch)
    assert await reader.next() is None
    return batch


async def test_rows_that_came_together_out_of_several_traces_begin_one_that_is_linked_to_each(spans):
    texts = [PARENT, OTHER, PARENT, "rubbish", ""]
    batch = await read_rows(*({"traceparent": text} for text in texts))
    (gathered,) = spans.named("gather rows")
    assert gathered.parent is None
    assert links([gathered]) == {0xB7AD6B7169203331, 0xAAAA6B7169203331}
    assert int(batch.trace["traceparent"].split("-")[2], 16) == gathered.context.span_id
    # What a row says of its trace is its own.
    assert [row.metadata["traceparent"] for row in batch] == texts


async def test_rows_out_of_one_trace_go_on_with_it(spans):
    batch = await read_rows({"traceparent": PARENT}, {}, {"traceparent": PARENT})
    assert batch.trace == {"traceparent": PARENT}
    assert not spans.named("gather rows")


async def test_links_have_a_bound(spans):
    await read_rows(*({"traceparent": PARENT.replace("b7ad", f"{n:04x}")} for n in range(50)))
    (gathered,) = spans.named("gather rows")
    assert len(gathered.links) == tracing.MAX_LINKS


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_a_stranger_gets_the_trace_with_each_row_and_its_call_is_a_trace(spans, serve, dialect, until):
    """Written on the generated stubs alone, with the trace context where everybody puts it."""
    session = await serve(Relay())
    metadata = (("traceparent", PARENT),)
    async with grpc.aio.insecure_channel(session.endpoint) as channel:
        if dialect is Dialect.CLASSIC:
            call = wire.EventProcessorStub(channel).Process(metadata=metadata)
            await call.write(wire.Event(event_type="E", payload=b"x"))
        else:
            call = wire.v1.ProcessorServiceStub(channel).Process(metadata=metadata)
            await call.write(wire.v1.Event(type="E", payload=b"x"))
        row = await call.read()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    (sent,) = spans.named("send batch")
    assert int(row.metadata["traceparent"].split("-")[2], 16) == sent.context.span_id
    method = Role.PROCESSOR.method(dialect).removeprefix("/")
    await until(lambda: len(spans.named(method)) == 1)
    assert parents(spans.named(method)) == {0xB7AD6B7169203331}


async def test_without_tracing_a_trace_is_passed_on(serve, driver):
    session = await serve(Relay())

    async def inputs():
        batch = EventBatch.from_events([Event("E", b"x")])
        batch.trace = {"traceparent": PARENT}
        yield batch

    async with driver.processor(session.endpoint) as processor, processor.stream(inputs()) as stream:
        (batch,) = [batch async for batch in stream]
    assert batch.trace == {"traceparent": PARENT}


BATCH = EventBatch.from_events([Event("E", b"x", metadata={"own": "1"})])
LEDGERS = LedgerBatch.from_ledgers([RawLedger(1, b"x")])


@pytest.mark.parametrize("envelope", list(Envelope))
def test_a_frame_carries_a_trace_in_every_envelope(envelope):
    raw = encode_frame(envelope, LEDGERS, number=0, limit=10_000, trace={"traceparent": PARENT, "tracestate": "a=1"})
    frame = decode(envelope, raw, limit=10_000)
    assert isinstance(frame, Frame)
    assert frame.trace == {"traceparent": PARENT, "tracestate": "a=1"}
    assert decode(envelope, encode_frame(envelope, LEDGERS, number=0, limit=10_000), limit=10_000).trace == {}


def test_a_row_carries_a_trace_beside_its_own_metadata():
    (raw,) = encode_rows(Envelope.EVENT, BATCH, limit=10_000, trace={"traceparent": PARENT})
    assert dict(wire.Event.FromString(raw).metadata) == {"own": "1", "traceparent": PARENT}


def test_a_slice_belongs_to_the_trace_of_the_whole():
    for batch in (EventBatch(BATCH), LedgerBatch(LEDGERS)):
        assert batch.trace == {}
        batch.trace = {"traceparent": PARENT}
        assert batch.slice(0, 1).trace == batch.trace


async def test_what_nobody_traces_makes_no_spans(monkeypatch):
    assert spans_module.sending(BATCH) is tracing.NO_SPAN
    assert spans_module.working("process", BATCH, "x") is tracing.NO_SPAN
    with client_call("/a/b", "h:1") as call:
        assert call.metadata == ()
