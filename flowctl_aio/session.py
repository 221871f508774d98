"""One registered life of a service: it serves, registers, beats, runs your coroutines, and takes everything back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from flowctl_aio.component import Component, Processor, Sink, Source
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.lifecycle import Lifecycle, State
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.control.registration import Registration
from flowctl_aio.errors import ConfigError, FlowctlError, SessionClosedError, UsageError
from flowctl_aio.owner import OwnerTask, Started
from flowctl_aio.peers import Peers
from flowctl_aio.pulse import Metrics, Pulse
from flowctl_aio.serving import Served, services_of
from flowctl_aio.streams.processor import ProcessorClient
from flowctl_aio.streams.sink import SinkClient
from flowctl_aio.streams.source import SourceClient
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.transport.server import Server, open_server
from flowctl_aio.types import NOTHING, Dialect, Health, ServiceInfo, ServiceStatus, ServiceType

logger = logging.getLogger(__name__)


class FlowctlSession:
    """`async with FlowctlSession(component) as session`: registered while the block runs.

    Entering binds the component's data plane, registers (at most `register_timeout`; a plane that is away
    leaves the session DEGRADED, and it registers when the plane comes), and starts the heartbeat.
    Leaving drains the streams, cancels what `start_soon` started, unregisters and closes, also when the block fails.
    The two may happen in different tasks. A session is used once.

    Args:
        component: what to serve, a Source, Processor or Sink; or a ServiceInfo to be known without serving anything.
        config: settings; the default talks to `localhost:8080`.
        metrics: numbers to send with each heartbeat, beside the component's own.

    Raises:
        ConfigError: on entering, if a setting is wrong or the port is taken.
        RegistrationError: on entering, if the plane answers and refuses.
        Exception: on leaving, whatever a `start_soon` task raised; it also cancels the block.
    """

    def __init__(
        self, component: Component | ServiceInfo, config: FlowctlConfig | None = None, metrics: Metrics | None = None
    ) -> None:
        if not isinstance(component, Source | Processor | Sink | ServiceInfo):
            raise UsageError(
                f"a session is made from a Source, a Processor, a Sink or a ServiceInfo, not {component!r}"
            )
        if not isinstance(config, FlowctlConfig | None):
            raise UsageError(f"the config of a session is a FlowctlConfig, not {config!r}")
        self.config = config or FlowctlConfig()
        self._component = component if isinstance(component, Component) else None
        self.info = _configured(component.info() if isinstance(component, Component) else component, self.config)
        self._lifecycle = Lifecycle(self.info.component_id)
        self._pulse = Pulse(self.info.component_id, self._lifecycle, self._component, metrics)
        self._owner = OwnerTask(self._main, name=f"flowctl_aio session {self.info.component_id}")
        self._stop = anyio.Event()
        self._left = anyio.Event()
        self._peers = Peers(self.info, self.config, self._discover)
        self._fault: Exception | None = None
        self._served: Served[Any] | None = None
        self._server: Server | None = None
        self._plane: PlaneClient | None = None
        self._registration: Registration | None = None
        self._tasks: TaskGroup | None = None
        self._host: asyncio.Task[Any] | None = None
        self._is_interrupted = False
        self._cancelling = 0

    def __repr__(self) -> str:
        endpoint = f" at {self.endpoint}" if self._server is not None else ""
        return f"<FlowctlSession {self.service_id} {self.state.value}{endpoint}>"

    # What it is

    @property
    def state(self) -> State:
        return self._lifecycle.state

    @property
    def component(self) -> Any:
        """The component that is served.

        Raises:
            UsageError: if the session was made from a ServiceInfo.
        """
        if self._component is None:
            raise UsageError(f"{self.info.component_id} serves no component")
        return self._component

    @property
    def service_id(self) -> str:
        """What the plane calls this service; a simulated id while it does not."""
        return self._registration.service_id if self._registration is not None else self.info.component_id

    @property
    def endpoint(self) -> str:
        """Where the data plane can be dialled; empty if none is served."""
        return self._server.endpoint if self._server is not None else ""

    @property
    def dialect(self) -> Dialect | None:
        """What is spoken with the plane; None until it has answered."""
        return self._plane.dialect if self._plane is not None else None

    @property
    def health(self) -> Health | None:
        """What the heartbeats say instead of what the component says; None lets the component speak."""
        return self._pulse.health

    @health.setter
    def health(self, health: Health | None) -> None:
        self._pulse.health = health

    def metrics(self) -> dict[str, float]:
        """What the next heartbeat would say."""
        return self._pulse.read_metrics()

    # Its life

    async def __aenter__(self) -> Self:
        await self._owner.start()
        # Only now is there a block to cancel: a failure before it comes out of entering itself.
        self._host = asyncio.current_task()
        self._cancelling = self._host.cancelling() if self._host is not None else 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._close()
        except asyncio.CancelledError:
            if not self._is_interrupted:
                raise
        if isinstance(error, asyncio.CancelledError) and not self._is_interrupted:
            return
        host = self._host
        # The cancellation of the block was ours, and the failure behind it is what the caller hears of,
        # unless somebody else cancelled it as well.
        if self._is_interrupted and host is asyncio.current_task() and host and host.uncancel() > self._cancelling:
            return
        fault = self._owner.error or self._fault
        if fault is None:
            return
        if error is not None and not isinstance(error, asyncio.CancelledError):
            logger.warning("%s failed while its block did", self.info.component_id, exc_info=fault)
            return
        raise fault

    async def aclose(self) -> None:
        """Drain, unregister and close, as leaving the block does. May be called twice.

        Raises:
            Exception: whatever a `start_soon` task raised.

        Cancellation: ends the draining at once; the service is unregistered all the same.
        """
        await self._close()
        if self._owner.error is not None:
            raise self._owner.error

    def stop(self) -> None:
        """Ask the session to end: it drains, and `wait_stopped` returns at once."""
        self._stop.set()

    async def wait_stopped(self) -> None:
        """Return when somebody called `stop`.

        Cancellation: safe at any point.
        """
        await self._stop.wait()

    async def wait_for(self, *states: State, timeout: float | None = None) -> State:
        """Return as soon as the session is in one of `states`.

        Raises:
            TimeoutError: if that takes longer than `timeout` seconds.
            SessionClosedError: if the session ends first.

        Cancellation: safe at any point.
        """
        with anyio.fail_after(timeout):
            return await self._lifecycle.wait_for(*states)

    def start_soon(
        self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, name: str | None = None
    ) -> None:
        """Run a coroutine function beside the block; it is cancelled when the session ends.

        If it fails, the block is cancelled and leaving it raises the failure.

        Raises:
            UsageError: if the session is not open.
        """
        if self._tasks is None:
            raise UsageError(f"{self!r} is not open")
        self._tasks.start_soon(function, *args, name=name)

    # Its peers

    def source(
        self, address: str | None = None, *, dialect: Dialect | None = None
    ) -> AbstractAsyncContextManager[SourceClient]:
        """A source: at `address`, or a healthy one that gives what this service takes.

        Raises, on entering:
            PeerNotFoundError: if discovery finds none within `discover_timeout`.
            StreamError: if there is none at the address.

        Cancellation: closes the channel and its streams.
        """
        return self._peers.open_source(address, dialect)

    def processor(
        self, address: str | None = None, *, dialect: Dialect | None = None
    ) -> AbstractAsyncContextManager[ProcessorClient]:
        """A processor: at `address`, or a healthy one that takes what this service gives.

        Raises, on entering:
            PeerNotFoundError: if discovery finds none within `discover_timeout`.
            StreamError: if there is none at the address.

        Cancellation: closes the channel and its streams.
        """
        return self._peers.open_processor(address, dialect)

    def sink(
        self, address: str | None = None, *, dialect: Dialect | None = None
    ) -> AbstractAsyncContextManager[SinkClient]:
        """A sink: at `address`, or a healthy one that takes what this service gives.

        Leaving the block flushes; leaving it by an exception abandons the open epoch.

        Raises, on entering:
            PeerNotFoundError: if discovery finds none within `discover_timeout`.
            StreamError: if there is none at the address.

        Raises, on leaving:
            StreamError: if the last epoch is not acknowledged.

        Cancellation: abandons the open epoch.
        """
        return self._peers.open_sink(address, dialect)

    async def list_services(self) -> list[ServiceStatus]:
        """All services that the plane knows.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        return await self._asked_plane().list_services()

    async def discover(
        self,
        service_type: ServiceType = ServiceType.UNSPECIFIED,
        *,
        event_types: Sequence[str] = (),
        metadata: Mapping[str, str] = NOTHING,
    ) -> list[ServiceStatus]:
        """Services of a type that take or give one of `event_types` and have all of `metadata`.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        """
        return await self._asked_plane().discover(service_type, event_types=event_types, metadata=metadata)

    # Inside

    async def _main(self, started: Started) -> None:
        """The whole session as one nest: what stands first falls last."""
        self._lifecycle.move(State.CONNECTING)
        try:
            async with AsyncExitStack() as stack:
                if self._component is not None:
                    await stack.enter_async_context(self._component.lifespan())
                    await self._listen(stack, self._component)
                await self._introduce(stack)
                async with anyio.create_task_group() as self._tasks:
                    if self._registration is not None:
                        self._tasks.start_soon(self._registration.keep_registered, name="flowctl_aio heartbeat")
                    self._peers.open()
                    started()
                    await self._stop.wait()
                    await self._drain()
                    self._tasks.cancel_scope.cancel()
        except Exception:
            self._interrupt()
            raise
        finally:
            self._tasks = None
            self._peers.abort(SessionClosedError(f"{self.info.component_id} has ended"))
            self._stop.set()
            self._lifecycle.move(State.CLOSED)

    async def _listen(self, stack: AsyncExitStack, component: Component) -> None:
        """Bind before registering: who is registered is dialled at once."""
        served = Served(
            component,
            self.info,
            self.config,
            health=self._pulse.read_health,
            metrics=self._pulse.read_component,
            on_fault=self._note_fault,
        )
        self._served = served
        self._pulse.traffic = lambda: served.traffic
        self._server = await stack.enter_async_context(
            open_server(
                services_of(served),
                self.config.bind,
                max_message_bytes=self.config.max_message_bytes,
                advertise_host=self.config.advertise_host,
                insecure=self.config.insecure,
            )
        )
        self.info = served.info = replace(self.info, endpoint=self._server.endpoint)

    async def _introduce(self, stack: AsyncExitStack) -> None:
        if not self.config.enabled:
            self._lifecycle.move(State.DEGRADED, "it runs without a control plane, as configured")
            return
        channel = await stack.enter_async_context(
            open_control_channel(self.config.endpoint, insecure=self.config.insecure)
        )
        self._plane = PlaneClient(channel, self.config)
        self._registration = Registration(self._plane, self.info, self.config, self._lifecycle, self._pulse.read)
        self._pulse.registration = self._registration
        stack.push_async_callback(self._farewell, self._registration)
        await self._registration.attempt_first()

    async def _farewell(self, registration: Registration) -> None:
        with anyio.CancelScope(shield=True):
            await registration.unregister()

    async def _drain(self) -> None:
        """Take no new stream, let those under way and the block come to their end, within the limit. Beats go on."""
        self._lifecycle.move(State.DRAINING)
        with anyio.move_on_after(self.config.drain_timeout):
            if self._served is not None and self._server is not None:
                self._served.stopping.set()
                await self._server.drain(self.config.drain_timeout)
            await self._left.wait()

    async def _close(self) -> None:
        self._stop.set()
        self._left.set()
        try:
            await self._owner.join()
        except asyncio.CancelledError:
            # Whoever cancels us while we drain wants the end now; the farewell is still said.
            self._owner.cancel()
            # Bounded, for a task of the session that closes its own session would wait for itself.
            with anyio.move_on_after(self.config.drain_timeout + self.config.unregister_timeout, shield=True):
                await self._owner.join()
            raise

    def _interrupt(self) -> None:
        """A background failure that nobody handles ends the block, as a task group would."""
        if self._host is not None and not self._host.done() and not self._left.is_set():
            self._is_interrupted = True
            self._host.cancel()

    def _note_fault(self, error: Exception) -> None:
        # One of ours says all there is to say; anything else needs its traceback.
        foreign = None if isinstance(error, FlowctlError) else error
        logger.error("%s: %s: %s", self.info.component_id, type(error).__name__, error, exc_info=foreign)
        if self.config.on_component_error == "stop":
            self._fault = error
            self.stop()

    async def _discover(self, service_type: ServiceType, event_types: Sequence[str]) -> list[ServiceStatus]:
        return await self.discover(service_type, event_types=event_types)

    def _asked_plane(self) -> PlaneClient:
        if self.state is State.CLOSED:
            raise SessionClosedError(f"{self.info.component_id} has ended")
        if self._plane is None:
            raise UsageError(f"{self!r} has no control plane to ask")
        return self._plane


def _configured(info: ServiceInfo, config: FlowctlConfig) -> ServiceInfo:
    """The configured id wins over the component's own."""
    info = replace(info, component_id=config.component_id or info.component_id)
    if not info.component_id:
        raise ConfigError("a service needs a component_id")
    return info
