"""One service as a process: it registers, and whatever ends it, it unregisters."""

from __future__ import annotations

import json
import signal
import socket

import anyio
import pytest
from anyio import to_thread

from flowctl_aio import Health

pytestmark = pytest.mark.anyio


def processor_at(plane) -> list[str]:
    return ["processor", "--network", "testnet", "--plane", plane.endpoint, "--heartbeat-interval", "0.2"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_service_registers_and_a_signal_takes_it_back(cli, plane, how):
    process = cli.start(*processor_at(plane))
    with anyio.fail_after(20):
        ready = json.loads(await to_thread.run_sync(process.stdout.readline))
        status = await plane.wait_for_service("ttp-arrow-processor", Health.HEALTHY)
        assert ready == {"ready": "ttp-arrow-processor", "endpoint": status.info.endpoint}
        process.send_signal(how)
        assert await to_thread.run_sync(process.wait) == 0
    assert plane.services() == []


async def test_a_signal_in_the_moment_of_registering_takes_it_back_too(cli, plane):
    process = cli.start(*processor_at(plane))
    with anyio.fail_after(20):
        await plane.wait_for_service("ttp-arrow-processor")
        process.send_signal(signal.SIGTERM)
        assert await to_thread.run_sync(process.wait) == 0
    assert plane.services() == []


@pytest.mark.parametrize("verb", ["plane", "processor"])
async def test_a_port_that_is_taken_is_one_clear_line(cli, plane, verb):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["plane", "--bind", bind] if verb == "plane" else [*processor_at(plane), "--bind", bind]
        done = await to_thread.run_sync(lambda: cli.run(*arguments))
    assert done.returncode == 2
    assert done.stderr.startswith(f"flowctl-aio: cannot listen on {bind}")
    assert done.stderr.count("\n") == 1
