"""The control plane dies in the middle of a stream, and comes back knowing nobody."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from flowctl_aio import (
    EmbeddedControlPlane,
    FlowctlConfig,
    FlowctlSession,
    Health,
    ServiceInfo,
    ServiceType,
    State,
)
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar_arrow_source import StellarArrowSource, SyntheticSupply
from flowctl_aio.components.ttp_arrow_processor import TtpArrowProcessor

pytestmark = pytest.mark.anyio

INTERVAL = 2.0  # short enough for a test, long beside the second that gRPC takes to try a connection again


@pytest.mark.parametrize("dialect", ["v1", "classic"])
async def test_the_data_flows_on_and_all_are_registered_again_within_two_intervals(tmp_path, dialect):
    components = (
        StellarArrowSource(SyntheticSupply(SyntheticLedgers(transactions_per_ledger=5)), batch_ledgers=1),
        TtpArrowProcessor("testnet", mode="unified"),
        ArrowAnalyticsSink(tmp_path),
    )
    async with AsyncExitStack() as planes:
        first = await planes.enter_async_context(EmbeddedControlPlane())
        config = FlowctlConfig(
            endpoint=first.endpoint, heartbeat_interval=INTERVAL, dialect=dialect, local_streams=False
        )
        sessions = [FlowctlSession(component, config) for component in components]
        driver = FlowctlSession(ServiceInfo("driver", ServiceType.PIPELINE), config)
        everybody = (*sessions, driver)
        async with sessions[0], sessions[1], sessions[2], driver:
            source_at, processor_at, sink_at = (session.endpoint for session in sessions)
            async with (
                driver.source(source_at) as source,
                driver.processor(processor_at) as processor,
                driver.sink(sink_at) as sink,
                source.stream(2) as ledgers,  # without an end: it would go on for ever
                processor.stream(ledgers) as transfers,
            ):

                async def pass_on(batches: int) -> None:
                    for _ in range(batches):
                        await sink.send(await anext(transfers))

                await pass_on(3)
                await first.aclose()
                for session in everybody:
                    await session.wait_for(State.DEGRADED, timeout=2 * INTERVAL)
                await pass_on(3)

                second = await planes.enter_async_context(EmbeddedControlPlane(first.endpoint))
                with anyio.fail_after(2 * INTERVAL):
                    for session in everybody:
                        await second.wait_for_service(session.service_id, Health.HEALTHY)
                        await session.wait_for(State.REGISTERED)
                await pass_on(3)
                ack = await sink.flush()
                assert ack is not None
                assert ack.batches == 9
        # They said farewell to the plane that is there now.
        assert second.services() == []
