"""The client of a processor."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable

from flowctl_aio.batches import Batch
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import UsageError
from flowctl_aio.streams.handshake import Peer, PeerHealth, Role, ask_health
from flowctl_aio.streams.stream import BatchStream
from flowctl_aio.transport.call import Channel


class ProcessorClient:
    """A processor at the other end of a channel; made by `session.processor()`.

    Attributes:
        peer: who it is, and what it can do.
    """

    def __init__(
        self, channel: Channel, peer: Peer, config: FlowctlConfig, *, adopt: Callable[[BatchStream], None]
    ) -> None:
        self.peer = peer
        self._channel, self._config, self._adopt = channel, config, adopt

    async def health(self) -> PeerHealth:
        """How the processor is, by its own account.

        Raises:
            StreamError: if it does not answer, or speaks only classic.

        Cancellation: safe at any point.
        """
        return await ask_health(self._channel, Role.PROCESSOR)

    def stream(self, inputs: AsyncIterable[Batch]) -> BatchStream:
        """What the processor makes of `inputs`, in their order.

        The inputs are taken as fast as the processor and the reader of the outputs allow. If they raise, the
        stream raises the same, and the processor sees a stream without an end.

        Raises:
            UsageError: if `inputs` is no async iterable, such as an async generator or another stream.

        Source: `EventProcessor.Process`, `ProcessorService.Process`.
        """
        if not isinstance(inputs, AsyncIterable):
            raise UsageError(f"the inputs of a processor are an async iterable of batches, not {type(inputs).__name__}")
        stream = BatchStream(self._channel, self.peer, Role.PROCESSOR, self._config, inputs=inputs)
        self._adopt(stream)
        return stream
