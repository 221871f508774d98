"""The client of a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flowctl_aio import _wire as wire
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.streams.handshake import Peer, PeerHealth, Role, ask_health
from flowctl_aio.streams.stream import BatchStream
from flowctl_aio.transport.call import Channel
from flowctl_aio.types import NOTHING, Dialect, StreamRequest

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


class SourceClient:
    """A source at the other end of a channel; made by `session.source()`.

    Attributes:
        peer: who it is, and what it can do.
    """

    def __init__(
        self, channel: Channel, peer: Peer, config: FlowctlConfig, *, adopt: Callable[[BatchStream], None]
    ) -> None:
        self.peer = peer
        self._channel, self._config, self._adopt = channel, config, adopt

    async def health(self) -> PeerHealth:
        """How the source is, by its own account.

        Raises:
            StreamError: if it does not answer, or speaks only classic.

        Cancellation: safe at any point.
        """
        return await ask_health(self._channel, Role.SOURCE)

    def stream(
        self,
        start: int | None = None,
        end: int | None = None,
        *,
        network: str = "",
        params: Mapping[str, str] = NOTHING,
        resume_token: str = "",
    ) -> BatchStream:
        """Batches of ledgers `start` to `end`, both included.

        Args:
            start: first ledger; None leaves it to the source.
            end: last ledger; None goes on until somebody stops.
            network: name or passphrase that the source must serve; empty takes what it has.
            params: anything else that the source understands.

        Source: `LedgerSource.StreamRawLedgers`, `SourceService.StreamEvents`.
        """
        request = StreamRequest(start=start, end=end, network=network, params=dict(params), resume_token=resume_token)
        stream = BatchStream(
            self._channel,
            self.peer,
            Role.SOURCE,
            self._config,
            request=request_to_wire(request, self.peer.dialect),
        )
        self._adopt(stream)
        return stream
