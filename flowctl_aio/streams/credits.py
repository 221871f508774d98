"""Credits over one bidirectional call: batches that wait for theirs, and those that go the other way. See `window`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from flowctl_aio.codec.envelope import Envelope, decode_credit, encode_credit
from flowctl_aio.errors import StreamError
from flowctl_aio.streams.window import Grants, Window


class Credits:
    """Both directions of one call, as one of its ends sees them.

    Args:
        write: takes one raw message. It is never called again before it has returned: grpc takes one at a time.
        max_batches, max_bytes: what the peer may have under way to us.
    """

    def __init__(
        self, write: Callable[[Any], Awaitable[None]], envelope: Envelope, *, max_batches: int, max_bytes: int
    ) -> None:
        self._write, self._envelope = write, envelope
        self._window, self._grants = Window(), Grants(max_batches, max_bytes)
        self._writing = asyncio.Lock()
        self._room, self._due = asyncio.Event(), asyncio.Event()
        self._is_over = False

    async def send(self, message: Any) -> None:
        """Write a message with a batch in it, when the peer has room for it.

        Cancellation: ends the call if it is being written, as every write does.
        """
        while True:
            while not self._window.may_send(len(message)):
                self._room.clear()
                await self._room.wait()
            async with self._writing:
                if self._window.may_send(len(message)):  # another may have used it while this one waited for its turn
                    self._window.note_sent(len(message))
                    await self._write(message)
                    return

    async def send_marker(self, message: Any) -> None:
        """Write what is no batch; it waits for no room.

        Cancellation: as `send`.
        """
        async with self._writing:
            await self._write(message)

    def hears(self, message: Any) -> bool:
        """Whether a message that came is a credit; then it is noted, and nobody else wants it.

        Raises:
            FrameCorruptError: if it is a broken one.
        """
        # Batches that are handed over in memory are no bytes; credits always are.
        credit = decode_credit(self._envelope, message) if isinstance(message, bytes) else None
        if credit is None:
            return False
        self._window.note_credit(credit)
        self._room.set()
        return True

    def note_taken(self, message: Any) -> None:
        """Our consumer took a message that came."""
        self._grants.note_taken(len(message))
        if self._grants.is_due:
            self._due.set()

    def end_granting(self) -> None:
        """The peer has sent its last batch, so it needs no more credits."""
        self._is_over = True

    def open(self) -> None:
        """No credit will come any more, so wait for none."""
        self._window.open()
        self._room.set()

    async def keep_granting(self) -> None:
        """Tell the peer what room we have, whenever there is more of it, until cancelled or the call is over.

        Cancellation: ends the call if a credit is being written.
        """
        with suppress(StreamError):  # whoever reads or writes batches is told why it is over
            while True:
                while self._grants.is_due and not self._is_over:
                    await self.send_marker(encode_credit(self._envelope, self._grants.credit()))
                self._due.clear()
                await self._due.wait()
