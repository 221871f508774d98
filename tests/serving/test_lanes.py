"""A processor that works on several batches of a stream at once: order, keys, bounds, faults and endings."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import ClassVar

import anyio
import pytest

from flowctl_aio.batches import EventBatch
from flowctl_aio.component import Processor
from flowctl_aio.errors import ConfigError, PeerError, StreamError
from flowctl_aio.types import Cursor, Dialect, Event

pytestmark = pytest.mark.anyio


def event(sequence: int, size: int = 0) -> EventBatch:
    return EventBatch.from_events([Event("E", b"x" * size, cursor=Cursor(sequence))])


def number(batch) -> int:
    return batch.first_cursor.sequence


async def inputs(count: int):
    for sequence in range(count):
        yield event(sequence)


async def outputs(driver, session, count: int, dialect: Dialect | None = None) -> list[int]:
    async with driver.processor(session.endpoint, dialect=dialect) as client, client.stream(inputs(count)) as stream:
        return [number(batch) async for batch in stream]


class Gated(Processor):
    """Each batch waits until it is let go; what is at work, was ended and was cancelled is noted."""

    concurrency = 3

    def __init__(self, order="input", **attributes) -> None:
        self.order = order
        self.__dict__.update(attributes)
        self.gates: dict[int, anyio.Event] = defaultdict(anyio.Event)
        self.at_work: list[int] = []
        self.begun: list[int] = []
        self.cancelled: list[int] = []

    async def process(self, batch):
        self.at_work.append(number(batch))
        self.begun.append(number(batch))
        try:
            await self.gates[number(batch)].wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(number(batch))
            raise
        finally:
            self.at_work.remove(number(batch))
        return batch

    def let_go(self, *sequences: int) -> None:
        for sequence in sequences:
            self.gates[sequence].set()


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_outputs_keep_the_order_of_inputs_that_are_done_in_another(serve, driver, until, dialect):
    component = Gated()
    session = await serve(component)
    async with driver.processor(session.endpoint, dialect=dialect) as client, client.stream(inputs(3)) as stream:
        await until(lambda: component.at_work == [0, 1, 2])
        component.let_go(2)
        await until(lambda: component.at_work == [0, 1])
        component.let_go(1, 0)
        assert [number(batch) async for batch in stream] == [0, 1, 2]


async def test_on_request_outputs_leave_as_they_are_done(serve, driver):
    component = Gated("completion")
    session = await serve(component)
    got = []
    async with driver.processor(session.endpoint) as client, client.stream(inputs(3)) as stream:
        for sequence in (2, 0, 1):
            component.let_go(sequence)
            got.append(number(await anext(stream)))
        assert [batch async for batch in stream] == []
    assert got == [2, 0, 1]


async def test_no_more_than_concurrency_are_at_work_and_as_many_wait_for_their_turn(serve, driver, until):
    component = Gated()
    session = await serve(component)
    async with driver.processor(session.endpoint) as client, client.stream(inputs(100)) as stream:
        component.let_go(*range(1, 100))
        await until(lambda: component.begun == [0, 1, 2, 3, 4, 5])
        await anyio.wait_all_tasks_blocked()
        assert (component.at_work, session.metrics()["streams"]) == ([0], 1)
        component.let_go(0)
        assert [number(batch) async for batch in stream] == list(range(100))
    assert component.begun == list(range(100))


async def test_a_slow_reader_bounds_how_many_are_taken(serve, driver, until):
    class Same(Processor):
        concurrency = 4

        async def process(self, batch):
            return batch

    session = await serve(Same(), max_inflight=2)
    taken = 0

    async def many():
        nonlocal taken
        for taken in range(10_000):
            yield event(taken, 1_000_000)

    async with driver.processor(session.endpoint) as client, client.stream(many()) as stream:
        await anext(stream)
        known = -1
        while known != taken:  # until it stands still
            known = taken
            await anyio.sleep(0.2)
        assert taken < 90


class Shapes(Processor):
    """None, one, two in a list, or three out of a generator, by the number of the batch; later ones are quicker."""

    concurrency = 4

    def process(self, batch):
        return self.generate(batch) if number(batch) % 4 == 3 else self.answer(batch)

    async def answer(self, batch):
        await anyio.sleep(0.001 * (number(batch) % 3))
        return [None, batch, [batch, batch]][number(batch) % 4]

    async def generate(self, batch):
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
            yield batch


async def test_every_shape_of_answer_keeps_the_order(serve, driver):
    session = await serve(Shapes())
    expected = [sequence for sequence in range(60) for _ in range(sequence % 4)]
    assert await outputs(driver, session, 60) == expected


async def test_every_shape_of_answer_is_whole_in_the_order_of_completion(serve, driver):
    component = Shapes()
    component.order = "completion"
    session = await serve(component)
    expected = Counter({sequence: sequence % 4 for sequence in range(60) if sequence % 4})
    assert Counter(await outputs(driver, session, 60)) == expected


async def test_a_generator_that_is_not_at_the_front_waits_with_its_first_output(serve, driver, until):
    yielded = []

    class Generators(Gated):
        async def process(self, batch):
            if number(batch) == 0:
                await self.gates[0].wait()
            for part in range(5):
                yielded.append((number(batch), part))
                yield batch

    component = Generators()
    session = await serve(component)
    async with driver.processor(session.endpoint) as client, client.stream(inputs(6)) as stream:
        await until(lambda: yielded == [(1, 0), (2, 0)])
        await anyio.wait_all_tasks_blocked()
        assert yielded == [(1, 0), (2, 0)]
        component.let_go(0)
        assert [number(batch) async for batch in stream] == [n for n in range(6) for _ in range(5)]


class Keyed(Gated):
    def key(self, batch):
        return "even" if number(batch) % 2 == 0 else None


@pytest.mark.parametrize("order", ["input", "completion"])
async def test_batches_of_one_key_are_never_at_work_together(serve, driver, until, order):
    component = Keyed(order)
    session = await serve(component)
    async with driver.processor(session.endpoint) as client, client.stream(inputs(5)) as stream:
        await until(lambda: component.at_work == [0, 1, 3])
        component.let_go(0)
        await until(lambda: component.at_work == [1, 3, 2])
        component.let_go(*range(5))
        got = [number(batch) async for batch in stream]
    assert [sequence for sequence in got if sequence % 2 == 0] == [0, 2, 4]
    assert sorted(got) == list(range(5))
    assert order == "completion" or got == sorted(got)


async def test_many_keys_in_the_order_of_completion_keep_each_its_own_order(serve, driver):
    class Many(Processor):
        concurrency, order = 8, "completion"
        together: ClassVar[Counter[int]] = Counter()

        def key(self, batch):
            return number(batch) % 5

        async def process(self, batch):
            key = self.key(batch)
            self.together[key] += 1
            assert self.together[key] == 1
            await anyio.sleep(0.001 * (number(batch) * 7 % 5))
            self.together[key] -= 1
            yield batch
            yield batch

    session = await serve(Many())
    got = await outputs(driver, session, 100)
    for key in range(5):
        assert [n for n in got if n % 5 == key] == [n for n in range(key, 100, 5) for _ in range(2)]


async def test_flush_comes_after_everything_else(serve, driver):
    class Flushing(Gated):
        async def flush(self):
            assert self.at_work == []
            return event(99)

    component = Flushing()
    session = await serve(component)
    async with driver.processor(session.endpoint) as client, client.stream(inputs(5)) as stream:
        component.let_go(4, 3, 2, 1, 0)
        assert [number(batch) async for batch in stream] == [0, 1, 2, 3, 4, 99]


class Faulty(Gated):
    """Fails at the batch `at`, as soon as that is let go."""

    at = 1

    async def process(self, batch):
        got = await super().process(batch)
        if number(batch) == self.at:
            raise ValueError("token=abc123")
        return got


async def test_a_fault_comes_after_the_outputs_of_earlier_inputs_and_cancels_later_ones(serve, driver, until):
    component = Faulty()
    session = await serve(component)
    async with driver.processor(session.endpoint) as client, client.stream(inputs(50)) as stream:
        await until(lambda: component.at_work == [0, 1, 2])
        component.let_go(1)
        await until(lambda: component.at_work == [0])
        assert 2 in component.cancelled
        component.let_go(0)
        assert number(await anext(stream)) == 0
        with pytest.raises(PeerError, match="ValueError in faulty") as caught:
            await anext(stream)
    assert "abc123" not in f"{caught.value}{caught.value.details}"
    assert session.metrics()["errors_total"] == 1
    assert (component.at_work, 6 in component.begun) == ([], False)


async def test_of_two_faults_the_one_of_the_earlier_input_is_told(serve, driver, until):
    class Both(Gated):
        async def process(self, batch):
            await super().process(batch)
            raise {0: KeyError, 1: ValueError}[number(batch)]

    component = Both()
    session = await serve(component)
    async with driver.processor(session.endpoint) as client, client.stream(inputs(2)) as stream:
        await until(lambda: component.at_work == [0, 1])
        component.let_go(1)
        await until(lambda: component.at_work == [0])
        component.let_go(0)
        with pytest.raises(PeerError, match="KeyError in both"):
            await anext(stream)


async def test_in_the_order_of_completion_a_fault_cancels_all_others(serve, driver, until):
    component = Faulty("completion")
    session = await serve(component)
    async with driver.processor(session.endpoint) as client, client.stream(inputs(3)) as stream:
        await until(lambda: component.at_work == [0, 1, 2])
        component.let_go(1)
        with pytest.raises(PeerError, match="ValueError in faulty"):
            await anext(stream)
    assert (component.at_work, sorted(component.cancelled)) == ([], [0, 2])


async def test_a_generator_sends_what_it_had_before_its_fault(serve, driver):
    class Half(Processor):
        concurrency = 3

        async def process(self, batch):
            yield batch
            if number(batch) == 1:
                raise ValueError

    session = await serve(Half())
    async with driver.processor(session.endpoint) as client, client.stream(inputs(5)) as stream:
        assert [number(await anext(stream)) for _ in range(2)] == [0, 1]
        with pytest.raises(PeerError, match="ValueError in half"):
            await anext(stream)


async def test_an_input_that_fails_lets_earlier_ones_through(serve, driver):
    component = Gated()
    session = await serve(component)

    async def broken():
        yield event(0)
        yield event(1)
        raise LookupError("the caller's own")

    async with driver.processor(session.endpoint) as client, client.stream(broken()) as stream:
        component.let_go(0, 1)
        with pytest.raises(LookupError, match="own"):
            async for _ in stream:
                pass


@pytest.mark.parametrize("key", [[], ValueError("no key")], ids=["no hash", "raises"])
async def test_a_key_that_is_none_is_a_fault(serve, driver, key):
    class Odd(Gated):
        def key(self, batch):
            if isinstance(key, Exception):
                raise key
            return key

    session = await serve(Odd())
    with pytest.raises(PeerError, match="Error in odd"):
        await outputs(driver, session, 1)
    assert session.metrics()["errors_total"] == 1


@pytest.mark.parametrize("order", ["input", "completion"])
async def test_a_client_that_leaves_cancels_all_of_them(serve, driver, until, order):
    component = Keyed(order)
    session = await serve(component)
    async with driver.processor(session.endpoint) as client, client.stream(inputs(50)):
        await until(lambda: len(component.at_work) == 3)
    await until(lambda: session.metrics()["streams"] == 0)
    assert (component.at_work, len(component.cancelled)) == ([], 3)
    assert session._life.served.waiting == len(session._life.served.work) == 0


async def test_a_session_that_ends_leaves_nothing_at_work(serve, driver, until):
    component = Gated()
    session = await serve(component)
    async with driver.processor(session.endpoint) as client, client.stream(inputs(50)) as stream:
        await until(lambda: len(component.at_work) == 3)
        await session.aclose()
        with pytest.raises(StreamError):
            await anext(stream)
    assert component.at_work == []


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [({"concurrency": 0}, "concurrency of Gated"), ({"concurrency": 2.5}, "2.5"), ({"order": "any"}, "input, compl")],
)
async def test_what_there_is_not_is_refused_on_entering(serve, attributes, problem):
    with pytest.raises(ConfigError, match=problem):
        await serve(Gated(**attributes))
