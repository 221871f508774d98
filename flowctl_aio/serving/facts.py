"""What a served component has done so far → the facts that its standard metrics are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from flowctl_aio.observe.lag import LoopLag
from flowctl_aio.observe.process import rss_bytes
from flowctl_aio.observe.rate import Rate
from flowctl_aio.observe.standard import Facts
from flowctl_aio.serving.served import Served
from flowctl_aio.types import Health, ServiceType

NOTHING_OF_ITS_OWN: Mapping[str, float] = {}
DOWN = frozenset({Health.UNHEALTHY, Health.STOPPING})


class FactFinder:
    """The facts of one session. Rates are taken between the looks, so look at it regularly.

    Args:
        lag: of the session's loop; None if nobody measures it.
        window: of the rates, in seconds.

    Attributes:
        served: what is served; None as long as nothing is.
    """

    def __init__(
        self, *, lag: LoopLag | None = None, window: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.served: Served[Any] | None = None
        self._lag, self._clock = lag, clock
        self._born = clock()
        self._rows, self._batches, self._processing = Rate(window), Rate(window), Rate(window)

    def read(self, health: Health, own: Mapping[str, float] = NOTHING_OF_ITS_OWN) -> Facts:
        """The facts as they are now.

        Args:
            health: what the next heartbeat says.
            own: the component's own numbers, of which those of a sink are taken that only it can know.
        """
        now = self._clock()
        common: dict[str, Any] = {
            "uptime": now - self._born,
            "is_up": health not in DOWN,
            "loop_lag": self._lag.seconds if self._lag is not None else None,
            "rss": rss_bytes() or None,
        }
        if self.served is None:
            return Facts(**common)
        traffic = self.served.traffic
        is_source = self.served.info.service_type is ServiceType.SOURCE
        batches = traffic.batches_out if is_source else traffic.batches_in
        self._rows.note(traffic.rows_out if is_source else traffic.rows_in, now)
        self._batches.note(batches, now)
        self._processing.note(traffic.processing, now)
        pace = self._batches.per_second(now)
        return Facts(
            **common,
            batches_in=traffic.batches_in,
            rows_in=traffic.rows_in,
            bytes_in=traffic.bytes_in,
            batches_out=traffic.batches_out,
            rows_out=traffic.rows_out,
            bytes_out=traffic.bytes_out,
            faults=traffic.faults,
            streams=traffic.streams,
            streams_total=traffic.streams_total,
            rows_per_second=self._rows.per_second(now),
            inflight=traffic.queued + traffic.busy,
            max_inflight=self.served.info.max_inflight,
            queue_depth=traffic.queued,
            processing=traffic.processing,
            latency=self._processing.per_second(now) / pace if pace > 0 else None,
            since_last=None if traffic.last_work is None else max(time.monotonic() - traffic.last_work, 0.0),
            files_written=_count(own, "files_written_total"),
            bytes_written=_count(own, "bytes_written_total"),
            websocket_connections=_count(own, "websocket_connections"),
        )


def _count(own: Mapping[str, float], name: str) -> int | None:
    return int(own[name]) if name in own else None
