"""Back-pressure as those see it who listen, and those who are held back."""

from __future__ import annotations

import anyio
import pytest

from flowctl_aio.control.flow.control import FlowControl
from flowctl_aio.control.flow.signals import MAX_WAITING
from flowctl_aio.errors import UsageError

pytestmark = pytest.mark.anyio


class Clock:
    """Time that stands still unless the test moves it; waiting is real, and as long as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def flow(clock):
    flow = FlowControl("me", clock=clock)
    flow.set_limit("me", 10)
    return flow


def press(flow: FlowControl) -> None:
    flow.acquire_nowait("me", 10)


def relieve(flow: FlowControl) -> None:
    flow.release("me", 10)


async def make_slow(flow: FlowControl, clock: Clock) -> None:
    """Teach a pace of 60 s by hand, so that whoever is held back stays so until the end of back-pressure."""
    for _ in range(2):
        await flow.throttle(1 / 60)
        clock.now += 1
    press(flow)
    await flow.throttle()


async def test_every_listener_hears_every_change_in_order(flow):
    heard: dict[int, list[bool]] = {0: [], 1: [], 2: []}

    async def listen(number: int) -> None:
        async with flow.subscribe() as signals:
            async for signal in signals:
                heard[number].append(signal.is_active)

    async with anyio.create_task_group() as group:
        for number in heard:
            group.start_soon(listen, number)
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            press(flow)
            relieve(flow)
        await anyio.wait_all_tasks_blocked()
        assert list(heard.values()) == [[True, False, True, False]] * 3
        flow.close()  # ends the listening, and with it the group


async def test_a_slow_listener_has_the_newest_and_knows_how_many_it_missed(flow):
    async with flow.subscribe() as slow:
        for _ in range(MAX_WAITING):
            press(flow)
            relieve(flow)
        press(flow)
        flow.close()
        heard = [signal.is_active async for signal in slow]
    assert slow.missed == 2 * MAX_WAITING + 1 - MAX_WAITING
    assert len(heard) == MAX_WAITING
    assert heard[-1] is True


async def test_two_tasks_may_share_one_subscription(flow):
    heard = []
    async with flow.subscribe() as signals, anyio.create_task_group() as group:

        async def listen() -> None:
            heard.append(await anext(signals))

        for _ in range(2):
            group.start_soon(listen)
        await anyio.wait_all_tasks_blocked()
        press(flow)
        relieve(flow)
    assert sorted(signal.is_active for signal in heard) == [False, True]


async def test_a_wait_that_is_cancelled_loses_no_signal(flow):
    async with flow.subscribe() as signals:
        with anyio.move_on_after(0.01):
            await anext(signals)
        press(flow)
        assert (await anext(signals)).is_active


async def test_leaving_ends_the_subscription(flow):
    async with flow.subscribe() as signals:
        pass
    press(flow)
    with pytest.raises(StopAsyncIteration):
        await anext(signals)
    flow.close()
    with pytest.raises(UsageError, match="closed"):
        async with flow.subscribe():
            pass


async def test_without_back_pressure_nobody_is_held_back(flow):
    with anyio.fail_after(5):
        for _ in range(10_000):
            await flow.throttle()


async def test_under_back_pressure_each_is_held_back_in_turn(flow, clock):
    for _ in range(10):
        await flow.throttle()
        clock.now += 0.004
    press(flow)
    passed = []

    async def go(name: str) -> None:
        await flow.throttle()
        passed.append(name)

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(go, name)
        await anyio.wait_all_tasks_blocked()
        for expected in ("a", "ab", "abc"):
            with anyio.fail_after(5):
                while len(passed) < len(expected):  # noqa: ASYNC110 - nobody sets an event for it
                    await anyio.sleep(0.001)
            await anyio.sleep(0.02)  # more than two paces of real time, while the clock stands
            assert "".join(passed) == expected
            clock.now += 0.0081  # one pace at half the rate


async def test_all_who_are_held_back_go_on_in_the_moment_that_it_ends_in_their_order(flow, clock):
    order = []
    async with flow.subscribe() as signals, anyio.create_task_group() as group:
        await make_slow(flow, clock)
        assert (await anext(signals)).is_active

        async def go(name: str) -> None:
            await flow.throttle()
            order.append(name)

        async def listen() -> None:
            order.append((await anext(signals)).reason)

        group.start_soon(listen)
        for name in "abc":
            group.start_soon(go, name)
            await anyio.wait_all_tasks_blocked()
        assert order == []
        relieve(flow)
        group.start_soon(go, "late")
        await anyio.wait_all_tasks_blocked()  # no time passes: whoever can run has run
        assert [name for name in order if len(name) < 5] == ["a", "b", "c", "late"]
        assert "the load is below 60%" in order


async def test_who_is_cancelled_while_held_back_gives_up_its_place(flow, clock):
    await make_slow(flow, clock)
    order = []
    scopes = {name: anyio.CancelScope() for name in "abc"}

    async def go(name: str) -> None:
        with scopes[name]:
            await flow.throttle()
            order.append(name)

    async with anyio.create_task_group() as group:
        for name in scopes:
            group.start_soon(go, name)
            await anyio.wait_all_tasks_blocked()
        scopes["a"].cancel()
        await anyio.wait_all_tasks_blocked()
        assert order == []
        relieve(flow)
    assert order == ["b", "c"]


async def test_closing_holds_nobody_back(flow, clock):
    await make_slow(flow, clock)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(flow.throttle)
        await anyio.wait_all_tasks_blocked()
        flow.close()
    press(flow)
    assert not flow.is_backpressure_active


async def test_a_cost_is_above_nothing(flow):
    for cost in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="cost"):
            await flow.throttle(cost)
