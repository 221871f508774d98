"""A loop that is blocked is late, and that is seen: from its thread, from others, and in the log."""

from __future__ import annotations

import logging
import threading
import time

import anyio
import pytest

from flowctl_aio.observe.lag import LoopLag

pytestmark = pytest.mark.anyio


async def test_a_block_is_measured_and_logged(caplog, until):
    caplog.set_level(logging.WARNING, logger="flowctl_aio.observe.lag")
    lag = LoopLag("ledgers", interval=0.01, warn_above=0.1)
    async with anyio.create_task_group() as group:
        group.start_soon(lag.run)
        await anyio.sleep(0.03)  # let it tick
        time.sleep(0.3)  # noqa: ASYNC251 - this is what it is about
        await until(lambda: bool(caplog.records))
        assert lag.seconds > 0.2
        group.cancel_scope.cancel()
    assert len(caplog.records) == 1
    assert "ledgers: the event loop was unresponsive for 0." in caplog.messages[0]
    assert caplog.records[0].component_id == "ledgers"
    assert caplog.records[0].loop_lag_seconds > 0.2


async def test_another_thread_sees_that_the_loop_is_stuck():
    lag = LoopLag("ledgers", interval=0.01)
    seen: list[bool] = []
    looked = threading.Event()

    def watch() -> None:
        deadline = time.monotonic() + 5
        while not seen and time.monotonic() < deadline:
            if lag.seconds > 0.05:
                seen.append(True)
            time.sleep(0.002)
        looked.set()

    async with anyio.create_task_group() as group:
        group.start_soon(lag.run)
        await anyio.sleep(0.03)
        thread = threading.Thread(target=watch)
        thread.start()
        looked.wait(5)  # blocks the loop until the other thread has seen it
        thread.join()
        group.cancel_scope.cancel()
    assert seen == [True]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_lag_is_forgotten_when_the_window_has_passed():
    clock = Clock()
    lag = LoopLag("ledgers", interval=0.25, window=10, clock=clock)
    clock.now = 3.25
    lag.tick(due=0.25)
    assert lag.seconds == 3.0
    clock.now = 13.0
    lag.tick(due=13.0)
    assert lag.seconds == 3.0
    clock.now = 14.0
    lag.tick(due=14.0)
    assert lag.seconds == 0.0
    assert lag.last_tick == 14.0


def test_blocks_one_after_the_other_are_one_line(caplog):
    clock = Clock()
    lag = LoopLag("ledgers", clock=clock)
    for _ in range(9):
        clock.now += 2.5
        lag.tick(due=clock.now - 2)
    assert caplog.messages == ["ledgers: the event loop was unresponsive for 2.0 s; something in it blocks"]
