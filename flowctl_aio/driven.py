"""Iterate over what a user wrote, and close it for certain."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def driven(iterable: AsyncIterable[T]) -> AsyncIterator[AsyncIterator[T]]:
    """An iterator over `iterable`, closed with the block if it can be closed.

    A generator left half-way would run its `finally` blocks whenever the collector comes by, in no task at all.
    """
    iterator = aiter(iterable)
    try:
        yield iterator
    finally:
        aclose: Any = getattr(iterator, "aclose", None)
        if aclose is not None:
            await aclose()
