"""What comes in goes out."""

from __future__ import annotations

import pytest

from flowctl_aio import Event, EventBatch, LedgerBatch, RawLedger
from flowctl_aio.components.passthrough import PassThrough

pytestmark = pytest.mark.anyio


async def test_ledgers_and_events_leave_as_they_came_and_in_order(serve, driver):
    session = await serve(PassThrough())
    ledgers = LedgerBatch.from_ledgers([RawLedger(7, b"xdr"), RawLedger(8, b"")])
    events = EventBatch.from_events([Event("kind", b"payload", id="1")])
    sent = (ledgers, events, ledgers)

    async def inputs():
        for batch in sent:
            yield batch

    async with driver.processor(session.endpoint) as processor, processor.stream(inputs()) as outputs:
        found = [batch async for batch in outputs]
    assert [type(batch) for batch in found] == [LedgerBatch, EventBatch, LedgerBatch]
    assert [batch.record_batch for batch in found] == [batch.record_batch for batch in sent]
    assert session.component.metrics() == {"events_processed_total": 5, "batches_generated_total": 3}


def test_it_takes_and_gives_what_it_is_told():
    assert (PassThrough().info().input_event_types, PassThrough().info().output_event_types) == ((), ())
    info = PassThrough(["a", "b"], component_id="same").info()
    assert (info.component_id, info.input_event_types, info.output_event_types) == ("same", ("a", "b"), ("a", "b"))
