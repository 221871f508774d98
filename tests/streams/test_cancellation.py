"""Each public await of the data plane, cancelled at each suspension: nothing is lost, doubled, left or swallowed."""

from __future__ import annotations

import inspect
import os
import threading
from functools import partial

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from flowctl_aio import (
    Cursor,
    FlowctlConfig,
    FlowctlSession,
    LedgerBatch,
    Pipeline,
    RawLedger,
    ServiceInfo,
    ServiceType,
)
from flowctl_aio.codec.envelope import Envelope
from flowctl_aio.pipeline.checkpoint import CheckpointAtSource, FileCheckpoint
from flowctl_aio.streams.acks import Acks
from flowctl_aio.streams.forms import PlainEncoder, WireDecoder
from flowctl_aio.streams.processor import ProcessorClient
from flowctl_aio.streams.receive import BatchReader, Inbox
from flowctl_aio.streams.resume import ResumingStream
from flowctl_aio.streams.sink import SinkClient
from flowctl_aio.streams.source import SourceClient
from flowctl_aio.streams.stream import BatchStream
from flowctl_aio.testing import assert_no_leaks
from tests.cancellation import MOMENTS, MOST, WAYS, Suspensions, at_each_point, run_cancelled

from .cancellation_rows import ROWS, Book, Gated, World
from .components import MIB, Echo

pytestmark = pytest.mark.anyio
CLASSES = (
    SourceClient,
    ProcessorClient,
    SinkClient,
    BatchStream,
    ResumingStream,
    Acks,
    Pipeline,
    FileCheckpoint,
    CheckpointAtSource,
)
# The session's own awaits have a matrix of their own, where sessions are tested.
CONTEXTS = {"FlowctlSession.source", "FlowctlSession.processor", "FlowctlSession.sink"}
AWAITED_BY_SYNTAX = ("__aenter__", "__aexit__", "__anext__")


def test_each_public_await_has_its_row():
    awaits = {
        f"{kind.__name__}.{name}"
        for kind in CLASSES
        for name, _ in inspect.getmembers(kind, inspect.iscoroutinefunction)
        if name in AWAITED_BY_SYNTAX or not name.startswith("_")
    }
    assert awaits | CONTEXTS | {"StreamBehind.__anext__"} == set(ROWS)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("row", ROWS)
async def test_it_may_be_cancelled_anywhere(serve, until, tmp_path, monkeypatch, row, way, moment):
    monkeypatch.setattr("flowctl_aio.streams.resume.PAUSE_FIRST", 0.002)
    source, book = Gated(), Book()
    served = {"source": await serve(source), "processor": await serve(Echo()), "sink": await serve(book)}
    endpoints = {kind: session.endpoint for kind, session in served.items()}
    info = ServiceInfo("driver", ServiceType.PIPELINE)
    async with assert_no_leaks():
        async with FlowctlSession(info, FlowctlConfig(enabled=False, drain_timeout=0.2, max_inflight=2)) as driver:
            world = World(driver, source, book, endpoints, tmp_path, until)
            async with ROWS[row](world) as cases:
                suspensions = await at_each_point(moment, cases.make, cases.check, way=way, prepare=cases.prepare)
        await until(lambda: all(session.metrics()["streams"] == 0 for session in served.values()))
    assert suspensions >= cases.least


@pytest.mark.parametrize("way", WAYS)
async def test_a_checkpoint_is_not_left_to_be_written_later_by_a_save_that_was_cancelled(tmp_path, monkeypatch, way):
    writing, may_end = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor):
        writing.set()
        may_end.wait(5)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    place = FileCheckpoint(tmp_path / "checkpoint.json")
    points = Suspensions(0, "waiting")
    async with anyio.create_task_group() as group:
        group.start_soon(partial(run_cancelled, points, place.save(Cursor(1)), 0, way=way))
        await anyio.to_thread.run_sync(writing.wait, 5)
        assert points.cancel()
        await anyio.wait_all_tasks_blocked()
        assert points.is_counting  # it waits until it is written
        may_end.set()
    assert await place.load() == Cursor(1)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_reader_may_be_cancelled_wherever_the_inside_of_its_stream_is(serve, driver, until, way, moment):
    component = Gated()
    component.allowed = 3
    session = await serve(component)
    async with driver.source(session.endpoint) as source, assert_no_leaks():
        for at in range(MOST):
            points, stream = Suspensions(at, moment), source.stream(1)
            owner = stream._owner
            owner._main = lambda started, main=owner._main, points=points: points.drive(main(started))
            got = []

            async def read(stream=stream, got=got):
                async with stream:
                    while len(got) < 3:
                        got.extend(row.sequence for row in await anext(stream))

            await run_cancelled(points, read(), at, way=way, is_inside=True)
            assert got == [1, 2, 3][: len(got)]
            assert stream.is_closed
            await until(lambda: component.opened == component.closed)
            if not points.has_met:
                break
    assert 3 < at < MOST - 1


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("way", WAYS)
async def test_plain_rows_that_are_gathered_survive_a_reader_that_is_cancelled_anywhere(way, moment):
    batch = LedgerBatch.from_ledgers(RawLedger(sequence, b"xdr") for sequence in range(200))
    encoder = PlainEncoder(Envelope.LEDGER, limit=MIB, marks_ends=False)
    messages, got, inbox = encoder.encode(batch, {}), [], Inbox(4)
    reader = BatchReader(inbox, WireDecoder(Envelope.LEDGER, limit=MIB), expects_end=False, peer="plain")

    async def read_call():
        await checkpoint()
        message = next(messages, None)
        return None if message is None else message.data

    async def take():
        for _ in range(20):
            more = await reader.next()
            got.extend(row.sequence for row in more or ())

    async def check():
        """Take nothing: the next one goes on with what is there."""

    async with anyio.create_task_group() as group:
        group.start_soon(inbox.run_pump, read_call)
        await at_each_point(moment, take, check, way=way)
    assert got == list(range(200))
