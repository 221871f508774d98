"""What the verbs that run one service share: their settings, and a life that ends by signal or with their parent."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import anyio
from cyclopts import Parameter

from flowctl_aio import FlowctlConfig, FlowctlSession, tune_malloc
from flowctl_aio.component import Component


@Parameter(name="*")
@dataclass(frozen=True)
class ServiceOptions:
    """Options of every service.

    Attributes:
        plane: the control plane, host:port.
        bind: where the data plane listens; port 0 takes a free one.
        heartbeat_interval: seconds between two beats.
        drain_timeout: seconds that streams may take to end after a signal.
        insecure: allow plaintext to and from other machines.
        tune_malloc: keep large buffers from going back to the system; doubles the rate of large messages.
        with_parent: end when standard input closes, as it does when the parent dies.
    """

    plane: Annotated[str, Parameter(help="The control plane, host:port.")] = "localhost:8080"
    bind: Annotated[str, Parameter(help="Where the data plane listens; port 0 takes a free one.")] = "127.0.0.1:0"
    heartbeat_interval: Annotated[float, Parameter(help="Seconds between two heartbeats.")] = 10.0
    drain_timeout: Annotated[float, Parameter(help="Seconds that streams may take to end after a signal.")] = 15.0
    insecure: Annotated[bool, Parameter(help="Allow plaintext to and from other machines.")] = False
    tune_malloc: Annotated[bool, Parameter(help="Keep large buffers in the process: faster large messages.")] = True
    with_parent: Annotated[bool, Parameter(help="End when standard input closes.", show=False)] = False

    def config(self, component_id: str) -> FlowctlConfig:
        return FlowctlConfig(
            endpoint=self.plane,
            component_id=component_id,
            bind=self.bind,
            heartbeat_interval=self.heartbeat_interval,
            drain_timeout=self.drain_timeout,
            insecure=self.insecure,
        )


async def run_service(component: Component, options: ServiceOptions, component_id: str) -> None:
    """Serve a component until SIGINT or SIGTERM; a second signal ends it at once.

    Prints one JSON line on standard output when it is ready.
    """
    if options.tune_malloc:
        tune_malloc()
    async with (
        until_told(with_parent=options.with_parent) as told,
        FlowctlSession(component, options.config(component_id)) as session,
    ):
        print_ready(session.service_id, session.endpoint)
        await told.wait()


def print_ready(service_id: str, endpoint: str) -> None:
    """Tell a waiting parent, or a reader, where the service is."""
    print(json.dumps({"ready": service_id, "endpoint": endpoint}), flush=True)


@asynccontextmanager
async def until_told(*, with_parent: bool) -> AsyncIterator[anyio.Event]:
    """A block that hears signals from its beginning on.

    The first SIGINT or SIGTERM sets the event, and so does the end of standard input if `with_parent` says so;
    the next signal cancels the block.
    """
    told = anyio.Event()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                async for _ in signals:
                    if told.is_set():
                        group.cancel_scope.cancel()
                    told.set()

            async def watch_parent() -> None:
                # A pipe from the parent: nothing is ever written to it, and it closes however the parent ends.
                await anyio.wait_readable(sys.stdin.fileno())
                told.set()

            group.start_soon(listen)
            if with_parent:
                group.start_soon(watch_parent)
            yield told
            group.cancel_scope.cancel()
