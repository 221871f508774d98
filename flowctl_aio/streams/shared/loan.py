"""What the reader of a stream lends to its writer, and the writer's use of it, as the two agree on it beforehand."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from flowctl_aio.config import FlowctlConfig
from flowctl_aio.errors import FrameCorruptError
from flowctl_aio.streams.handshake import METADATA_KEY, RING, SHARED_MEMORY, Offer, shares_memory
from flowctl_aio.streams.shared import folder as files
from flowctl_aio.streams.shared.ring import BorrowedRing, LentRing
from flowctl_aio.streams.shared.slots import Slot
from flowctl_aio.transport.call import CallMetadata

logger = logging.getLogger(__name__)


class Loan:
    """The ring for one stream that comes in, if the peer may be able to use one: `with loan:` around the call.

    What came may be read after the call; `close` is for when nothing more is.

    Args:
        peer: what the other side offers.
        max_inflight: frames that wait on our side.

    Attributes:
        metadata: how the peer is told; empty without a ring.
    """

    def __init__(self, config: FlowctlConfig, peer: Offer, *, max_inflight: int) -> None:
        self._config, self._max_inflight = config, max_inflight
        self._is_wanted = shares_memory(config) and SHARED_MEMORY in peer.capabilities
        self._ring: LentRing | None = None
        self.metadata: CallMetadata = ()

    def __enter__(self) -> Self:
        if self._is_wanted:
            folder = files.folder_in(self._config.shared_memory_folder)
            try:
                _tidy(folder)
                # Handles are so short that any number of them fits into the windows of a stream: these are its bounds.
                self._ring = LentRing(folder, self._config.shared_memory_bytes, max_waiting=2 * self._max_inflight)
            except OSError as error:
                _say_once(str(folder), error.strerror or str(error))
            else:
                self.metadata = ((f"{METADATA_KEY}-{RING}", self._ring.title),)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ring is not None:
            self._ring.close_name()

    def close(self) -> None:
        """Take no more handles, and lend nothing any more. The memory goes with the last batch in it. May be called
        twice, also before the block around the call is entered."""
        self._is_wanted = False
        if self._ring is not None:
            self._ring.close_name()
            self._ring = None

    @property
    def is_made(self) -> bool:
        """Whether there is a ring, so that handles may come."""
        return self._ring is not None

    def look(self, handle: str) -> memoryview:
        """The bytes that a peer's handle stands for.

        Raises:
            FrameCorruptError: if it stands for none.
        """
        if self._ring is None:
            raise FrameCorruptError("a frame is said to lie in shared memory, and there is none")
        return self._ring.view(slot_from_text(handle))


def borrow(config: FlowctlConfig, peer: Offer) -> BorrowedRing | None:
    """The ring that the reader of a stream lends us; None if it lends none, or it is out of our reach."""
    title = peer.facts.get(RING, "")
    if not (shares_memory(config) and title and SHARED_MEMORY in peer.capabilities):
        return None
    try:
        return BorrowedRing(files.folder_in(config.shared_memory_folder), title)
    except OSError as error:  # as from another host
        logger.debug("batches go without shared memory: %s", error)
        return None


def slot_to_text(slot: Slot) -> str:
    return ":".join(map(str, slot))


def slot_from_text(text: str) -> Slot:
    """Read a handle.

    Raises:
        FrameCorruptError: if it is none.
    """
    numbers = text.split(":", len(Slot._fields))
    if len(numbers) != len(Slot._fields) or not all(
        number.isascii() and number.isdigit() and len(number) <= 18 for number in numbers
    ):
        raise FrameCorruptError(f"the handle of a frame is {text[:80]!r}")
    return Slot(*map(int, numbers))


@cache
def _tidy(folder: Path) -> None:
    """Once per process and folder: remove what processes left that were killed."""
    if folder.exists() and (removed := files.sweep(folder)):
        logger.info("removed %d rings of processes that are gone from %s", removed, folder)


@cache
def _say_once(folder: str, why: str) -> None:
    logger.warning("batches go without shared memory: %s: %s", folder, why)


__all__ = ["Loan", "borrow", "slot_from_text", "slot_to_text"]
