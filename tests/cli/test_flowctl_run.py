"""The components as `flowctl run` starts them, wires them and ends them; it is played here with the generated stubs.

Source: a real runner gives each process these variables and a file for its output, waits for the id of its YAML to be
HEALTHY, dials what was registered with limits of 50 MiB, moves single events, and leaves some 2 s for a farewell.
"""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import anyio
import grpc
import grpc.aio
import pyarrow.dataset
import pytest
from anyio import to_thread

from flowctl_aio import EmbeddedControlPlane, Health
from flowctl_aio import _wire as wire
from flowctl_aio.cli.service import ServiceOptions
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.transfers import token_transfers

pytestmark = pytest.mark.anyio

FIRST, LAST, TRANSACTIONS = 100, 104, 3
LIMIT = 50 * 1024 * 1024
LIMITS = [
    ("grpc.max_receive_message_length", LIMIT),
    ("grpc.max_send_message_length", LIMIT),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


def environ_of(plane: EmbeddedControlPlane, component_id: str, **more: str) -> dict[str, str]:
    return {
        "ENABLE_FLOWCTL": "true",
        "FLOWCTL_ENDPOINT": plane.endpoint,
        "FLOWCTL_HEARTBEAT_INTERVAL": "10s",
        "FLOWCTL_SERVICE_ID": component_id,
        "FLOWCTL_COMPONENT_ID": component_id,
        **more,
    }


@asynccontextmanager
async def dialled(endpoint: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(endpoint, options=LIMITS) as channel:
        yield channel


async def wire_up(endpoints: dict[str, str], params: dict[str, str]) -> tuple[int, wire.v1.ConsumeResponse]:
    """Source → processor → passthrough → sink, event by event; gives how many ledgers came, and the sink's answer."""
    async with AsyncExitStack() as stack:
        stubs = {}
        for component_id, kind in (
            ("src", wire.v1.SourceServiceStub),
            ("ttp", wire.v1.ProcessorServiceStub),
            ("same", wire.v1.ProcessorServiceStub),
            ("pq", wire.v1.ConsumerServiceStub),
        ):
            stubs[component_id] = kind(await stack.enter_async_context(dialled(endpoints[component_id])))
        ledgers = 0

        async def counted(events):
            nonlocal ledgers
            async for event in events:
                ledgers += 1
                yield event

        events = counted(stubs["src"].StreamEvents(wire.v1.StreamRequest(params=params)))
        transfers = stubs["ttp"].Process(events)
        answer = await stubs["pq"].Consume(stubs["same"].Process(transfers))
        return ledgers, answer


async def test_three_components_and_a_passthrough_run_end_to_end(shell, tmp_path, free_port):
    own = {
        "src": ("source", f"--transactions={TRANSACTIONS}"),
        "ttp": ("processor", "--mode=unified"),
        "same": ("passthrough",),
        "pq": ("sink", f"--out={tmp_path / 'out'}"),
    }
    async with EmbeddedControlPlane(quirks="flowctl") as plane:
        processes = {
            component_id: shell.start(
                *arguments,
                log=tmp_path / f"{component_id}.log",
                **environ_of(plane, component_id, NETWORK_PASSPHRASE="testnet"),
                **({"HEALTH_PORT": str(free_port)} if component_id == "src" else {}),
                **({"START_LEDGER": str(FIRST), "END_LEDGER": str(LAST)} if component_id == "src" else {}),
            )
            for component_id, arguments in own.items()
        }
        endpoints = {}
        with anyio.fail_after(30):
            for component_id in own:
                status = await plane.wait_for_service(component_id, Health.HEALTHY)
                endpoints[component_id] = status.info.endpoint
        for component_id, endpoint in endpoints.items():
            ready = json.loads((await until_said(tmp_path / f"{component_id}.log")).splitlines()[0])
            assert ready == {"ready": component_id, "endpoint": endpoint}
        async with aiohttp.ClientSession() as client:
            for page in ("health", "live", "ready", "metrics"):
                async with client.get(f"http://127.0.0.1:{free_port}/{page}") as answer:
                    assert answer.status == 200, page

        # The range comes from the runner's YAML, or from the source's own environment.
        params = {"start_ledger": str(FIRST), "end_ledger": str(LAST)}
        expected = count_transfers()
        for asked in (params, {}):
            ledgers, answer = await wire_up(endpoints, asked)
            assert ledgers == LAST - FIRST + 1
            assert (answer.events_consumed, answer.events_failed) == (expected, 0)
            rows = await to_thread.run_sync(lambda: pyarrow.dataset.dataset(tmp_path / "out").count_rows())
            assert rows == expected, "what comes again is there once"

        async with dialled(endpoints["ttp"]) as channel:
            idle = wire.v1.ProcessorServiceStub(channel).Process()
            await idle.initial_metadata()
            for number in (signal.SIGINT, signal.SIGTERM):
                for process in processes.values():
                    process.send_signal(number)
            # Without the runner's variables, a stream that is idle is waited for longer than this.
            with anyio.fail_after(10):
                for process in processes.values():
                    assert await to_thread.run_sync(process.wait) == 0
            idle.cancel()
        assert plane.services() == []
    for component_id in own:
        lines = (tmp_path / f"{component_id}.log").read_text().splitlines()
        assert not [line for line in lines if "Traceback" in line or "ERROR" in line], lines


def count_transfers() -> int:
    made = SyntheticLedgers("testnet", seed=0, transactions_per_ledger=TRANSACTIONS)
    return sum(
        len(token_transfers(made.ledger(sequence).xdr, passphrase=made.passphrase, mode="unified").rows)
        for sequence in range(FIRST, LAST + 1)
    )


async def until_said(log) -> str:
    """What a log begins with; a line is there as soon as it is said."""
    while not (text := await to_thread.run_sync(log.read_text)).endswith("\n"):  # noqa: ASYNC110 - a file announces nothing
        await anyio.sleep(0.01)
    return text


def test_the_runners_limits_are_the_defaults_under_it_and_only_there(monkeypatch):
    monkeypatch.setenv("FLOWCTL_DRAIN_TIMEOUT", "3s")
    assert ServiceOptions().load("sink", "pq").stranger_message_bytes == 4 * 1024 * 1024
    monkeypatch.setenv("FLOWCTL_COMPONENT_ID", "pq")
    config = ServiceOptions().load("sink", "other")
    assert (config.component_id, config.stranger_message_bytes, config.drain_timeout) == ("pq", LIMIT, 3.0)
    monkeypatch.delenv("FLOWCTL_DRAIN_TIMEOUT")
    monkeypatch.setenv("FLOWCTL_STRANGER_MESSAGE_BYTES", "1000")
    config = ServiceOptions().load("sink", None)
    assert (config.stranger_message_bytes, config.drain_timeout) == (1000, 0.8)
