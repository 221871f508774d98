"""A session under plain asyncio.run, as most programs have it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession
from flowctl_aio.batches import LedgerBatch
from flowctl_aio.component import Source
from flowctl_aio.types import RawLedger, ServiceInfo, ServiceType


class Numbers(Source):
    async def stream(self, request):
        for sequence in range(request.start, request.end + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"")])


async def live() -> list[int]:
    async with EmbeddedControlPlane() as plane:
        config = FlowctlConfig(endpoint=plane.endpoint, drain_timeout=2.0, local_streams=False)
        async with (
            FlowctlSession(Numbers(), config),
            FlowctlSession(ServiceInfo("user", ServiceType.PIPELINE), config) as session,
            session.source() as source,
            source.stream(1, 3) as stream,
        ):
            got = [row.sequence async for batch in stream for row in batch]
        assert plane.services() == []
    return got


def test_a_session_lives_under_asyncio_run_five_times_in_a_row():
    for _ in range(5):
        assert asyncio.run(live()) == [1, 2, 3]


def test_a_task_that_fails_is_what_asyncio_run_raises():
    async def main() -> None:
        async def fail() -> None:
            raise KeyError("mine")

        async with FlowctlSession(
            ServiceInfo("user", ServiceType.PIPELINE), FlowctlConfig(enabled=False, drain_timeout=1.0)
        ) as session:
            session.start_soon(fail)
            await asyncio.sleep(30)

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(main())


PROGRAM = """
import asyncio
from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession
from flowctl_aio.types import ServiceInfo, ServiceType

async def main():
    async with EmbeddedControlPlane() as plane:
        try:
            config = FlowctlConfig(endpoint=plane.endpoint)
            async with FlowctlSession(ServiceInfo("user", ServiceType.PIPELINE), config):
                print("ready", flush=True)
                await asyncio.sleep(60)
        finally:
            print("services", len(plane.services()), flush=True)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_an_interrupt_unregisters_and_leaves_no_noise():
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert out == "services 0\ninterrupted\n"
    assert "Traceback" not in err
    assert "never retrieved" not in err
