"""A service without an endpoint, a source, and what is known of them at the plane and in the loop."""

from __future__ import annotations

import asyncio

from flowctl_aio.batches import LedgerBatch
from flowctl_aio.component import Source
from flowctl_aio.types import RawLedger, ServiceInfo, ServiceType

INFO = ServiceInfo("svc", ServiceType.PROCESSOR, input_event_types=("L",), output_event_types=("E",))


def is_uncancelled() -> bool:
    return asyncio.current_task().cancelling() == 0


def tasks() -> set[asyncio.Task]:
    """All tasks; but a server that is still up waits for its next call in a task that is new after each one."""
    return {task for task in asyncio.all_tasks() if "_request_call" not in repr(task)}


def ids(plane) -> list[str]:
    return [status.service_id for status in plane.services()]


class Numbers(Source):
    component_id = "numbers"
    outputs = ("L",)

    async def stream(self, request):
        for sequence in range(request.start, request.end + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"")])
