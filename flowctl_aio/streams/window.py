"""How much may be under way: the bookkeeping of credits. Pure: it decides, and others do. No call, no await, no clock.

A credit is the permission to have more batches under way, given by whoever receives them. This is the rule, for each
direction of a stream whose both ends know credits; there is no other, and it cannot lock up:

1. A receiver says how many batches, and how many of their bytes, it has room for: once when the stream opens, and again
   whenever its consumer has taken three eighths of that since it last said so: often enough that what is under way to
   a consumer that is behind never falls to where its load looks like recovery. What it says is the total since the
   stream began, so nothing is lost if two of them are joined, or the older one comes to nothing.
2. A sender waits before a batch until the batch is within what was last said. Before the first word it may send one.
3. Only batches wait. End markers, and credits themselves, never do, and a receiver always reads on: what it gave room
   for has its place, so a credit is never stuck behind a batch.
4. A batch may be larger than the room: it passes if half of the room or more is free. Half is free at the latest when
   all that was sent has been taken, because a receiver keeps less than half of what was taken to itself.
5. Whoever can give no more credits limits no more: when a peer has said that nothing more comes from it, batches are
   sent as on a stream without credits, and the window of the connection bounds them. Our own clients keep their half
   of a stream open until the last output has come, so this is for others.
"""

from __future__ import annotations

from flowctl_aio.codec.envelope import Credit


class Window:
    """The sender's side: what it has sent, and what it may send.

    Attributes:
        is_open: whether nothing limits it any more.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._sent_batches = self._sent_bytes = 0
        self._allowed: Credit | None = None
        self._half = 0

    def may_send(self, size: int) -> bool:
        """Whether a batch of `size` bytes may go out now."""
        if self.is_open:
            return True
        if self._allowed is None:
            return self._sent_batches == 0
        left = self._allowed.bytes - self._sent_bytes
        return self._sent_batches < self._allowed.batches and (size <= left or left >= self._half > 0)

    def note_sent(self, size: int) -> None:
        """Count a batch that goes out."""
        self._sent_batches += 1
        self._sent_bytes += size

    def note_credit(self, credit: Credit) -> None:
        """What the receiver said. The first word tells how much room it has when nothing is under way."""
        if self._allowed is None:
            self._allowed, self._half = credit, max(credit.bytes // 2, 1)
        else:
            self._allowed = Credit(
                max(credit.batches, self._allowed.batches),
                max(credit.bytes, self._allowed.bytes),
            )

    def open(self) -> None:
        """Nothing limits it any more."""
        self.is_open = True


class Grants:
    """The receiver's side: what its consumer has taken, and when to say so.

    Args:
        max_batches, max_bytes: what may be under way.
    """

    def __init__(self, max_batches: int, max_bytes: int) -> None:
        self._max = Credit(max_batches, max_bytes)
        self._taken_batches = self._taken_bytes = 0
        self._said: Credit | None = None  # what was told as taken

    @property
    def is_due(self) -> bool:
        """Whether the sender is to be told: it may be waiting for that."""
        if self._said is None:
            return True
        batches, size = self._taken_batches - self._said.batches, self._taken_bytes - self._said.bytes
        return 8 * batches >= 3 * self._max.batches or 8 * size >= 3 * self._max.bytes

    def note_taken(self, size: int) -> None:
        """Count a batch of `size` bytes that the consumer took."""
        self._taken_batches += 1
        self._taken_bytes += size

    def credit(self) -> Credit:
        """What to tell the sender now. More may be due behind the first word, which is all the room there is."""
        self._said = Credit(0, 0) if self._said is None else Credit(self._taken_batches, self._taken_bytes)
        return Credit(self._said.batches + self._max.batches, self._said.bytes + self._max.bytes)
