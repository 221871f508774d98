"""A served source: its generator's life, its faults, its back-pressure, its drain."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from flowctl_aio import FlowctlConfig, FlowctlSession
from flowctl_aio.batches import LedgerBatch
from flowctl_aio.component import Source
from flowctl_aio.errors import FrameTooLargeError, MissingLedgerError, PeerError, PeerUnavailableError
from flowctl_aio.types import Dialect, RawLedger

pytestmark = pytest.mark.anyio


def ledger(sequence: int, size: int = 3) -> LedgerBatch:
    return LedgerBatch.from_ledgers([RawLedger(sequence, b"x" * size)])


# What is handed over in memory is neither cut nor bounded.
ON_THE_NETWORK = pytest.mark.parametrize("local_streams", [False])


@pytest.fixture(params=[False, True], ids=["grpc", "local"])
def local_streams(request):
    return request.param


class Numbers(Source):
    size = 3

    def __init__(self) -> None:
        self.given = 0
        self.requests: list = []

    async def stream(self, request):
        self.requests.append(request)
        for sequence in range(request.start or 1, (request.end or 2**31) + 1):
            self.given += 1
            yield ledger(sequence, self.size)


async def read(stream) -> list[int]:
    async with stream:
        return [row.sequence async for batch in stream for row in batch]


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_a_request_arrives_as_it_was_asked(serve, driver, dialect):
    component = Numbers()
    session = await serve(component)
    async with driver.source(session.endpoint, dialect=dialect) as source:
        await read(source.stream(3, 4, network="testnet", params={"mode": "fast"}, resume_token="t"))
        async with source.stream() as stream:
            await anext(stream)
    first, second = component.requests
    assert (first.start, first.end, first.network, first.params, first.resume_token) == (
        3,
        4,
        "testnet",
        {"mode": "fast"},
        "t",
    )
    assert (second.start, second.end, second.network, second.params, second.resume_token) == (None, None, "", {}, "")


@pytest.mark.parametrize("fails_after", [0, 2])
async def test_a_fault_ends_its_stream_and_tells_no_secret(serve, driver, fails_after):
    class Failing(Numbers):
        async def stream(self, request):
            if request.network == "bad":
                for sequence in range(fails_after):
                    yield ledger(sequence)
                raise ValueError("token=abc123")
            async for batch in super().stream(request):
                yield batch

    session = await serve(Failing())
    async with driver.source(session.endpoint) as source, source.stream(1) as good:
        await anext(good)
        async with source.stream(1, network="bad") as bad:
            for _ in range(fails_after):
                await anext(bad)
            with pytest.raises(PeerError) as caught:
                await anext(bad)
        assert (caught.value.code, caught.value.details) == ("FAILED_PRECONDITION", "ValueError in failing")
        # Other streams go on, and so does the session.
        for _ in range(100):
            await anext(good)
    assert session.metrics()["errors_total"] == 1


async def test_a_missing_ledger_is_named_to_the_client(serve, driver):
    class Holey(Source):
        async def stream(self, request):
            yield ledger(1)
            raise MissingLedgerError(2, "the lake at s3://public")

    session = await serve(Holey())
    async with driver.source(session.endpoint) as source, source.stream(1, 3) as stream:
        await anext(stream)
        with pytest.raises(PeerError, match="ledger 2 is not in the lake at s3://public"):
            await anext(stream)


async def test_a_cancelled_error_out_of_nowhere_is_a_fault_and_no_end(serve, driver):
    class Confused(Source):
        async def stream(self, request):
            yield ledger(1)
            raise asyncio.CancelledError  # as libraries do that mix up whose cancellation it is

    session = await serve(Confused())
    async with driver.source(session.endpoint) as source, source.stream(1) as stream:
        await anext(stream)
        with pytest.raises(PeerError, match="CancelledError out of nowhere in confused"), anyio.fail_after(5):
            await anext(stream)
    assert session.metrics()["errors_total"] == 1


class NoGenerator(Source):
    async def stream(self, request):
        return [ledger(1)]


class NoBatches(Source):
    async def stream(self, request):
        yield RawLedger(1, b"")


class Nothing(Source):
    pass


@pytest.mark.parametrize(
    ("component", "kind"), [(NoGenerator, "TypeError"), (NoBatches, "TypeError"), (Nothing, "NotImplementedError")]
)
async def test_a_source_that_gives_something_else_is_a_fault(serve, driver, component, kind):
    session = await serve(component())
    async with driver.source(session.endpoint) as source, source.stream(1) as stream:
        with pytest.raises(PeerError, match=f"{kind} in"):
            await anext(stream)
    assert session.metrics()["errors_total"] == 1


async def test_a_slow_reader_bounds_how_far_the_source_runs_ahead(serve, driver):
    class Big(Numbers):
        size = 1_000_000

    component = Big()
    session = await serve(component, max_inflight=2)
    async with driver.source(session.endpoint) as source, source.stream(1) as stream:
        await anext(stream)
        known = -1
        while known != component.given:  # until it stands still
            known = component.given
            await anyio.sleep(0.2)
        # 16 wait at the reader; the rest is what gRPC holds on the way, which counts in bytes.
        assert component.given < 60
        assert [len(await anext(stream)) for _ in range(100)] == [1] * 100


async def test_several_clients_have_generators_of_their_own(serve, driver):
    session = await serve(Numbers())
    got: list[list[int]] = []

    async def one(start: int) -> None:
        async with driver.source(session.endpoint) as source:
            got.append(await read(source.stream(start, start + 50)))

    async with anyio.create_task_group() as group:
        for start in (10, 20, 30, 40):
            group.start_soon(one, start)
    assert sorted(got) == [list(range(start, start + 51)) for start in (10, 20, 30, 40)]


@ON_THE_NETWORK
async def test_a_large_batch_is_cut_and_arrives_whole(serve, driver):
    class Wide(Source):
        async def stream(self, request):
            yield LedgerBatch.from_ledgers([RawLedger(n, b"x" * 50_000) for n in range(200)])

    session = await serve(Wide())
    async with driver.source(session.endpoint) as source, source.stream(1) as stream:
        got = [batch async for batch in stream]
    assert len(got) > 1
    assert [row.sequence for batch in got for row in batch] == list(range(200))
    assert max(batch.nbytes for batch in got) <= 2 * 1024 * 1024


@ON_THE_NETWORK
async def test_a_ledger_above_the_limit_is_named(serve, driver):
    class Huge(Source):
        async def stream(self, request):
            yield LedgerBatch.from_ledgers([RawLedger(63_000_001, b"x" * 300_000)])

    session = await serve(Huge(), max_message_bytes=200_000)
    async with driver.source(session.endpoint) as source, source.stream(1) as stream:
        with pytest.raises(PeerError, match="63000001") as caught:
            await anext(stream)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert issubclass(FrameTooLargeError, ValueError)


async def test_the_generators_finally_runs_when_the_client_leaves(serve, driver):
    closed = anyio.Event()

    class Careful(Source):
        async def stream(self, request):
            try:
                async with anyio.create_task_group():  # a scope over a yield, as users write it
                    for sequence in range(10_000):
                        yield ledger(sequence)
            finally:
                closed.set()

    session = await serve(Careful())
    async with driver.source(session.endpoint) as source, source.stream(1) as stream:
        await anext(stream)
    with anyio.fail_after(5):
        await closed.wait()
    assert session.metrics()["errors_total"] == 0


async def test_a_draining_source_ends_its_streams_as_incomplete(serve, driver):
    session = await serve(Numbers())

    async def read_on():
        async with driver.source(session.endpoint) as source, source.stream(1) as stream:
            await anext(stream)
            session.stop()
            async for _ in stream:
                pass

    with pytest.raises(PeerUnavailableError, match="stopping; resume behind the last batch"), anyio.fail_after(5):
        await read_on()
    assert session.metrics()["errors_total"] == 0


async def test_a_component_error_can_stop_the_session(serve, driver):
    class Failing(Source):
        async def stream(self, request):
            raise KeyError("mine")
            yield

    config = FlowctlConfig(enabled=False, drain_timeout=0.2, on_component_error="stop")

    async def run():
        async with FlowctlSession(Failing(), config) as session:
            async with driver.source(session.endpoint) as source, source.stream(1) as stream:
                with pytest.raises(PeerError):
                    await anext(stream)
            with anyio.fail_after(5):
                await session.wait_stopped()

    with pytest.raises(KeyError, match="mine"):
        await run()
    assert asyncio.current_task().cancelling() == 0


async def test_traffic_is_counted_while_a_stream_is_under_way(serve, driver, until):
    session = await serve(Numbers())
    async with driver.source(session.endpoint) as source, source.stream(1) as stream:
        for _ in range(10):
            await anext(stream)
        numbers = session.metrics()
        assert (numbers["streams"], numbers["streams_total"]) == (1, 1)
        assert numbers["rows_out_total"] >= 10
        assert numbers["bytes_out_total"] > 300
    await until(lambda: session.metrics()["streams"] == 0)
    assert session.metrics()["rows_out_total"] >= numbers["rows_out_total"]
