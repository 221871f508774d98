"""One registered life of a service: it serves, registers, beats, runs your coroutines, and takes everything back."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import anyio

from flowctl_aio.component import Component, Processor, Sink, Source
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.flow.control import FlowControl
from flowctl_aio.control.lifecycle import Changes, State
from flowctl_aio.errors import ConfigError, UsageError
from flowctl_aio.inquiry import Inquiry
from flowctl_aio.life import Life
from flowctl_aio.provider import Metrics
from flowctl_aio.service import INSTANCE_ID_KEY
from flowctl_aio.streams.epoch import EPOCH_BATCHES, EPOCH_BYTES, EPOCH_INTERVAL, EpochLimits
from flowctl_aio.streams.ingest import OnAck
from flowctl_aio.streams.processor import ProcessorClient
from flowctl_aio.streams.resume import Resume
from flowctl_aio.streams.sink import SinkClient
from flowctl_aio.streams.source import SourceClient
from flowctl_aio.transport.trunk import PoolStats
from flowctl_aio.types import Dialect, Health, ServiceInfo, ServiceType

logger = logging.getLogger(__name__)


class FlowctlSession(Inquiry):
    """`async with FlowctlSession(component) as session`: registered while the block runs.

    Entering binds the component's data plane, registers (at most `register_timeout`; a plane that is away
    leaves the session DEGRADED, and it registers when the plane comes), and starts the heartbeat.
    Leaving drains the streams, cancels what `start_soon` started, unregisters and closes, also when the block fails.
    The two may happen in different tasks. A session is used once; a new one may follow.

    Args:
        component: what to serve, a Source, Processor or Sink; or a ServiceInfo to be known without serving anything.
        config: settings; the default talks to `localhost:8080`.
        metrics: numbers to send with each heartbeat, beside the component's own: a MetricsProvider, a function
            or a coroutine function. A plain function runs in a thread; either gets `metrics_timeout`.

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
        info = _introduced(component.info() if isinstance(component, Component) else component, self.config)
        self._component = component if isinstance(component, Component) else None
        self._life = Life(self._component, info, self.config, metrics)
        self._cancelling = 0

    def __repr__(self) -> str:
        life = self._life
        facts = [self.service_id, self.state.value]
        if life.server is not None:
            facts.append(f"at {life.server.endpoint}")
        if life.plane is not None and life.plane.dialect is not None:
            facts.append(f"known to {life.plane.peer} in {life.plane.dialect.value}")
        if life.registration is not None and (since := life.registration.seconds_since_heard) is not None:
            facts.append(f"heard {since:.1f} s ago")
        return f"<FlowctlSession {' '.join(facts)}>"

    # What it is

    @property
    def state(self) -> State:
        """Where it stands towards its control plane; IDLE until it is entered."""
        return self._life.lifecycle.state

    @property
    def info(self) -> ServiceInfo:
        """What the session tells the plane of itself."""
        return self._life.info

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
        registration = self._life.registration
        return registration.service_id if registration is not None else self.info.component_id

    @property
    def endpoint(self) -> str:
        """Where the data plane can be dialled; empty if none is served."""
        return self._life.server.endpoint if self._life.server is not None else ""

    @property
    def health_endpoint(self) -> str:
        """Where the health pages are, `host:port`; empty if none are served."""
        return self._life.pages.endpoint if self._life.pages is not None else ""

    @property
    def dialect(self) -> Dialect | None:
        """What is spoken with the plane; None until it has answered."""
        return self._life.plane.dialect if self._life.plane is not None else None

    @property
    def health(self) -> Health | None:
        """What the heartbeats say instead of what is found; None leaves it to the component and the measurements."""
        return self._life.pulse.health

    @health.setter
    def health(self, health: Health | None) -> None:
        if not isinstance(health, Health | None):
            raise UsageError(f"the health of a session is a Health or None, not {health!r}")
        self._life.pulse.health = health

    def read_health(self) -> Health:
        """What the next heartbeat would say of the service's health."""
        return self._life.pulse.read_health()

    @property
    def flow(self) -> FlowControl:
        """What is in flight here, and the signals to those who should slow down."""
        return self._life.flow

    def metrics(self) -> dict[str, float]:
        """What the next heartbeat would say; of the provider's numbers the last ones."""
        return self._life.pulse.read_metrics()

    def connections(self) -> Mapping[str, PoolStats]:
        """The connections to peers, by endpoint."""
        return self._life.peers.connections()

    # Its life

    async def __aenter__(self) -> Self:
        await self._life.owner.start()
        # Only now is there a block to cancel: a failure before it comes out of entering itself.
        self._life.host = host = asyncio.current_task()
        self._cancelling = host.cancelling() if host is not None else 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        life = self._life
        try:
            await life.close()
        except asyncio.CancelledError:
            if not life.is_interrupted:
                raise
        if isinstance(error, asyncio.CancelledError) and not life.is_interrupted:
            return
        host = life.host
        # The cancellation of the block was ours, and the failure behind it is what the caller hears of,
        # unless somebody else cancelled it as well.
        if life.is_interrupted and host is asyncio.current_task() and host and host.uncancel() > self._cancelling:
            return
        fault = life.owner.error or life.fault
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
        await self._life.close()
        if self._life.owner.error is not None:
            raise self._life.owner.error

    def stop(self) -> None:
        """Ask the session to end: it drains, and `wait_stopped` returns at once. May be called twice."""
        self._life.stop.set()

    async def drain(self) -> None:
        """Take no new streams, and return when those under way have ended, within `drain_timeout`.

        The service stays registered, as STOPPING, until the block is left. May be called twice.

        Raises:
            UsageError: if the session was never entered.

        Cancellation: the draining goes on.
        """
        if self.state is State.IDLE:
            raise UsageError(f"{self!r} is not open")
        self.stop()
        await self._life.drained.wait()

    async def wait_stopped(self) -> None:
        """Return when somebody called `stop`.

        Cancellation: safe at any point.
        """
        await self._life.stop.wait()

    async def wait_for(self, *states: State, timeout: float | None = None) -> State:
        """Return as soon as the session is in one of `states`.

        Raises:
            TimeoutError: if that takes longer than `timeout` seconds.
            SessionClosedError: if the session ends first.

        Cancellation: safe at any point.
        """
        with anyio.fail_after(timeout):
            return await self._life.lifecycle.wait_for(*states)

    def changes(self) -> Changes:
        """Each change of state from now on, in order: `async for change in session.changes()`. Ends with CLOSED."""
        return self._life.lifecycle.changes()

    def start_soon(
        self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, name: str | None = None
    ) -> None:
        """Run a coroutine function beside the block; it is cancelled when the session ends.

        If it fails, the block is cancelled and leaving it raises the failure.

        Raises:
            UsageError: if the session is not open, or `function` is no function, such as a coroutine that was made.
        """
        if self._life.tasks is None:
            raise UsageError(f"{self!r} is not open")
        if not callable(function):
            raise UsageError(f"start_soon takes a coroutine function and its arguments, not {function!r}")
        self._life.tasks.start_soon(function, *args, name=name)

    # Its peers

    def source(
        self, address: str | Sequence[str] | None = None, *, dialect: Dialect | None = None, resume: Resume = None
    ) -> AbstractAsyncContextManager[SourceClient]:
        """A source: at `address`, or a healthy one that gives what this service takes.

        Of several addresses, or several that discovery finds, it is the one with the least in flight that answers.
        When it fails, the next stream goes to another one.

        Args:
            resume: its streams start right behind this: a cursor, the checkpoint that keeps one, or a resume token.

        Raises, on entering:
            Exception: whatever the checkpoint raises.
            PeerNotFoundError: if discovery finds none within `discover_timeout`.
            StreamError: if there is none at the address, or at any of them.

        Cancellation: closes the channel and its streams.
        """
        return self._life.peers.open_source(address, dialect, resume)

    def processor(
        self, address: str | Sequence[str] | None = None, *, dialect: Dialect | None = None
    ) -> AbstractAsyncContextManager[ProcessorClient]:
        """A processor: at `address`, or a healthy one that takes what this service gives.

        Of several addresses, or several that discovery finds, it is the one with the least in flight that answers.
        When it fails, the next stream goes to another one.

        Raises, on entering:
            PeerNotFoundError: if discovery finds none within `discover_timeout`.
            StreamError: if there is none at the address, or at any of them.

        Cancellation: closes the channel and its streams.
        """
        return self._life.peers.open_processor(address, dialect)

    def sink(
        self,
        address: str | Sequence[str] | None = None,
        *,
        dialect: Dialect | None = None,
        epoch_batches: int | None = EPOCH_BATCHES,
        epoch_bytes: int | None = EPOCH_BYTES,
        epoch_interval: float | None = EPOCH_INTERVAL,
        whole_ledgers: bool = False,
        on_ack: OnAck | None = None,
    ) -> AbstractAsyncContextManager[SinkClient]:
        """A sink: at `address`, or a healthy one that takes what this service gives.

        Leaving the block flushes; leaving it by an exception abandons the open epoch.

        Of several addresses, or several that discovery finds, it is the one with the least in flight that answers.
        When it fails, the next epoch goes to another one.

        Args:
            epoch_batches, epoch_bytes, epoch_interval: an epoch ends by itself after so many batches, bytes or
                seconds, whichever comes first, and never inside a ledger; with None for all it ends with `flush` alone.
            whole_ledgers: wait for a later ledger or a `flush` before an epoch of events ends; otherwise an
                `epoch_interval` without a batch is taken for the end of the ledger.
            on_ack: awaited with each acknowledgement before the next epoch goes out: the place to save a checkpoint.

        Raises:
            ConfigError: if a limit is not above 0.

        Raises, on entering:
            PeerNotFoundError: if discovery finds none within `discover_timeout`.
            StreamError: if there is none at the address, or at any of them.

        Raises, on leaving:
            StreamError: if an epoch is not acknowledged.

        Cancellation: abandons the open epoch.
        """
        limits = EpochLimits(
            batches=epoch_batches, bytes=epoch_bytes, interval=epoch_interval, whole_ledgers=whole_ledgers
        )
        return self._life.peers.open_sink(address, dialect, limits, on_ack)


def _introduced(info: ServiceInfo, config: FlowctlConfig) -> ServiceInfo:
    """The configured id wins over the component's own, and each session is an instance that can be told from others."""
    component_id = config.component_id or info.component_id
    if not component_id:
        raise ConfigError("a service needs a component_id")
    if not isinstance(info.service_type, ServiceType):
        raise UsageError(f"the service_type of {component_id} is a ServiceType, not {info.service_type!r}")
    for types in (info.input_event_types, info.output_event_types):
        if isinstance(types, str):
            raise ConfigError(f"the event types of {component_id} are a list, not {types!r}")
    instance = f"{os.getpid()}@{socket.gethostname()}-{secrets.token_hex(4)}"
    return replace(info, component_id=component_id, metadata={INSTANCE_ID_KEY: instance, **info.metadata})
