"""A served sink: what its faults do, and what its abort may rely on."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

from flowctl_aio import FlowctlConfig, FlowctlSession
from flowctl_aio.batches import EventBatch
from flowctl_aio.component import Sink
from flowctl_aio.errors import PeerError, StreamError
from flowctl_aio.types import Cursor, Dialect, Event

pytestmark = pytest.mark.anyio


def event(sequence: int) -> EventBatch:
    return EventBatch.from_events([Event("E", b"", cursor=Cursor(sequence))])


@pytest.fixture(params=[False, True], ids=["grpc", "local"])
def local_streams(request):
    return request.param


class Failing(Sink):
    """Fails where it is told to."""

    def __init__(self, *where: str) -> None:
        self.where = where
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.where:
            raise ValueError("token=abc123")

    async def consume(self, batch, epoch):
        self._call("consume")

    async def commit(self, epoch):
        self._call("commit")

    async def abort(self, epoch):
        self._call("abort")


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize(
    ("where", "calls"), [("consume", ["consume", "abort"]), ("commit", ["consume", "commit", "abort"])]
)
async def test_a_fault_aborts_the_epoch_and_tells_no_secret(serve, driver, where, calls, dialect):
    component = Failing(where)
    session = await serve(component)
    async with driver.sink(session.endpoint, dialect=dialect) as sink:
        await sink.send(event(1))
        with pytest.raises(PeerError, match="ValueError in failing") as caught:
            await sink.flush()
    assert "abc123" not in f"{caught.value}{caught.value.details}"
    assert component.calls == calls
    assert session.metrics()["errors_total"] == 1


async def test_a_fault_in_abort_is_counted_and_does_not_hide_the_first(serve, driver):
    class Twice(Failing):
        async def consume(self, batch, epoch):
            self.calls.append("consume")
            raise KeyError("first")

    component = Twice("abort")
    session = await serve(component)
    async with driver.sink(session.endpoint) as sink:
        await sink.send(event(1))
        with pytest.raises(PeerError, match="KeyError in twice"):
            await sink.flush()
    assert component.calls == ["consume", "abort"]
    assert session.metrics()["errors_total"] == 2


async def test_an_abort_after_a_cancelled_call_may_fail_too(serve, driver, until):
    component = Failing("abort")
    session = await serve(component)
    with anyio.CancelScope() as scope:
        async with driver.sink(session.endpoint) as sink:
            await sink.send(event(1))
            await until(lambda: component.calls == ["consume"])
            scope.cancel()
            await anyio.sleep_forever()
    await until(lambda: component.calls == ["consume", "abort"] and session.metrics()["streams"] == 0)
    assert session.metrics()["errors_total"] == 1


async def test_one_epochs_fault_leaves_the_others_alone(serve, driver):
    class Picky(Sink):
        async def consume(self, batch, epoch):
            if batch.first_cursor.sequence == 13:
                raise ValueError

    session = await serve(Picky())
    async with driver.sink(session.endpoint) as good, driver.sink(session.endpoint) as bad:
        await good.send(event(1))
        await bad.send(event(13))
        with pytest.raises(PeerError):
            await bad.flush()
        await good.send(event(2))
        assert (await good.flush()).rows == 2


async def test_what_the_component_holds_open_outlives_its_last_epoch(driver, until):
    order: list[str] = []

    class Careful(Sink):
        @asynccontextmanager
        async def lifespan(self):
            order.append("open")
            yield
            order.append("close")

        async def consume(self, batch, epoch):
            order.append("consume")

        async def abort(self, epoch):
            await anyio.sleep(0.05)  # such as rolling back
            order.append("abort")

    async def send(address: str) -> None:
        async with driver.sink(address) as sink:
            await sink.send(event(1))
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        config = FlowctlConfig(enabled=False, drain_timeout=0.05)
        async with FlowctlSession(Careful(), config) as session:
            group.start_soon(send, session.endpoint)
            await until(lambda: "consume" in order)
        group.cancel_scope.cancel()
    assert order == ["open", "consume", "abort", "close"]


async def test_a_session_that_stops_takes_no_new_epoch(serve, driver, until):
    session = await serve(Failing())
    async with driver.sink(session.endpoint) as sink:
        session.stop()
        await session.wait_stopped()
        await until(lambda: session.state.value in ("draining", "closed"))
        await sink.send(event(1))
        with pytest.raises(StreamError):
            await sink.flush()
