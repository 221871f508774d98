"""Asking a server again: how often, and after which pause."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from flowctl_aio.components.stellar.lake.store import PassingError, retry_pause
from flowctl_aio.components.stellar.rpc.answers import RefusedError
from flowctl_aio.components.stellar.rpc.client import BusyError
from flowctl_aio.errors import RpcError

T = TypeVar("T")

LONGEST_PAUSE = 300.0
"""Seconds; a server that asks for more is not waited for."""

_NO_SUCH_METHOD = -32601


async def ask_patiently(attempt: Callable[[], Awaitable[T]], *, what: str, retries: int, interval: float) -> T:
    """Calls `attempt` until it gives something, as long as what goes wrong may pass.

    Args:
        attempt: asks once.
        what: who is asked, and for what, for the message.
        retries: attempts after the first one.
        interval: seconds before the second attempt, doubled for each one after it up to a minute, and jittered; never
            less than the server asks for.

    Raises:
        RpcError: if the last attempt fails too, the server asks for too long a pause, or lacks the method.

    Cancellation: ends the attempt or the pause at once.
    """
    failed = 0
    while True:
        try:
            return await attempt()
        except PassingError as error:
            failed += 1
            reason = f"{what} cannot be read, tried {'once' if failed == 1 else f'{failed} times'}: {error}"
            if failed > retries or (isinstance(error, RefusedError) and error.code == _NO_SUCH_METHOD):
                raise RpcError(reason) from error
            pause = retry_pause(failed, interval, jitter=random.random())
            if isinstance(error, BusyError):
                if error.pause > LONGEST_PAUSE:
                    raise RpcError(f"{reason}, and wants {error.pause:.0f} seconds of peace") from error
                # Whoever was sent away with us comes back with us: not all at once.
                pause = max(pause, error.pause + random.random() * min(interval, error.pause))
        await anyio.sleep(pause)
