"""Scripted components do as they are told, and remember."""

from __future__ import annotations

import pytest

from flowctl_aio import FlowctlSession, LedgerBatch, RawLedger
from flowctl_aio.errors import StreamError
from flowctl_aio.testing import EchoProcessor, RecordingSink, ScriptedSource

from .conftest import INFO

pytestmark = pytest.mark.anyio


def ledgers(*sequences):
    return [LedgerBatch.from_ledgers([RawLedger(sequence, b"xdr")]) for sequence in sequences]


async def test_scripted_components_pass_batches_on_and_record_them(plane, config):
    sink = RecordingSink()
    async with (
        FlowctlSession(ScriptedSource(ledgers(1, 2, 3)), config) as source_session,
        FlowctlSession(EchoProcessor(), config) as processor_session,
        FlowctlSession(sink, config) as sink_session,
        FlowctlSession(INFO, config) as driver,
        driver.source(source_session.endpoint) as source,
        driver.processor(processor_session.endpoint) as processor,
        driver.sink(sink_session.endpoint) as outlet,
        source.stream(1, 3) as batches,
        processor.stream(batches) as outputs,
    ):
        async for batch in outputs:
            await outlet.send(batch)
        await outlet.flush()
        got = await sink.wait_batches(3)
        assert [row.sequence for batch in got for row in batch] == [1, 2, 3]
        assert len(sink.epochs) == 1
        with pytest.raises(AssertionError, match="recording-sink committed 3 of 4 batches"):
            await sink.wait_batches(4, timeout=0.01)


async def test_a_scripted_source_fails_where_it_is_told_and_then_goes_on(plane, config):
    source_component = ScriptedSource(ledgers(1, 2, 3), fail_at=2, times=1)
    async with (
        FlowctlSession(source_component, config) as served,
        FlowctlSession(INFO, config) as driver,
        driver.source(served.endpoint) as source,
    ):

        async def read():
            async with source.stream(1, 3) as stream:
                return [row.sequence async for batch in stream for row in batch]

        with pytest.raises(StreamError, match="ScriptedError in "):
            await read()
        assert await read() == [1, 2, 3]


async def test_a_scripted_sink_fails_and_its_epoch_is_abandoned(plane, config):
    sink = RecordingSink(fail_at=2)
    async with FlowctlSession(sink, config) as served, FlowctlSession(INFO, config) as driver:

        async def send():
            async with driver.sink(served.endpoint) as outlet:
                for batch in ledgers(1, 2):
                    await outlet.send(batch)
                await outlet.flush()

        with pytest.raises(StreamError, match="ScriptedError in "):
            await send()
        assert sink.batches == []
        assert sink.aborted == 1
