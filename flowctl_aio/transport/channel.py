"""Open a channel to an endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import grpc.aio

from flowctl_aio.transport.address import check_plaintext, is_loopback, parse_endpoint
from flowctl_aio.transport.call import Channel
from flowctl_aio.transport.options import control_options, data_options

CLOSE_GRACE = 1.0


@asynccontextmanager
async def open_control_channel(endpoint: str, *, insecure: bool = False) -> AsyncIterator[Channel]:
    """A channel to a control plane. Opening does not dial: the first call does.

    Raises:
        ConfigError: if the endpoint is malformed, or not on this machine while `insecure` is false.
    """
    endpoint = parse_endpoint(endpoint)
    check_plaintext(endpoint, insecure=insecure)
    async with _open(endpoint, control_options(loopback=is_loopback(endpoint))) as channel:
        yield channel


@asynccontextmanager
async def open_data_channel(endpoint: str, *, max_message_bytes: int, insecure: bool = False) -> AsyncIterator[Channel]:
    """A channel that carries batches. Opening does not dial: the first call does.

    Raises:
        ConfigError: if the endpoint is malformed, or not on this machine while `insecure` is false.
    """
    endpoint = parse_endpoint(endpoint)
    check_plaintext(endpoint, insecure=insecure)
    options = data_options(loopback=is_loopback(endpoint), max_message_bytes=max_message_bytes)
    async with _open(endpoint, options) as channel:
        yield channel


@asynccontextmanager
async def _open(endpoint: str, options: list[tuple[str, int | str]]) -> AsyncIterator[Channel]:
    raw = grpc.aio.insecure_channel(endpoint, options=options)
    try:
        yield Channel(raw, endpoint)
    finally:
        with anyio.move_on_after(CLOSE_GRACE, shield=True):
            await raw.close()
