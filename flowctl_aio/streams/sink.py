"""The client of a sink: batches out, one acknowledgement an epoch back, in order."""

from __future__ import annotations

import anyio
from anyio.lowlevel import checkpoint

from flowctl_aio.batches import Batch, EventBatch, LedgerBatch
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import UsageError
from flowctl_aio.streams.acks import AckLog, Acks
from flowctl_aio.streams.epoch import EpochLimits
from flowctl_aio.streams.handshake import Peer, PeerHealth, Role, ask_health
from flowctl_aio.streams.ingest import EpochCall, OnAck
from flowctl_aio.transport.call import Channel
from flowctl_aio.types import Ack

# One at the sink, and one that is being taken meanwhile. The call of the second waits for the acknowledgement of the
# first: a sink then sees batches in order, and commits them in order, whatever it does with them.
MAX_EPOCHS = 2


class SinkClient:
    """A sink at the other end of a channel; made by `session.sink()`.

    An epoch is one call to the sink, acknowledged as a whole. It ends with `flush`, or when it has enough batches,
    bytes or seconds, then never inside a ledger.

    Attributes:
        peer: who it is, and what it can do.
        last_ack: of the epoch that was acknowledged last; None before the first.
    """

    def __init__(
        self,
        channel: Channel,
        peer: Peer,
        config: FlowctlConfig,
        *,
        limits: EpochLimits | None = None,
        on_ack: OnAck | None = None,
    ) -> None:
        self.peer = peer
        self.last_ack: Ack | None = None
        self._channel, self._config = channel, config
        self._limits, self._on_ack = limits or EpochLimits(), on_ack
        self._epochs: list[EpochCall] = []
        self._lost: list[EpochCall] = []  # they came behind one that failed, or were abandoned
        self._log = AckLog()
        self._unflushed: Ack | None = None
        self._failure: Exception | None = None
        self._ended: Exception | None = None

    async def health(self) -> PeerHealth:
        """How the sink is, by its own account.

        Raises:
            StreamError: if it does not answer, or speaks only classic.

        Cancellation: safe at any point.
        """
        return await ask_health(self._channel, Role.SINK)

    async def send(self, batch: Batch) -> None:
        """Hand a batch over; returns when there is room for it, before the sink has seen it.

        Raises:
            StreamError: if an epoch has failed since the last call; nothing behind `last_ack` is acknowledged.
            UsageError: if it is no batch, or the client is closed.

        Cancellation: the batch is either handed over or not; the epoch goes on.
        """
        if not isinstance(batch, LedgerBatch | EventBatch):
            raise UsageError(f"a stream carries LedgerBatch and EventBatch, not {type(batch).__name__}")
        await checkpoint()
        while True:
            self._check()
            epoch = self._open_for(batch)
            if epoch is not None and epoch.has_room:
                epoch.take(batch)
                return
            await (self._epochs[0].join() if epoch is None else epoch.wait_room())

    async def flush(self) -> Ack | None:
        """End the open epoch and wait until the sink has acknowledged all that was sent.

        Returns:
            The last acknowledgement since the `flush` before; None if nothing was sent since.

        Raises:
            PeerError: if the sink refused an epoch.
            StreamError: if it could not be asked; the epoch may or may not be durable.

        Cancellation: the epochs go on to their ends; call `flush` again to hear of them.
        """
        self._check()
        pending = tuple(self._epochs)
        for epoch in pending:
            epoch.seal()
        for epoch in pending:
            await epoch.join()
        self._check()
        ack, self._unflushed = self._unflushed, None
        return ack

    def acks(self) -> Acks:
        """Every acknowledgement from now on, in order: `async for ack in sink.acks()`. Ends when the client closes."""
        return self._log.listen()

    async def settle(self) -> None:
        """Wait until no epoch that has ended is without its answer; the open one goes on. Raises no failure.

        Cancellation: safe at any point.
        """
        for epoch in tuple(self._epochs):
            if epoch.is_sealed:
                await epoch.join()

    async def abandon(self) -> None:
        """Cancel the epochs that are not acknowledged: no end marker, so the sink commits nothing of an open one.

        Cancellation: they are cancelled all the same.
        """
        self._failure = None
        self._lost, self._epochs = [*self._lost, *self._epochs], []
        for epoch in self._lost:
            epoch.cancel()
        with anyio.CancelScope(shield=True):
            for epoch in tuple(self._lost):
                await epoch.join()

    async def aclose(self) -> None:
        """Abandon what is not acknowledged, and take no more. May be called twice.

        Cancellation: it is closed all the same.
        """
        self._ended = self._ended or UsageError("the client of this sink is closed")
        try:
            await self.abandon()
        finally:
            self._log.end()

    def abort(self, error: Exception) -> None:
        """Cancel the epochs at once, and take no more; whoever waits for one gets `error`."""
        self._ended = error
        self._log.end(error)
        for epoch in tuple(self._epochs):
            epoch.cancel()

    def _check(self) -> None:
        """Raise what went wrong behind the caller's back, once."""
        if self._ended is not None:
            raise self._ended
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _open_for(self, batch: Batch) -> EpochCall | None:
        """The epoch that `batch` belongs to; None while as many as may be are on their way."""
        last = self._epochs[-1] if self._epochs else None
        if last is not None and not last.is_sealed:
            if not (last.tally.is_due(self._limits, anyio.current_time()) and last.tally.ends_before(batch)):
                return last
            last.seal()
        if len(self._epochs) >= MAX_EPOCHS:
            return None
        epoch = EpochCall(
            self._channel,
            self.peer,
            self._config,
            self._limits,
            before=last,
            on_ack=self._on_ack,
            settled=self._settled,
        )
        self._epochs.append(epoch)
        return epoch

    def _settled(self, epoch: EpochCall, ack: Ack | None) -> None:
        if epoch in self._lost:
            self._lost.remove(epoch)
            return
        if epoch not in self._epochs:
            return
        self._epochs.remove(epoch)
        if ack is not None:
            self.last_ack = self._unflushed = ack
            self._log.tell(ack)
        elif self._ended is None and epoch.error is not None:
            self._failure = epoch.error
            self._log.tell(epoch.error)
            # What comes behind a gap must not be committed: they fail with the one they wait for.
            self._lost, self._epochs = [*self._lost, *self._epochs], []
            for later in self._lost:
                later.seal()
