"""A Source → `LedgerSource` and `SourceService`."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from flowctl_aio import _wire as wire
from flowctl_aio.batches import Batch
from flowctl_aio.component import Source
from flowctl_aio.driven import driven
from flowctl_aio.serving.identity import classic_identity, v1_identity
from flowctl_aio.serving.served import END, Served, next_of
from flowctl_aio.serving.state import StateStore
from flowctl_aio.streams.behind import rows_behind
from flowctl_aio.streams.handshake import Role
from flowctl_aio.streams.resume import cursor_of, start_behind
from flowctl_aio.streams.source import END_KEY, NETWORK_KEY, RESUME_KEY, START_KEY
from flowctl_aio.transport.server import ServerCall, ServerStreamMethod, Services, UnaryMethod
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import Dialect, StreamRequest

UINT32_MAX = 2**32 - 1


def source_services(served: Served[Source]) -> Services:
    """The services of a source, in both dialects."""

    async def stream_raw_ledgers(request: wire.SourceRequest, call: ServerCall) -> None:
        await _serve(served, call, Dialect.CLASSIC, request_from_classic(request))

    async def stream_events(request: wire.v1.StreamRequest, call: ServerCall) -> None:
        await _serve(served, call, Dialect.V1, request_from_v1(request))

    states = StateStore(served.config.state_file)

    async def get_state(request: wire.v1.StateRequest) -> wire.v1.StateResponse:
        kept = await states.get(request.key)
        token = kept.values.get(RESUME_KEY, "")
        return wire.v1.StateResponse(state=kept.values, resume_token=token, last_updated_unix=kept.updated)

    async def save_state(request: wire.v1.SaveStateRequest) -> wire.Empty:
        await states.save(request.key, dict(request.state))
        return wire.Empty()

    return {
        "flowctl.LedgerSource": {
            "StreamRawLedgers": ServerStreamMethod(stream_raw_ledgers, wire.SourceRequest),
            **classic_identity(served),
        },
        "flowctl.v1.SourceService": {
            "StreamEvents": ServerStreamMethod(stream_events, wire.v1.StreamRequest),
            "GetState": UnaryMethod(get_state, wire.v1.StateRequest),
            "SaveState": UnaryMethod(save_state, wire.v1.SaveStateRequest),
            **v1_identity(served),
        },
    }


def request_from_classic(request: wire.SourceRequest) -> StreamRequest:
    """Raises Refused: if a parameter is no ledger sequence."""
    params = dict(request.params)
    return _checked(
        StreamRequest(
            start=request.start_ledger or None,
            end=_sequence(params, END_KEY),
            network=request.network,
            resume_token=params.pop(RESUME_KEY, ""),
            params=params,
        )
    )


def request_from_v1(request: wire.v1.StreamRequest) -> StreamRequest:
    """Raises Refused: if a parameter is no ledger sequence."""
    params = dict(request.params)
    return _checked(
        StreamRequest(
            start=_sequence(params, START_KEY),
            end=_sequence(params, END_KEY),
            network=params.pop(NETWORK_KEY, ""),
            resume_token=request.resume_token if request.resume else "",
            params=params,
        )
    )


def _checked(request: StreamRequest) -> StreamRequest:
    if request.start is not None and request.end is not None and request.end < request.start:
        raise Refused("INVALID_ARGUMENT", f"the range {request.start} to {request.end} ends before it starts")
    return request


def _sequence(params: dict[str, str], key: str) -> int | None:
    text = params.pop(key, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= UINT32_MAX):
        raise Refused("INVALID_ARGUMENT", f"{key} is {text[:40]!r}, not a ledger sequence")
    return int(text)


async def _serve(served: Served[Source], call: ServerCall, dialect: Dialect, request: StreamRequest) -> None:
    async with served.stream(call, Role.SOURCE, dialect) as stream:
        # One batch waits while another is written: the component works while the wire does.
        send, receive = anyio.create_memory_object_stream[Batch](1)
        production = _Production()
        is_written = False
        async with send, receive, anyio.create_task_group() as group:
            group.start_soon(_cancel_when, served.stopping, group.cancel_scope)
            group.start_soon(_produce, served, request, send, production)
            async for batch in receive:
                if served.flow is not None:
                    await served.flow.throttle(max(len(batch), 1))
                await stream.writer.send(batch)
                served.work.note()
            is_written = True
            group.cancel_scope.cancel()
        if production.error is not None:
            raise production.error
        if not (is_written and production.is_complete):
            # An end marker here would call a part the whole.
            raise Refused("UNAVAILABLE", "the source is stopping; resume behind the last batch")
        await stream.writer.end()


@dataclass(slots=True)
class _Production:
    """How a component's generator ended: by itself, by an error, or neither if it was cancelled."""

    is_complete: bool = False
    error: Exception | None = None


async def _produce(
    served: Served[Source], request: StreamRequest, send: MemoryObjectSendStream[Batch], production: _Production
) -> None:
    """Drive the component's generator, in a task of its own: scopes that it holds over a yield stay here."""
    with send:
        try:
            # A token of ours says where to begin; what it covers does not go out again. Others the component knows.
            cursor = cursor_of(request.resume_token)
            request = replace(request, start=start_behind(request, cursor))
            with served.guard():
                produced = _iterable(served.component.stream(request))
            async with driven(produced) as iterator:
                while (batch := await _timed(served, iterator)) is not END:
                    if (later := rows_behind(batch, cursor)) is not None:
                        await send.send(later)
            production.is_complete = True
        except Exception as error:  # noqa: BLE001 - raised behind the batches that came before it
            production.error = error


async def _timed(served: Served[Source], iterator: AsyncIterator[Batch]) -> Batch:
    with served.work.waiting():
        return await next_of(served, iterator)


def _iterable(produced: Any) -> AsyncIterable[Batch]:
    if isinstance(produced, AsyncIterable):
        return produced
    if inspect.iscoroutine(produced):
        produced.close()
    raise TypeError(f"stream must be an async generator, not return {type(produced).__name__}")


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
