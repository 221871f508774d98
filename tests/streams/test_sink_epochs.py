"""Epochs that end by themselves, over real calls: limits, order, acknowledgements, failures, cancelling."""

from __future__ import annotations

import anyio
import pytest

from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.component import Sink
from flowctl_aio.errors import PeerError, UsageError
from flowctl_aio.types import Cursor, Dialect, Event, RawLedger

pytestmark = pytest.mark.anyio


def ledger(sequence: int, size: int = 3) -> LedgerBatch:
    return LedgerBatch.from_ledgers([RawLedger(sequence, b"x" * size)])


@pytest.fixture(params=[False, True], ids=["grpc", "local"])
def local_streams(request):
    return request.param


def event(sequence: int, index: int = 0) -> EventBatch:
    return EventBatch.from_events([Event("E", b"payload", cursor=Cursor(sequence, index))])


def rows_of(batch) -> list[int]:
    return [row.sequence if isinstance(row, RawLedger) else row.cursor.sequence for row in batch]


class Book(Sink):
    """Writes down what it is told, in order, and commits when it may."""

    def __init__(self) -> None:
        self.told: list[str | int] = []
        self.epochs: list[list[int]] = []
        self.fails = 0
        self.committing, self.may_commit = anyio.Event(), anyio.Event()
        self.may_commit.set()

    async def consume(self, batch, epoch):
        self.told.extend(rows_of(batch))
        epoch.state.setdefault("rows", []).extend(rows_of(batch))

    async def commit(self, epoch):
        self.committing.set()
        await self.may_commit.wait()
        if self.fails:
            self.fails -= 1
            raise OSError("no space left on device")
        self.told.append("commit")
        self.epochs.append(epoch.state["rows"])


MANUAL = {"epoch_batches": None, "epoch_bytes": None, "epoch_interval": None}


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("limit", [{"epoch_batches": 2}, {"epoch_bytes": 2000}, {"epoch_interval": 0.02}])
async def test_an_epoch_ends_by_itself_and_its_acknowledgement_says_what_it_covers(serve, driver, dialect, limit):
    component = Book()
    session = await serve(component)
    async with driver.sink(session.endpoint, dialect=dialect, **MANUAL | limit) as sink:
        acks = sink.acks()
        await sink.send(ledger(1, 900))
        await sink.send(ledger(2, 1100))
        with anyio.fail_after(5):
            ack = await anext(acks)
    assert (ack.batches, ack.rows, ack.failed) == (2, 2, 0)
    assert (ack.first_cursor, ack.last_cursor) == (Cursor(1), Cursor(2))
    assert component.epochs == [[1, 2]]


async def test_without_limits_only_flush_ends_an_epoch(serve, driver):
    component = Book()
    session = await serve(component)
    async with driver.sink(session.endpoint, **MANUAL) as sink:
        for sequence in range(200):
            await sink.send(ledger(sequence))
        assert component.epochs == []
        assert (await sink.flush()).rows == 200
    assert len(component.epochs) == 1


async def test_the_interval_ends_an_epoch_of_events_after_a_silence(serve, driver):
    component = Book()
    session = await serve(component)
    async with driver.sink(session.endpoint, epoch_interval=0.02) as sink:
        acks = sink.acks()
        await sink.send(event(1))
        with anyio.fail_after(5):
            assert (await anext(acks)).last_cursor == Cursor(1)


async def test_an_epoch_does_not_end_inside_a_ledger(serve, driver):
    component = Book()
    session = await serve(component)
    async with driver.sink(session.endpoint, epoch_batches=1, epoch_interval=None) as sink:
        for sequence in (1, 2, 3):
            for index in range(3):
                await sink.send(event(sequence, index))
    assert component.epochs == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]


async def test_the_next_epoch_is_taken_while_one_is_committed_and_both_stay_in_order(serve, driver):
    component = Book()
    component.may_commit = anyio.Event()
    session = await serve(component)
    async with driver.sink(session.endpoint, epoch_batches=2, epoch_interval=None) as sink:
        for sequence in (1, 2, 3, 4):  # the second epoch is full as well
            await sink.send(ledger(sequence))
        await component.committing.wait()
        with anyio.move_on_after(0.05) as scope:
            await sink.send(ledger(5))  # there is no third
        assert scope.cancelled_caught
        assert component.told == [1, 2]
        component.may_commit.set()
        for sequence in range(5, 21):
            await sink.send(ledger(sequence))
        await sink.flush()
    assert component.epochs == [[n, n + 1] for n in range(1, 21, 2)]
    assert component.told == [told for n in range(1, 21, 2) for told in (n, n + 1, "commit")]


async def test_every_listener_hears_every_acknowledgement_and_those_who_share_one_share_them(serve, driver):
    component = Book()
    session = await serve(component)
    heard: dict[str, list[int]] = {"alone": [], "shared": []}

    async def listen(name, acks):
        async for ack in acks:
            heard[name].append(ack.last_cursor.sequence)

    async with anyio.create_task_group() as group:
        async with driver.sink(session.endpoint, epoch_batches=1, epoch_interval=None) as sink:
            shared = sink.acks()
            for name, acks in (("alone", sink.acks()), ("shared", shared), ("shared", shared)):
                group.start_soon(listen, name, acks)
            for sequence in range(1, 11):
                await sink.send(ledger(sequence))
        assert [ack async for ack in sink.acks()] == []  # a closed client has no more
    assert heard["alone"] == list(range(1, 11))
    assert sorted(heard["shared"]) == list(range(1, 11))


async def test_a_listener_that_is_cancelled_again_and_again_misses_nothing(serve, driver):
    component = Book()
    session = await serve(component)
    async with driver.sink(session.endpoint, epoch_batches=1, epoch_interval=None) as sink:
        acks, heard = sink.acks(), []
        for sequence in range(1, 21):
            await sink.send(ledger(sequence))
            with anyio.move_on_after(0.0001):
                heard.append((await anext(acks)).last_cursor.sequence)
        await sink.flush()
        with anyio.fail_after(5):
            while len(heard) < 20:
                heard.append((await anext(acks)).last_cursor.sequence)
    assert heard == list(range(1, 21))


@pytest.mark.parametrize("call", ["send", "flush", "leaving"])
async def test_an_epoch_that_fails_in_the_background_is_told_by_the_next_call_once(serve, driver, until, call):
    component = Book()
    component.fails = 1
    session = await serve(component)

    def expected():
        return pytest.raises(PeerError, match="OSError in book")

    async def pour():
        async with driver.sink(session.endpoint, epoch_batches=1, epoch_interval=None) as sink:
            acks = sink.acks()
            await sink.send(ledger(1))
            with anyio.fail_after(5), expected():
                await anext(acks)
            if call == "leaving":
                return
            with expected():
                await (sink.send(ledger(2)) if call == "send" else sink.flush())
            await sink.send(ledger(3))
            assert (await sink.flush()).last_cursor == Cursor(3)
            assert (await anext(acks)).last_cursor == Cursor(3)

    if call == "leaving":
        with expected():
            await pour()
    else:
        await pour()
        assert component.epochs == [[3]]


async def test_nothing_behind_a_failed_epoch_is_committed(serve, driver):
    component = Book()
    component.fails, component.may_commit = 1, anyio.Event()
    session = await serve(component)
    async with driver.sink(session.endpoint, epoch_batches=1, epoch_interval=None) as sink:
        await sink.send(ledger(1))
        await sink.send(ledger(2))
        component.may_commit.set()
        with pytest.raises(PeerError):
            await sink.flush()
        assert await sink.flush() is None
    assert (component.epochs, component.told) == ([], [1])


async def test_a_fault_while_an_acknowledgement_is_noted_holds_the_next_epoch_back(serve, driver):
    component = Book()
    session = await serve(component)
    noted = []

    async def note(ack):
        noted.append((ack.last_cursor.sequence, len(component.epochs)))
        if len(noted) == 2:
            raise OSError("the checkpoint cannot be written")

    async def pour():
        async with driver.sink(session.endpoint, epoch_batches=1, epoch_interval=None, on_ack=note) as sink:
            for sequence in range(1, 50):
                await sink.send(ledger(sequence))

    with pytest.raises(OSError, match="checkpoint"):
        await pour()
    assert noted == [(1, 1), (2, 2)]
    assert component.epochs == [[1], [2]]


async def test_abandoning_an_epoch_that_waits_for_batches_sends_no_end_marker(serve, driver, until):
    component = Book()
    session = await serve(component)
    async with driver.sink(session.endpoint, **MANUAL) as sink:
        for sequence in range(10):
            await sink.send(ledger(sequence))
            await until(lambda sequence=sequence: sequence in component.told)
            await sink.abandon()
        await until(lambda: session.metrics()["streams"] == 0)
    assert component.epochs == []


async def test_a_send_cancelled_anywhere_is_handed_over_or_not_and_never_twice(serve, driver):
    class Slow(Book):
        async def consume(self, batch, epoch):
            await anyio.sleep(0.0005)
            await super().consume(batch, epoch)

    component = Slow()
    session = await serve(component, max_inflight=1)
    sent = []
    async with driver.sink(session.endpoint, epoch_batches=3, epoch_interval=None) as sink:
        for sequence in range(60):
            with anyio.move_on_after(0.0002 * (sequence % 5)):
                await sink.send(ledger(sequence))
                sent.append(sequence)
        await sink.flush()
    assert [n for epoch in component.epochs for n in epoch] == sent


async def test_a_client_that_is_closed_says_so(serve, driver):
    session = await serve(Book())
    async with driver.sink(session.endpoint) as sink:
        await sink.send(ledger(1))
    with pytest.raises(UsageError, match="closed"):
        await sink.send(ledger(2))
    with pytest.raises(UsageError, match="LedgerBatch"):
        await sink.send("rows")


async def test_no_task_is_left_of_epochs_that_ended_failed_or_were_abandoned(serve, driver, no_tasks_left):
    component = Book()
    session = await serve(component)
    async with no_tasks_left():
        for fails in (0, 1):
            component.fails = fails
            with anyio.move_on_after(5):
                async with driver.sink(session.endpoint, epoch_batches=1) as sink:
                    await sink.send(ledger(1))
                    await sink.settle()
                    await sink.abandon()
