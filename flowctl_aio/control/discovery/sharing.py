"""One question for many who ask it: those who come while it is being asked wait for the same answer.

It starts no task. Whoever asks first carries the question in its own task; when that one is
cancelled, one of those who wait asks again. It knows nothing of what is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

from flowctl_aio.errors import PlaneUnavailableError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
MOST_KEPT = 1024


@dataclass(slots=True, eq=False)
class _Question(Generic[T]):
    """On its way: `done` is set when it is answered, has failed, or was given up by whoever carried it."""

    done: anyio.Event = field(default_factory=anyio.Event)
    answers: list[T] = field(default_factory=list)
    error: Exception | None = None


class Shared(Generic[K, T]):
    """Answers of `ask`, by key. It belongs to one event loop.

    Args:
        timeout: seconds for each caller.
        max_age: an answer younger than this, in seconds, is given again; 0 for never. Errors are never kept.
        clock: monotonic, in seconds; tells the age of answers.
    """

    def __init__(
        self, ask: Callable[[K], Awaitable[T]], *, timeout: float, max_age: float, clock: Callable[[], float]
    ) -> None:
        self._ask, self._timeout, self._max_age, self._clock = ask, timeout, max_age, clock
        self._questions: dict[K, _Question[T]] = {}
        self._kept: dict[K, tuple[float, T]] = {}

    async def get(self, key: K) -> T:
        """The answer: a kept one, that of a question on its way, or that of a new one.

        Raises:
            PlaneUnavailableError: if there is none in time.
            Exception: what `ask` raised; everybody who waited for that question gets it.

        Cancellation: safe at any point; others who wait for the same answer still get one.
        """
        began = anyio.current_time()
        is_first = True
        while True:
            if key in self._kept and self._clock() - self._kept[key][0] < self._max_age:
                return self._kept[key][1]
            question = self._questions.get(key)
            if question is None:
                return await self._carry(key, began, is_first)
            with anyio.move_on_after(began + self._timeout - anyio.current_time()):
                await question.done.wait()
            if question.error is not None:
                raise question.error
            if question.answers:
                return question.answers[0]
            if not question.done.is_set():
                raise self._late()
            is_first = False  # whoever carried it has gone: go on in its place

    def forget(self) -> None:
        """Give nothing again that was asked before now, because the caller knows that something has changed."""
        self._kept.clear()
        self._questions.clear()

    async def _carry(self, key: K, began: float, is_first: bool) -> T:
        question = self._questions[key] = _Question()
        try:
            with anyio.move_on_after(began + self._timeout - anyio.current_time()):
                try:
                    answer = await self._ask(key)
                except Exception as error:
                    question.error = error
                    raise
                question.answers.append(answer)
                if self._questions.get(key) is question:
                    self._keep(key, answer)
                return answer
            late = self._late()
            if is_first:
                # It had its full time, so it has failed for all. One that was taken over late has only run out
                # of its carrier's time, and is handed on.
                question.error = late
            raise late
        finally:
            if self._questions.get(key) is question:
                del self._questions[key]
            question.done.set()

    def _keep(self, key: K, answer: T) -> None:
        if self._max_age > 0:
            now = self._clock()
            self._kept = {key: kept for key, kept in self._kept.items() if now - kept[0] < self._max_age}
            if len(self._kept) >= MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = (now, answer)

    def _late(self) -> PlaneUnavailableError:
        return PlaneUnavailableError(f"no answer within {self._timeout:g} s")
