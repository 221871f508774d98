"""One end of a stream in a process of its own, which its test kills: `shared_process.py serve|read|lend folder`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from flowctl_aio import FlowctlConfig, FlowctlSession, LedgerBatch, RawLedger, ServiceInfo, ServiceType, Source
from flowctl_aio.streams.handshake import own_offer
from flowctl_aio.streams.shared.loan import Loan


class Endless(Source):
    outputs = (LedgerBatch.event_type,)

    async def stream(self, request) -> AsyncIterator[LedgerBatch]:
        for sequence in range(request.start or 1, (request.end or 2**31) + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, sequence.to_bytes(4, "big") * 50_000)])


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve(config: FlowctlConfig) -> None:
    async with FlowctlSession(Endless(), config) as session:
        say(session.endpoint)
        await asyncio.sleep(60)


async def read(config: FlowctlConfig, address: str) -> None:
    info = ServiceInfo("reader", ServiceType.PIPELINE)
    async with FlowctlSession(info, config) as session, session.source(address) as source, source.stream(1) as stream:
        async for _ in stream:
            if stream.batches == 20:
                say("reads")


async def lend(config: FlowctlConfig) -> None:
    with Loan(config, own_offer(config), max_inflight=1) as loan:
        say(loan.metadata[0][1])
        await asyncio.sleep(60)


if __name__ == "__main__":
    what, folder, *rest = sys.argv[1:]
    settings = FlowctlConfig(enabled=False, shared_memory_folder=folder)
    asyncio.run({"serve": serve, "read": read, "lend": lend}[what](settings, *rest))
