"""The client of a source: its streams, from wherever they shall go on, and the state that it keeps for its clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from numbers import Integral
from typing import TypeVar

from flowctl_aio import _wire as wire
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import FrameCorruptError, UsageError
from flowctl_aio.observe.calls import client_call
from flowctl_aio.streams.handshake import Peer, PeerHealth, Role, ask_health, meet, own_offer
from flowctl_aio.streams.resume import (
    MAX_LEDGER,
    RECONNECT_TIMEOUT,
    ResumingStream,
    StreamBehind,
    cursor_of,
    start_behind,
)
from flowctl_aio.streams.stream import BatchStream
from flowctl_aio.transport.call import Channel, Serializable, call_unary
from flowctl_aio.types import NOTHING, Cursor, Dialect, StreamRequest

T = TypeVar("T")
START_KEY, END_KEY, NETWORK_KEY, RESUME_KEY = "start_ledger", "end_ledger", "network", "resume_token"


def request_to_wire(request: StreamRequest, dialect: Dialect) -> bytes:
    """The request as the dialect's message."""
    params = dict(request.params)
    if request.end is not None:
        params[END_KEY] = str(request.end)
    if dialect is Dialect.CLASSIC:
        if request.resume_token:
            params[RESUME_KEY] = request.resume_token
        return wire.SourceRequest(
            network=request.network, start_ledger=request.start or 0, params=params
        ).SerializeToString()
    if request.start is not None:
        params[START_KEY] = str(request.start)
    if request.network:
        params[NETWORK_KEY] = request.network
    return wire.v1.StreamRequest(
        params=params, resume=bool(request.resume_token), resume_token=request.resume_token
    ).SerializeToString()


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a source keeps for its clients under a key.

    Attributes:
        values: what was saved; empty if nothing was.
        resume_token: from where a stream goes on; empty if nobody said.
        last_updated: timezone-aware; None if nothing was saved.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    resume_token: str = ""
    last_updated: datetime | None = None

    @property
    def cursor(self) -> Cursor | None:
        """The resume token, if it is a cursor."""
        return cursor_of(self.resume_token)


def _check_request(start: object, end: object, network: object, params: object, token: object) -> None:
    """Names what is wrong here: protobuf would do so in the middle of the stream, in words of its own."""
    problems = [
        f"{name} is a ledger from 0 to {MAX_LEDGER} or None, not {value!r}"
        for name, value in (("start", start), ("end", end))
        if value is not None and not (isinstance(value, Integral) and 0 <= int(value) <= MAX_LEDGER)
    ]
    problems += [
        f"{name} is a text, not {value!r}"
        for name, value in (("network", network), ("resume_token", token))
        if not isinstance(value, str)
    ]
    if not isinstance(params, Mapping):
        problems.append(f"params are texts by name, not {type(params).__name__}")
    else:  # without the values, which may be secret
        problems += [
            f"params are texts by name, and that of {name!r} is {type(text).__name__}"
            for name, text in params.items()
            if not (isinstance(name, str) and isinstance(text, str))
        ]
    if problems:
        raise UsageError(f"a stream cannot be asked for: {'; '.join(problems)}")


class SourceClient:
    """A source at the other end of a channel; made by `session.source()`.

    Attributes:
        peer: who it is, and what it can do.
        resume: what its streams lie behind, if they are not told otherwise; None for nothing.
    """

    def __init__(
        self,
        channel: Channel,
        peer: Peer,
        config: FlowctlConfig,
        *,
        adopt: Callable[[BatchStream], None],
        resume: Cursor | None = None,
        resume_token: str = "",
    ) -> None:
        self.peer, self.resume = peer, resume
        self._channel, self._config, self._adopt, self._token = channel, config, adopt, resume_token

    async def health(self) -> PeerHealth:
        """How the source is, by its own account.

        Raises:
            StreamError: if it does not answer, or speaks only classic.

        Cancellation: safe at any point.
        """
        return await ask_health(self._channel, Role.SOURCE)

    async def get_state(self, key: str) -> SourceState:
        """What was saved under `key`; an empty state if nothing was.

        Raises:
            PeerError: if the source keeps no state (code UNIMPLEMENTED), or refuses the key.
            StreamError: if it does not answer.

        Cancellation: safe at any point.
        Source: `SourceService.GetState`.
        """
        answer = await self._ask("GetState", wire.v1.StateRequest(key=key), wire.v1.StateResponse)
        try:
            updated = datetime.fromtimestamp(answer.last_updated_unix, UTC) if answer.last_updated_unix else None
        except (OverflowError, ValueError, OSError) as error:
            raise FrameCorruptError(f"a state was last updated at {answer.last_updated_unix}") from error
        return SourceState(dict(answer.state), answer.resume_token, updated)

    async def save_state(self, key: str, values: Mapping[str, str], *, cursor: Cursor | None = None) -> None:
        """Have the source keep `values` under `key`, in place of what it has; durable if it keeps a file.

        Args:
            cursor: from where a stream goes on; becomes the `resume_token` of the state.

        Raises:
            PeerError: if the source keeps no state (code UNIMPLEMENTED), or refuses this one.
            StreamError: if it does not answer.

        Cancellation: the state may or may not be saved.
        Source: `SourceService.SaveState`.
        """
        state = dict(values) if cursor is None else {**values, RESUME_KEY: str(cursor)}
        await self._ask("SaveState", wire.v1.SaveStateRequest(key=key, state=state), wire.Empty)

    def stream(
        self,
        start: int | None = None,
        end: int | None = None,
        *,
        network: str = "",
        params: Mapping[str, str] = NOTHING,
        resume_token: str = "",
    ) -> BatchStream:
        """Batches of ledgers `start` to `end`, both included; of them what lies behind `resume`.

        Args:
            start: first ledger; None leaves it to the source.
            end: last ledger; None goes on until somebody stops.
            network: name or passphrase that the source must serve; empty takes what it has.
            params: anything else that the source understands.
            resume_token: a cursor as text, or a token of the source's own; in place of the client's `resume`.

        Raises:
            ConfigError: if no ledger can lie behind the cursor.
            UsageError: if an argument is not of its kind.

        Source: `LedgerSource.StreamRawLedgers`, `SourceService.StreamEvents`.
        """
        request, cursor = self._request(start, end, network, params, resume_token)
        return self._stream(request, cursor, is_whole=False)

    def resuming_stream(
        self,
        start: int | None = None,
        end: int | None = None,
        *,
        network: str = "",
        params: Mapping[str, str] = NOTHING,
        resume_token: str = "",
        reconnect_timeout: float | None = RECONNECT_TIMEOUT,
    ) -> ResumingStream:
        """As `stream`, but it outlives the peer: it reconnects, and goes on behind the last cursor that was given out.

        Args:
            reconnect_timeout: seconds that the peer may be away, or give nothing new; None for as long as it takes.

        Raises:
            ConfigError: if no ledger can lie behind the cursor.
            UsageError: if an argument is not of its kind.
        """
        request, first = self._request(start, end, network, params, resume_token)

        async def reopen(cursor: Cursor | None, is_whole: bool) -> BatchStream:
            if stream.reconnects:  # whoever is back may be another version
                offer = own_offer(self._config)
                self.peer = await meet(self._channel, Role.SOURCE, self.peer.dialect, offer=offer)
            return self._stream(request, cursor, is_whole=is_whole)

        stream = ResumingStream(reopen, cursor=first, reconnect_timeout=reconnect_timeout)
        return stream

    def _request(
        self, start: int | None, end: int | None, network: str, params: Mapping[str, str], token: str
    ) -> tuple[StreamRequest, Cursor | None]:
        _check_request(start, end, network, params, token)
        cursor = cursor_of(token) if token else self.resume
        token = "" if cursor is not None else token or self._token
        request = StreamRequest(start=start, end=end, network=network, params=dict(params), resume_token=token)
        start_behind(request, cursor)  # a cursor that cannot be is named here, not in the middle of a stream
        return request, cursor

    def _stream(self, request: StreamRequest, cursor: Cursor | None, *, is_whole: bool) -> BatchStream:
        if cursor is not None:
            # Strangers have tokens of their own, if any: to them only the first ledger is told.
            token = str(cursor) if self.peer.capabilities else ""
            start = start_behind(request, cursor, is_whole=is_whole)
            request = replace(request, start=start, resume_token=token)
        wired = request_to_wire(request, self.peer.dialect)
        stream = StreamBehind(self._channel, self.peer, Role.SOURCE, self._config, request=wired, behind=cursor)
        self._adopt(stream)
        return stream

    async def _ask(self, name: str, request: Serializable, answer: type[T]) -> T:
        """Both dialects live on one port, and only v1 has these questions."""
        method = f"/{Role.SOURCE.service(Dialect.V1)}/{name}"
        with client_call(method, self._channel.peer) as span:
            metadata = (*own_offer(self._config).metadata, *span.metadata)
            return await call_unary(
                self._channel, method, request, answer, timeout=self._config.query_timeout, metadata=metadata
            )
