"""The acknowledgements of a sink, in order, for as many listeners as there are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Self

from flowctl_aio.types import Ack


@dataclass(slots=True, eq=False)
class _Link:
    """One thing that happened, and the place of the next; None in `news` is the end."""

    news: Ack | Exception | None = None
    next: _Link | None = None
    came: asyncio.Event = field(default_factory=asyncio.Event)


class AckLog:
    """Where acknowledgements are told. Nothing is kept for those who do not listen."""

    def __init__(self) -> None:
        self._last = _Link()
        self._is_ended = False

    def tell(self, news: Ack | Exception) -> None:
        """Tell everybody who listens; after the end nobody does."""
        if not self._is_ended:
            told, self._last = self._last, _Link()
            told.news, told.next = news, self._last
            told.came.set()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more will come: those who listen, now or later, find the end, or `error`. May be called twice."""
        if not self._is_ended:
            self._is_ended = True
            self._last.news = error
            self._last.came.set()

    def listen(self) -> Acks:
        """All that is told from now on."""
        return Acks(self._last)


class Acks:
    """Acknowledgements in order: `async for ack in sink.acks()`. Ends when its client closes.

    Every `acks()` hears each of them. Tasks that share one share what it hears.
    """

    def __init__(self, link: _Link) -> None:
        self._link = link

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Ack:
        """The next acknowledgement.

        Raises:
            Exception: why an epoch failed; nothing behind it is durable. Those who ask again hear what came after.

        Cancellation: loses nothing.
        """
        # Between the waking and the taking there is no await, so a reader that is cancelled has not taken.
        while not self._link.came.is_set():
            await self._link.came.wait()
        link = self._link
        if link.next is not None:
            self._link = link.next
        if link.news is None:
            raise StopAsyncIteration
        if isinstance(link.news, Exception):
            raise link.news
        return link.news
