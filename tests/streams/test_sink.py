"""The client of a sink: epochs, flushing, refusals, and cancelling in between."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from flowctl_aio.batches import EventBatch
from flowctl_aio.component import Sink
from flowctl_aio.errors import CodecError, FrameTooLargeError, PeerError, PeerUnavailableError
from flowctl_aio.types import Cursor, Dialect, Event, Health

pytestmark = pytest.mark.anyio


def event(sequence: int, size: int = 0) -> EventBatch:
    return EventBatch.from_events([Event("E", b"x" * size, id=f"id-{sequence}", cursor=Cursor(sequence))])


# What is handed over in memory is neither cut nor bounded.
ON_THE_NETWORK = pytest.mark.parametrize("local_streams", [False])


@pytest.fixture(params=[False, True], ids=["grpc", "local"])
def local_streams(request):
    return request.param


class Keeper(Sink):
    def __init__(self) -> None:
        self.epochs: list[list[int]] = []
        self.aborts = 0
        self.refuse = False
        self.committing, self.may_commit, self.aborted = anyio.Event(), anyio.Event(), anyio.Event()
        self.may_commit.set()

    async def consume(self, batch, epoch):
        epoch.state.setdefault("rows", []).extend(row.cursor.sequence for row in batch)

    async def commit(self, epoch):
        self.committing.set()
        await self.may_commit.wait()
        if self.refuse:
            raise PermissionError("password=hunter2")
        self.epochs.append(epoch.state.get("rows", []))
        return {"first": str(epoch.first_cursor), "last": str(epoch.last_cursor)}

    async def abort(self, epoch):
        self.aborts += 1
        self.aborted.set()


@pytest.fixture(params=list(Dialect))
def dialect(request):
    return request.param


async def test_each_flush_is_an_epoch_of_its_own(serve, driver, dialect):
    component = Keeper()
    session = await serve(component)
    async with driver.sink(session.endpoint, dialect=dialect) as sink:
        await sink.send(event(1))
        await sink.send(event(2))
        first = await sink.flush()
        await sink.send(event(3))
        second = await sink.flush()
        assert sink.last_ack is second
    assert component.epochs == [[1, 2], [3]]
    assert (first.rows, second.rows, component.aborts) == (2, 1, 0)
    if dialect is Dialect.CLASSIC:
        assert first.metadata == {"first": "1:0", "last": "2:0"}


async def test_flushing_nothing_asks_nobody(serve, driver):
    component = Keeper()
    session = await serve(component)
    async with driver.sink(session.endpoint) as sink:
        assert await sink.flush() is None
        await sink.send(event(1))
        assert (await sink.flush()).rows == 1
        assert await sink.flush() is None
    assert component.epochs == [[1]]


async def test_leaving_the_block_flushes(serve, driver):
    component = Keeper()
    session = await serve(component)
    async with driver.sink(session.endpoint) as sink:
        await sink.send(event(1))
    assert sink.last_ack.rows == 1
    assert component.epochs == [[1]]


async def test_leaving_the_block_by_an_exception_abandons(serve, driver, until):
    component = Keeper()
    session = await serve(component)

    async def fail():
        async with driver.sink(session.endpoint) as sink:
            await sink.send(event(1))
            await until(lambda: session.metrics()["rows_in_total"] == 1)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    with anyio.fail_after(5):
        await component.aborted.wait()
    assert component.epochs == []


async def test_a_failed_epoch_does_not_hide_the_callers_exception(serve, driver, until):
    class Broken(Sink):
        async def consume(self, batch, epoch):
            raise RuntimeError

    session = await serve(Broken())

    async def fail():
        async with driver.sink(session.endpoint) as sink:
            await sink.send(event(1))
            await until(lambda: session.metrics()["errors_total"] == 1 and session.metrics()["streams"] == 0)
            await anyio.wait_all_tasks_blocked()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


async def test_a_refused_epoch_is_told_without_secrets_and_the_next_one_goes_on(serve, driver, dialect):
    component = Keeper()
    component.refuse = True
    session = await serve(component)
    async with driver.sink(session.endpoint, dialect=dialect) as sink:
        await sink.send(event(1))
        with pytest.raises(PeerError, match="PermissionError in keeper") as caught:
            await sink.flush()
        assert "hunter2" not in str(caught.value)
        assert await sink.flush() is None
        component.refuse = False
        await sink.send(event(2))
        assert (await sink.flush()).rows == 1
    assert (component.epochs, component.aborts) == ([[2]], 1)
    assert session.metrics()["errors_total"] == 1


async def test_a_cancelled_flush_goes_on_and_is_heard_of_by_the_next(serve, driver):
    component = Keeper()
    component.may_commit = anyio.Event()
    session = await serve(component)
    async with driver.sink(session.endpoint) as sink:
        await sink.send(event(1))
        for _ in range(3):
            with anyio.move_on_after(0.01) as scope:
                await sink.flush()
            assert scope.cancelled_caught
        await component.committing.wait()
        component.may_commit.set()
        assert (await sink.flush()).rows == 1
        assert await sink.flush() is None
        await sink.send(event(2))
    assert component.epochs == [[1], [2]]


async def test_a_sink_that_lags_makes_send_wait_and_a_cancelled_send_loses_nothing(serve, driver):
    class Slow(Keeper):
        def __init__(self) -> None:
            super().__init__()
            self.may_consume = anyio.Event()

        async def consume(self, batch, epoch):
            await self.may_consume.wait()
            await super().consume(batch, epoch)

    component = Slow()
    session = await serve(component, max_inflight=1)
    sent = 0
    async with driver.sink(session.endpoint) as sink:
        while True:
            with anyio.move_on_after(0.1) as scope:
                await sink.send(event(sent, size=1_000_000))
            if scope.cancelled_caught:
                break
            sent += 1
        assert sent < 60  # the queues of both sides, and what gRPC holds on the way
        component.may_consume.set()
        await sink.send(event(sent))
        await sink.flush()
    assert component.epochs == [list(range(sent + 1))]


@ON_THE_NETWORK
async def test_a_row_that_is_too_large_is_named_and_ends_the_epoch(serve, driver, until):
    component = Keeper()
    session = await serve(component)
    async with driver.sink(session.endpoint) as sink:
        sink._config = replace(driver.config, max_message_bytes=200_000)
        await sink.send(event(1))
        await until(lambda: session.metrics()["rows_in_total"] == 1)
        await sink.send(event(63_000_000, size=300_000))
        with pytest.raises(FrameTooLargeError, match="63000000") as caught:
            await sink.flush()
        assert isinstance(caught.value, CodecError)
        assert (caught.value.limit, caught.value.size > 300_000) == (200_000, True)
    with anyio.fail_after(5):
        await component.aborted.wait()
    assert component.epochs == []


@ON_THE_NETWORK
async def test_a_large_batch_is_cut_and_arrives_whole(serve, driver):
    component = Keeper()
    session = await serve(component)
    rows = [Event("E", b"x" * 10_000, cursor=Cursor(n)) for n in range(1000)]
    async with driver.sink(session.endpoint) as sink:
        await sink.send(EventBatch.from_events(rows))
        ack = await sink.flush()
    assert ack.rows == 1000
    assert ack.batches > 1
    assert component.epochs == [list(range(1000))]


async def test_several_clients_have_epochs_of_their_own(serve, driver):
    component = Keeper()
    session = await serve(component)

    async def pour(start: int) -> None:
        async with driver.sink(session.endpoint) as sink:
            for n in range(start, start + 20):
                await sink.send(event(n))

    async with anyio.create_task_group() as group:
        for start in range(0, 100, 20):
            group.start_soon(pour, start)
    assert sorted(component.epochs) == [list(range(start, start + 20)) for start in range(0, 100, 20)]


async def test_a_sink_that_goes_away_ends_the_epoch_in_an_error(serve, driver):
    component = Keeper()
    component.may_commit = anyio.Event()
    session = await serve(component)
    async with driver.sink(session.endpoint) as sink:
        await sink.send(event(1))
        async with anyio.create_task_group() as group:

            async def kill() -> None:
                await component.committing.wait()
                await session.aclose()

            group.start_soon(kill)
            with pytest.raises(PeerUnavailableError):
                await sink.flush()
        assert component.aborts == 1
        await sink.send(event(2))
        with pytest.raises(PeerUnavailableError):
            await sink.flush()


async def test_health_tells_how_the_sink_is(serve, driver):
    class Ill(Keeper):
        def health(self):
            return Health.DEGRADED

        def metrics(self):
            return {"lag": 3}

    session = await serve(Ill())
    async with driver.sink(session.endpoint) as sink:
        answer = await sink.health()
    assert (answer.health, answer.metrics["lag"]) == (Health.DEGRADED, 3.0)


@pytest.mark.parametrize("what", ["health", "metrics"])
async def test_a_probe_that_fails_is_an_ill_health_and_no_error(serve, driver, what):
    class Broken(Keeper):
        pass

    def broken(self):
        raise RuntimeError("probe")

    setattr(Broken, what, broken)
    session = await serve(Broken())
    async with driver.sink(session.endpoint) as sink:
        answer = await sink.health()
    assert answer.health is (Health.UNHEALTHY if what == "health" else Health.HEALTHY)
