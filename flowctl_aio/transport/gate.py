"""Keep callers without an accepted token out of a server, before a handler runs or a message is read."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from flowctl_aio.transport.security.tokens import AcceptedTokens

logger = logging.getLogger(__name__)
# Seconds between two lines about refused calls, and how much of a method's name stands in one.
LOG_INTERVAL, MAX_LOGGED = 60.0, 200
# Probes, such as those of Kubernetes, have no token to show.
OPEN_SERVICES = frozenset({"grpc.health.v1.Health"})


class Gate(grpc.aio.ServerInterceptor):
    """Stands before every handler of a server, also those that others add, and before methods that do not exist."""

    def __init__(self, accepted: AcceptedTokens) -> None:
        self._accepted = accepted
        self._unsaid, self._said = 0, float("-inf")

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        method = handler_call_details.method
        refusal = self._accepted.refusal(method, handler_call_details.invocation_metadata or ())
        if refusal is None:
            return await continuation(handler_call_details)

        async def refuse(_: Any, context: Any) -> None:
            self._say(f"{context.peer()} is not let in to {method[:MAX_LOGGED]}: {refusal}")
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, refusal)

        # This kind of handler fits calls of every kind, and reads no message of its own accord.
        return grpc.stream_stream_rpc_method_handler(refuse)

    def _say(self, refusal: str) -> None:
        """Callers nobody knows decide how often this comes, so the log gets few of them."""
        self._unsaid += 1
        now = time.monotonic()
        if now - self._said >= LOG_INTERVAL:
            logger.warning("%s (refusals since the last such line: %d)", refusal, self._unsaid)
            self._unsaid, self._said = 0, now
