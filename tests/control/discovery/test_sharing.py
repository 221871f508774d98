"""One question for many who ask it, whoever of them is cancelled, and whatever the answer."""

from __future__ import annotations

import anyio
import pytest

from flowctl_aio.control.discovery.sharing import MOST_KEPT, Shared
from flowctl_aio.errors import ControlError, PlaneUnavailableError

pytestmark = pytest.mark.anyio


class Oracle:
    """Answers with the number of the question, when the test says so."""

    def __init__(self, *, timeout: float = 5.0, max_age: float = 0.0) -> None:
        self.asked = self.cancelled = 0
        self.time = 0.0
        self.ready = anyio.Event()
        self.error: Exception | None = None
        self.heard: list[object] = []
        self.shared: Shared[str, int] = Shared(self.answer, timeout=timeout, max_age=max_age, clock=lambda: self.time)

    async def answer(self, key: str) -> int:
        self.asked += 1
        number = self.asked
        try:
            await self.ready.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number

    async def hear(self, scope: anyio.CancelScope | None = None) -> None:
        with scope or anyio.CancelScope():
            try:
                self.heard.append(await self.shared.get("k"))
            except ControlError as error:
                self.heard.append(error)


async def test_who_asks_at_the_same_time_shares_one_question():
    oracle = Oracle()
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(oracle.hear)
        await anyio.wait_all_tasks_blocked()
        assert oracle.asked == 1
        oracle.ready.set()
    assert oracle.heard == [1] * 5
    assert await oracle.shared.get("k") == 2


async def test_another_key_is_another_question():
    oracle = Oracle(max_age=1)
    oracle.ready.set()
    assert [await oracle.shared.get(key) for key in "abab"] == [1, 2, 1, 2]


async def test_an_answer_is_given_again_while_it_is_young():
    oracle = Oracle(max_age=0.5)
    oracle.ready.set()
    assert await oracle.shared.get("k") == 1
    oracle.time = 0.49
    assert await oracle.shared.get("k") == 1
    oracle.time = 0.5
    assert await oracle.shared.get("k") == 2
    oracle.shared.forget()
    assert await oracle.shared.get("k") == 3


async def test_what_was_asked_before_forgetting_is_neither_joined_nor_kept():
    oracle = Oracle(max_age=1)
    async with anyio.create_task_group() as group:
        group.start_soon(oracle.hear)
        await anyio.wait_all_tasks_blocked()
        oracle.shared.forget()
        group.start_soon(oracle.hear)
        await anyio.wait_all_tasks_blocked()
        oracle.ready.set()
    assert oracle.heard == [1, 2]
    assert await oracle.shared.get("k") == 2


async def test_what_is_kept_is_bounded():
    oracle = Oracle(max_age=1)
    oracle.ready.set()
    for number in range(MOST_KEPT + 10):
        await oracle.shared.get(str(number))
    assert len(oracle.shared._kept) == MOST_KEPT


async def test_a_failure_reaches_all_who_waited_and_is_not_kept():
    oracle = Oracle(max_age=60)
    oracle.error = ControlError("disk")
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(oracle.hear)
        await anyio.wait_all_tasks_blocked()
        oracle.ready.set()
    assert oracle.heard == [oracle.error] * 3
    oracle.error = None
    assert await oracle.shared.get("k") == 2


@pytest.mark.parametrize("cancelled", range(4))
async def test_cancelling_one_of_them_does_not_hurt_the_others(cancelled):
    oracle = Oracle()
    scopes = [anyio.CancelScope() for _ in range(4)]
    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(oracle.hear, scope)
            await anyio.wait_all_tasks_blocked()
        scopes[cancelled].cancel()
        await anyio.wait_all_tasks_blocked()
        # Whoever carried the question took it along; one of the others has asked again, and only one.
        assert (oracle.asked, oracle.cancelled) == ((2, 1) if cancelled == 0 else (1, 0))
        oracle.ready.set()
    assert oracle.heard == [oracle.asked] * 3


async def test_one_after_the_other_may_be_cancelled_until_the_last():
    oracle = Oracle()
    scopes = [anyio.CancelScope() for _ in range(4)]
    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(oracle.hear, scope)
            await anyio.wait_all_tasks_blocked()
        for scope in scopes[:3]:
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
        oracle.ready.set()
    assert (oracle.heard, oracle.asked, oracle.cancelled) == ([4], 4, 3)


async def test_all_may_be_cancelled_at_once_and_the_next_asks_anew():
    oracle = Oracle()
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(oracle.hear)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert (oracle.heard, oracle.shared._questions) == ([], {})
    oracle.ready.set()
    assert await oracle.shared.get("k") == oracle.asked


async def test_who_is_cancelled_in_the_moment_of_the_answer_leaves_it_to_the_others():
    oracle = Oracle()
    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(oracle.hear, scope)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(oracle.hear)
        await anyio.wait_all_tasks_blocked()
        oracle.ready.set()
        scope.cancel()
    assert oracle.heard[-1] == oracle.asked


async def test_a_question_that_gets_no_answer_in_time_fails_for_all():
    oracle = Oracle(timeout=0.05)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(oracle.hear)
    assert [str(error) for error in oracle.heard] == ["no answer within 0.05 s"] * 3
    assert all(isinstance(error, PlaneUnavailableError) for error in oracle.heard)
    oracle.ready.set()
    assert await oracle.shared.get("k") == oracle.asked


async def test_who_takes_a_question_over_has_no_more_time_than_its_own():
    oracle = Oracle(timeout=0.1)
    scope = anyio.CancelScope()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(oracle.hear, scope)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(oracle.hear)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert [type(error) for error in oracle.heard] == [PlaneUnavailableError]
    assert oracle.shared._questions == {}
