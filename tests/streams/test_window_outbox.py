"""Small batches are joined on their way to a sink, and nothing of what they said is lost."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pyarrow as pa
import pytest

from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.component import Processor, Sink
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import PeerError, UsageError
from flowctl_aio.streams.outbox import JOINED_BYTES, JOINED_ROWS, SMALL_BYTES, Entry, Heap, Outbox
from flowctl_aio.types import NOTHING, Cursor, Event, RawLedger

pytestmark = pytest.mark.anyio

# So long that only what ends a wait can end it.
LONG = 60.0


def event(sequence: int, *, kind: str = "E", payload: bytes = b"x") -> EventBatch:
    return EventBatch.from_events([Event(kind, payload, cursor=Cursor(sequence))])


def ledger(sequence: int) -> LedgerBatch:
    return LedgerBatch.from_ledgers([RawLedger(sequence, b"xdr")])


def own(value: int, *, first: Cursor | None = None, last: Cursor | None = None, name: str = "a") -> EventBatch:
    return EventBatch(pa.record_batch({name: [value]}), event_type="own", first_cursor=first, last_cursor=last)


def outbox(linger: float = LONG, *, joins: bool = True, **settings: int) -> Outbox:
    return Outbox(FlowctlConfig(linger=linger, **settings), joins=joins)


def filled(box: Outbox, *batches: EventBatch | LedgerBatch) -> Outbox:
    for batch in batches:
        box.put(batch, NOTHING)
    box.seal()
    return box


async def everything(box: Outbox) -> list[EventBatch | LedgerBatch]:
    found = []
    while (entry := await box.next()) is not None:
        found.append(entry.batch)
    return found


async def test_small_neighbours_become_one_with_the_cursors_of_the_first_and_the_last():
    (whole,) = await everything(filled(outbox(), event(1), event(2), event(3)))
    assert [row.cursor.sequence for row in whole] == [1, 2, 3]
    assert (whole.first_cursor, whole.last_cursor, whole.event_type) == (Cursor(1), Cursor(3), "E")
    (whole,) = await everything(filled(outbox(), ledger(1), ledger(2)))
    assert isinstance(whole, LedgerBatch)
    assert (whole.first_cursor, whole.last_cursor) == (Cursor(1), Cursor(2))
    (whole,) = await everything(
        filled(outbox(), own(1, first=Cursor(1), last=Cursor(2)), own(2, first=Cursor(3), last=Cursor(4)))
    )
    assert (whole.first_cursor, whole.last_cursor, whole.event_type) == (Cursor(1), Cursor(4), "own")


@pytest.mark.parametrize(
    "other",
    [
        event(2, kind="F"),
        ledger(2),
        own(2, first=Cursor(2), last=Cursor(2)),
        event(2, payload=bytes(SMALL_BYTES + 1)),
        EventBatch.from_events([Event("E", b"no cursor")]),
    ],
    ids=["type", "ledger", "columns", "long", "no cursor"],
)
async def test_others_are_not_joined_and_the_order_stays(other):
    batches = [event(1), other, event(3)]
    assert await everything(filled(outbox(), *batches)) == batches


async def test_a_part_of_a_larger_batch_stays_one():
    part, rest = own(1, first=Cursor(1)), own(2, first=Cursor(1), last=Cursor(2))
    assert await everything(filled(outbox(), part, rest)) == [part, rest]


async def test_no_more_is_joined_than_the_rows_and_bytes_allow():
    half = EventBatch.from_events([Event("E", b"")] * (JOINED_ROWS // 2))
    assert half.nbytes > SMALL_BYTES, "many rows are never small"
    tenth = event(1, payload=bytes(SMALL_BYTES - 1024))
    joined = await everything(filled(outbox(max_inflight=100), *[tenth] * 40))
    assert len(joined) > 1
    assert all(batch.nbytes <= JOINED_BYTES + SMALL_BYTES for batch in joined)
    assert sum(len(batch) for batch in joined) == 40


async def test_without_a_linger_time_or_towards_strangers_each_batch_goes_alone():
    batches = [event(1), event(2)]
    assert await everything(filled(outbox(0.0), *batches)) == batches
    assert await everything(filled(outbox(joins=False), *batches)) == batches


async def test_a_lone_batch_goes_when_its_time_is_up_and_a_long_one_at_once():
    box = outbox(0.01)
    box.put(event(1), NOTHING)
    assert await box.next() is not None
    box = outbox()
    box.put(event(1, payload=bytes(SMALL_BYTES + 1)), NOTHING)
    with anyio.fail_after(5):
        assert await box.next() is not None


async def test_what_comes_while_it_lingers_is_joined_and_the_seal_ends_the_wait():
    box, found = outbox(), []

    async def take() -> None:
        found.extend(await everything(box))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(take)
            for sequence in (1, 2, 3):
                box.put(event(sequence), NOTHING)
                await anyio.lowlevel.checkpoint()
            box.seal()
    assert [[row.cursor.sequence for row in batch] for batch in found] == [[1, 2, 3]]


async def test_the_room_is_bounded_in_batches_and_in_bytes():
    box = outbox(max_inflight=2, max_inflight_bytes=1000)
    box.put(event(1), NOTHING)
    assert box.has_room
    box.put(event(2), NOTHING)
    assert not box.has_room
    box = outbox(max_inflight=2, max_inflight_bytes=1000)
    box.put(event(1, payload=bytes(1001)), NOTHING)
    assert not box.has_room


def test_each_trace_is_passed_on():
    one = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    heap = Heap(Entry.of(event(1), one))
    heap.add(Entry.of(event(2), one))
    assert heap.entry().trace == one


class Echo(Processor):
    def __init__(self) -> None:
        self.batches = 0

    async def process(self, batch):
        self.batches += 1
        return batch


async def test_a_processor_gets_joined_inputs_and_loses_none(serve, drive):
    component = Echo()
    session = await serve(component)

    async def inputs():
        for sequence in range(1000):
            yield event(sequence)

    async with (
        drive(linger=0.02) as driver,
        driver.processor(session.endpoint) as processor,
        processor.stream(inputs()) as stream,
    ):
        found = [row.cursor.sequence async for batch in stream for row in batch]
    assert found == list(range(1000))
    assert component.batches < 500


@pytest.mark.parametrize("fault", [KeyError("mine"), "rows"], ids=["raises", "no batch"])
async def test_what_the_inputs_raise_comes_out_as_itself_while_lingering(serve, drive, fault):
    session = await serve(Echo())

    async def inputs():
        yield event(1)
        if isinstance(fault, Exception):
            raise fault
        yield fault

    async with (
        drive(linger=LONG) as driver,
        driver.processor(session.endpoint) as processor,
        processor.stream(inputs()) as stream,
    ):
        with pytest.raises(KeyError if isinstance(fault, Exception) else UsageError):
            await anext(stream)


async def test_a_processor_that_fails_ends_inputs_that_go_on(serve, drive):
    class Failing(Processor):
        async def process(self, batch):
            raise ValueError

    async def inputs():
        try:
            while True:
                yield event(1)
                await anyio.lowlevel.checkpoint()
        finally:
            closed.set()

    closed, session = anyio.Event(), await serve(Failing())
    async with (
        drive(linger=0.001) as driver,
        driver.processor(session.endpoint) as processor,
        processor.stream(inputs()) as stream,
    ):
        with pytest.raises(PeerError, match="ValueError in"):
            await anext(stream)
        assert closed.is_set()


class Book(Sink):
    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def consume(self, batch, epoch):
        self.batches.append([row.cursor.sequence for row in batch])

    async def commit(self, epoch): ...

    async def abort(self, epoch): ...


async def test_a_sink_gets_every_row_once_in_fewer_batches_and_acknowledges_true_counts(serve, drive):
    component = Book()
    session = await serve(component)
    whole = {"epoch_batches": None, "epoch_interval": None}
    async with drive(linger=0.02) as driver, driver.sink(session.endpoint, **whole) as sink:
        for sequence in range(1000):
            await sink.send(event(sequence))
        with anyio.fail_after(5):
            ack = await sink.flush()
    assert [sequence for batch in component.batches for sequence in batch] == list(range(1000))
    assert len(component.batches) < 500
    assert (ack.rows, ack.batches) == (1000, len(component.batches))
    assert (ack.first_cursor, ack.last_cursor) == (Cursor(0), Cursor(999))
