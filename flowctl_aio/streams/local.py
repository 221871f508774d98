"""The form of batches that stay in their event loop: the rows themselves, in a wrapper of the receiver's own.

Only a call inside a loop carries such messages, and nothing that comes over the network is one: they are told by
their type, not by what they say.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

from flowctl_aio.batches import LEDGER_SCHEMA, Batch, LedgerBatch
from flowctl_aio.codec.envelope import End, Envelope, Frame, Received
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.observe.tracing import Carrier
from flowctl_aio.streams.forms import Decoder, Encoder, Message, encoder_for
from flowctl_aio.streams.handshake import Offer
from flowctl_aio.types import NOTHING


class Handed:
    """What goes through memory in place of a message; its length is that of the rows, in bytes."""

    __slots__ = ("_bytes", "received")

    def __init__(self, received: Frame | End, nbytes: int = 0) -> None:
        self.received, self._bytes = received, nbytes

    def __len__(self) -> int:
        return self._bytes

    def __repr__(self) -> str:
        return f"<Handed {self.received}>"


class HandEncoder:
    """A batch a message, as it is: nothing is copied, and so nothing is cut."""

    is_framed = True

    def __init__(self) -> None:
        self._number = 0

    def encode(self, batch: Batch, trace: Carrier) -> Iterator[Message]:
        handed = Handed(Frame(_rewrapped(batch), self._number, trace), batch.nbytes)
        self._number += 1
        yield Message(handed, len(batch))

    def encode_end(self, end: End) -> Handed:
        return Handed(end)

    def close(self) -> None:
        """There is nothing to let go of."""


class HandDecoder:
    """What was handed over, and what `other` makes of anything else."""

    def __init__(self, other: Decoder) -> None:
        self._other = other

    def decode(self, data: Any) -> Received:
        return data.received if type(data) is Handed else self._other.decode(data)


def encoder_of(envelope: Envelope, peer: Offer, config: FlowctlConfig, *, is_local: bool) -> Encoder:
    """What hands batches over, on a call inside this loop; else what the peer understands best."""
    return HandEncoder() if is_local else encoder_for(envelope, peer, config)


def _rewrapped(batch: Batch) -> Batch:
    """The same rows, as they would come over the network: what one side notes on its batch, the other does not see."""
    if not isinstance(batch, LedgerBatch) and batch.schema_name == LEDGER_SCHEMA:
        return LedgerBatch(batch.record_batch)
    same = copy(batch)
    same.trace = NOTHING
    return same
