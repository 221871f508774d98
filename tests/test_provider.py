"""What a user's metrics provider may do to the beats: nothing."""

from __future__ import annotations

import asyncio
import threading

import anyio
import anyio.lowlevel
import pytest

from flowctl_aio.provider import Provider

pytestmark = pytest.mark.anyio


def of(metrics, timeout=1.0) -> Provider:
    return Provider("svc", metrics, timeout=timeout)


class Plain:
    def get_metrics(self):
        return {"a": 1, "b": True}


class Async:
    async def get_metrics(self):
        await anyio.lowlevel.checkpoint()
        return {"a": 1, "b": True}


async def coroutine():
    return {"a": 1, "b": True}


@pytest.mark.parametrize("metrics", [Plain(), Async(), coroutine, Plain().get_metrics, lambda: coroutine()])
async def test_every_shape_of_provider_is_asked(metrics):
    provider = of(metrics)
    assert await provider.ask() == {"a": 1.0, "b": 1.0}
    assert provider.last == {"a": 1.0, "b": 1.0}


async def test_no_provider_has_nothing_to_say():
    assert await of(None).ask() == {}


@pytest.mark.parametrize("answer", [None, ["n"], {"n": "many"}, {"n": [1]}, 7])
async def test_an_answer_that_is_no_mapping_of_numbers_is_one_line_in_the_log(caplog, answer):
    provider = of(lambda: answer)
    for _ in range(5):
        assert await provider.ask() == {}
    assert caplog.text.count("the metrics provider failed") == 1


async def test_a_plain_provider_that_hangs_costs_its_numbers_and_is_not_asked_twice_at_a_time():
    let_go, calls = threading.Event(), []

    def hang():
        calls.append(1)
        let_go.wait(5)
        return {"a": 1}

    provider = of(hang, timeout=0.05)
    try:
        assert [await provider.ask() for _ in range(3)] == [{}, {}, {}]
        assert len(calls) == 1
    finally:
        let_go.set()
    with anyio.fail_after(5):
        while await provider.ask() != {"a": 1.0}:
            pass


async def test_an_async_provider_that_hangs_is_cancelled(caplog):
    ended = anyio.Event()

    async def hang():
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    assert await of(hang, timeout=0.05).ask() == {}
    assert ended.is_set()
    assert "no metrics within 0.05 s" in caplog.text


async def test_it_says_when_it_works_again(caplog):
    caplog.set_level("INFO")
    answers = [RuntimeError("disk"), {"a": 1}]

    async def waver():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    provider = of(waver)
    assert [await provider.ask(), await provider.ask()] == [{}, {"a": 1.0}]
    assert "failed: RuntimeError('disk')" in caplog.text
    assert "answers again" in caplog.text


async def test_a_cancellation_that_nobody_asked_for_is_a_fault_of_the_provider(caplog):
    async def cancelled():
        # As a library does whose own task was cancelled.
        raise asyncio.CancelledError

    def cancelled_in_a_thread():
        raise asyncio.CancelledError

    for metrics in (cancelled, cancelled_in_a_thread):
        caplog.clear()
        assert await Provider("svc", metrics, timeout=1).ask() == {}
        assert "CancelledError" in caplog.text


async def test_who_asks_can_be_cancelled():
    async def hang():
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await Provider("svc", hang, timeout=10).ask()
    assert scope.cancelled_caught
