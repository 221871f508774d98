"""Whether the entry under our id is ours: ids are not owned, so a second process may have taken it over."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.errors import ControlError
from flowctl_aio.service import INSTANCE_ID_KEY
from flowctl_aio.types import ServiceInfo

logger = logging.getLogger(__name__)
CHECK_INTERVAL = 30.0
MOST_SEEN = 1024


class Ownership:
    """Looks, now and then, at who stands under our id.

    Attributes:
        foreign: how many others have been seen there; one that comes back counts once, within reason.
    """

    def __init__(self, plane: PlaneClient, info: ServiceInfo, *, interval: float = CHECK_INTERVAL) -> None:
        self._plane, self._info, self._interval = plane, info, interval
        self.foreign = 0
        self._seen: set[str] = set()
        self._due = time.monotonic() + interval

    async def check(self, service_id: str) -> None:
        """Look if it is time to; say so once for each other instance that is found. Never raises for the plane.

        Nothing is taken back: two services that fight for an id help nobody, and the last one to register wins.

        Cancellation: safe at any point.
        """
        now = time.monotonic()
        if now < self._due or INSTANCE_ID_KEY not in self._info.metadata:
            return
        self._due = now + self._interval
        # A plane that cannot tell (classic only) or is away has nothing to say about it.
        with suppress(ControlError):
            status = await self._plane.get_service_status(service_id)
            other = status.info.metadata.get(INSTANCE_ID_KEY, "")
            if other and other != self._info.metadata[INSTANCE_ID_KEY] and other not in self._seen:
                if len(self._seen) >= MOST_SEEN:  # one that crashes and comes back is another each time
                    self._seen.clear()
                self._seen.add(other)
                self.foreign += 1
                logger.warning(
                    "%s is also registered by %s at %r: two processes, one id", service_id, other, status.info.endpoint
                )
