"""The inside of a session: what stands while it lives, in which order it comes up, and how it goes down again."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakSet

import anyio
from anyio.abc import TaskGroup

from flowctl_aio.component import Component
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.discovery.directory import Directory
from flowctl_aio.control.discovery.watch import Watch
from flowctl_aio.control.flow.control import FlowControl
from flowctl_aio.control.lifecycle import Lifecycle, State
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.control.registration import Registration
from flowctl_aio.control.standby import Standby
from flowctl_aio.errors import ControlError, FlowctlError, SessionClosedError, UsageError
from flowctl_aio.observe.pages import HealthPages, open_health_pages
from flowctl_aio.owner import OwnerTask, Started
from flowctl_aio.peers import Peers
from flowctl_aio.provider import Metrics
from flowctl_aio.pulse import Pulse
from flowctl_aio.serving import Served, services_of
from flowctl_aio.serving.health import health_services
from flowctl_aio.serving.processes import open_workers
from flowctl_aio.sight import Sight
from flowctl_aio.transport.blocking import BlockingChannel
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.transport.server import Server, open_server
from flowctl_aio.types import ServiceInfo

logger = logging.getLogger(__name__)


class Life:
    """Everything of a session that comes and goes with it.

    Attributes:
        lifecycle, pulse, peers, flow: there from the beginning.
        server, plane, registration, directory, pages: there once they are up; None if the settings want none.
        watches: those that end with it.
        tasks: what runs beside the user's block, while it does.
        fault: what a component did wrong, if that is to end the session.
    """

    def __init__(
        self, component: Component | None, info: ServiceInfo, config: FlowctlConfig, metrics: Metrics | None
    ) -> None:
        self.component, self.info, self.config = component, info, config
        self.lifecycle = Lifecycle(info.component_id)
        self.flow = FlowControl(
            info.component_id,
            backpressure_threshold=config.backpressure_threshold,
            recovery_threshold=config.recovery_threshold,
            throttle_rate=config.throttle_rate,
            lease=config.lease_timeout,
        )
        self.pulse = Pulse(self.lifecycle, component, metrics, info, config)
        self.peers = Peers(info, config, self.ask)
        self.sight = Sight(info, self.lifecycle, self.pulse, self.flow, self.peers.connections)
        self.owner = OwnerTask(self._main, name=f"flowctl_aio session {info.component_id}")
        self.stop, self.left, self.drained = anyio.Event(), anyio.Event(), anyio.Event()
        self.served: Served[Any] | None = None
        self.server: Server | None = None
        self.plane: PlaneClient | None = None
        self.registration: Registration | None = None
        self.directory: Directory | None = None
        self.pages: HealthPages | None = None
        self.watches: WeakSet[Watch] = WeakSet()
        self.tasks: TaskGroup | None = None
        self.fault: Exception | None = None
        self.host: asyncio.Task[Any] | None = None
        self.is_interrupted = False

    def ask(self) -> Directory:
        """Who answers questions about other services.

        Raises:
            SessionClosedError: if the session has ended.
            UsageError: if it is not open yet, or runs without a control plane.
        """
        if self.lifecycle.state is State.CLOSED:
            raise SessionClosedError(f"{self.info.component_id} has ended")
        if self.directory is None:
            raise UsageError(f"{self.info.component_id} has no control plane to ask")
        return self.directory

    async def close(self) -> None:
        """End, and return when all is down.

        Cancellation: ends the draining at once; the service is unregistered all the same.
        """
        self.stop.set()
        self.left.set()
        if self.lifecycle.state is State.IDLE and not self.owner.is_running():
            self.lifecycle.move(State.CLOSED)
        try:
            await self.owner.join()
        except asyncio.CancelledError:
            # Whoever cancels us while we drain wants the end now; the farewell is still said.
            self.owner.cancel()
            # Bounded, for a task of the session that closes its own session would wait for itself.
            with anyio.move_on_after(self.config.drain_timeout + self.config.unregister_timeout, shield=True):
                await self.owner.join()
            raise

    async def _main(self, started: Started) -> None:
        """The whole session as one nest: what stands first falls last."""
        self.lifecycle.move(State.CONNECTING)
        try:
            async with AsyncExitStack() as stack:
                # First of all, so that whoever looks after the process sees it even if nothing else comes up.
                self.pages = await stack.enter_async_context(self._open_pages())
                if self.component is not None:
                    await stack.enter_async_context(_lifespan_of(self.component))
                    await self._listen(stack, self.component)
                await self._introduce(stack)
                async with anyio.create_task_group() as self.tasks:
                    self._start_own_tasks(self.tasks)
                    self.peers.open()
                    started()
                    await self.stop.wait()
                    await self._drain()
                    self.tasks.cancel_scope.cancel()
        except Exception:
            self._interrupt()
            raise
        finally:
            self.tasks = self.server = self.pages = None
            self.peers.abort(SessionClosedError(f"{self.info.component_id} has ended"))
            with anyio.CancelScope(shield=True):  # bounded by itself
                await self.peers.aclose()
            self.stop.set()
            self.drained.set()
            self.flow.close()
            self.lifecycle.move(State.CLOSED)

    def _open_pages(self) -> AbstractAsyncContextManager[HealthPages | None]:
        return open_health_pages(bind, self.sight.view) if (bind := self.config.health_bind) else nullcontext()

    async def _listen(self, stack: AsyncExitStack, component: Component) -> None:
        """Bind before registering: who is registered is dialled at once."""
        served = Served(
            component,
            self.info,
            self.config,
            health=self.pulse.read_health,
            metrics=self.pulse.read_metrics,
            on_fault=self._note_fault,
            flow=self.flow,
            workers=await stack.enter_async_context(open_workers(component, self.info.component_id)),
        )
        self.served = self.pulse.served = served
        services = services_of(served)
        self.server = server = await stack.enter_async_context(
            open_server(
                {**services, **health_services(served, services)},
                self.config.bind,
                max_message_bytes=self.config.max_message_bytes,
                max_inflight_bytes=self.config.max_inflight_bytes,
                advertise_host=self.config.advertise_host,
                insecure=self.config.insecure,
                tls=self.config.server_tls,
                admission=self.config.admission,
                is_near=self.config.local_streams,
            )
        )
        self.info = served.info = replace(self.info, endpoint=server.endpoint)

    async def _introduce(self, stack: AsyncExitStack) -> None:
        config = self.config
        if not config.enabled:
            self.lifecycle.move(State.DEGRADED, "it runs without a control plane, as configured")
            return
        channel = await stack.enter_async_context(
            open_control_channel(
                config.endpoint, insecure=config.insecure, tls=config.client_tls, credentials=config.credentials
            )
        )
        self.plane = plane = PlaneClient(channel, config)
        self.directory = Directory(
            partial(self.sight.timed, plane.list_services),
            plane.get_service_status,
            timeout=config.query_timeout,
            max_age=config.query_max_age,
            lease=config.lease_timeout,
        )
        self.registration = self.pulse.registration = registration = Registration(
            plane,
            self.info,
            config,
            self.lifecycle,
            self.pulse.take,
            self._stand_by(stack) if config.heartbeat_mode == "thread" else None,
            self._note_registration,
        )
        stack.push_async_callback(self._farewell, registration)
        stack.callback(self._end_watches)
        await registration.attempt_first()

    def _stand_by(self, stack: AsyncExitStack) -> Standby:
        """A thread that beats while user code blocks the loop."""
        config = self.config
        line = BlockingChannel(
            config.endpoint, insecure=config.insecure, tls=config.client_tls, credentials=config.credentials
        )
        standby = Standby(
            line, self.pulse.freshen, interval=config.heartbeat_interval, timeout=config.heartbeat_timeout
        )
        stack.enter_context(standby.running(f"flowctl_aio beats of {self.info.component_id}"))
        return standby

    def _start_own_tasks(self, tasks: TaskGroup) -> None:
        tasks.start_soon(self.pulse.lag.run, name="flowctl_aio loop lag")
        tasks.start_soon(self.peers.keep_connections, name="flowctl_aio connections")
        if self.registration is not None:
            tasks.start_soon(self.registration.keep_registered, name="flowctl_aio heartbeat")
        if self.directory is not None and self.config.flow_scope == "pipeline":
            tasks.start_soon(partial(self._observe_pipeline, self.directory), name="flowctl_aio pipeline load")

    async def _observe_pipeline(self, directory: Directory) -> None:
        """Let the load of all services count, as their beats tell it, and show what they do."""
        while True:
            try:
                statuses = await directory.list_services()
                self.flow.observe(statuses)
            except ControlError as error:
                statuses = []
                logger.debug("%s does not know the load of the pipeline: %s", self.info.component_id, error)
            self.sight.note_pipeline(statuses, lease=self.config.lease_timeout)
            await anyio.sleep(self.config.watch_interval)

    def _note_registration(self, reason: str) -> None:
        if self.directory is not None:
            self.directory.forget()  # whatever it was told before, we were not in it
        self.sight.note_registration(reason)

    def _end_watches(self) -> None:
        for watch in list(self.watches):
            watch.close()

    async def _farewell(self, registration: Registration) -> None:
        with anyio.CancelScope(shield=True):
            await registration.unregister()

    async def _drain(self) -> None:
        """Take no new stream, let those under way and the block come to their end, within the limit. Beats go on."""
        self.lifecycle.move(State.DRAINING)
        with anyio.move_on_after(self.config.drain_timeout):
            if self.served is not None and self.server is not None:
                self.served.stopping.set()
                await self.server.drain(self.config.drain_timeout)
            self.drained.set()
            await self.left.wait()
        self.drained.set()

    def _interrupt(self) -> None:
        """A background failure that nobody handles ends the block, as a task group would."""
        if self.host is not None and not self.host.done() and not self.left.is_set():
            self.is_interrupted = True
            self.host.cancel()

    def _note_fault(self, error: Exception) -> None:
        # One of ours says all there is to say; anything else needs its traceback.
        foreign = None if isinstance(error, FlowctlError) else error
        logger.error("%s: %s: %s", self.info.component_id, type(error).__name__, error, exc_info=foreign)
        if self.config.on_component_error == "stop":
            self.fault = error
            self.stop.set()


def _lifespan_of(component: Component) -> AbstractAsyncContextManager[Any]:
    """What a component needs open; a generator without its decorator is the usual mistake."""
    lifespan: Any = component.lifespan()
    if not isinstance(lifespan, AbstractAsyncContextManager):
        name, found = type(component).__name__, type(lifespan).__name__
        raise UsageError(f"the lifespan of {name} is an async context manager (@asynccontextmanager), not {found}")
    return lifespan
