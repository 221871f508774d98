"""Register, beat, and register again whenever the plane has forgotten: the loop that keeps a service known."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import anyio

from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.lifecycle import Lifecycle, State
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.errors import ControlError, NotRegisteredError, PlaneUnavailableError
from flowctl_aio.types import Dialect, Health, ServiceInfo, ServiceType

logger = logging.getLogger(__name__)

BACKOFF_FIRST, BACKOFF_MOST = 0.25, 5.0
JITTER = 0.1  # of an interval, so that services started together do not beat together


def simulated_id(service_type: ServiceType) -> str:
    """What a service that could not register is called in the meantime. Shown here, never sent."""
    return f"sim-SERVICE_TYPE_{service_type.name}-{datetime.now(UTC):%Y%m%d%H%M%S}-{secrets.token_hex(4)}"


class Registration:
    """One service's entry at the control plane.

    Args:
        pulse: the health and metrics to send with the next beat.

    Attributes:
        service_id: what the plane calls the service; a simulated id until it has answered.
        registrations, beats, missed_beats: counts since the start; a missed beat was sent, or tried to be.
    """

    def __init__(
        self,
        plane: PlaneClient,
        info: ServiceInfo,
        config: FlowctlConfig,
        lifecycle: Lifecycle,
        pulse: Callable[[], tuple[Health, Mapping[str, float]]],
    ) -> None:
        self._plane, self._info, self._config = plane, info, config
        self._lifecycle, self._pulse = lifecycle, pulse
        self.service_id = simulated_id(info.service_type)
        self.is_registered = False
        self.registrations = self.beats = self.missed_beats = 0
        self._failures = 0

    async def attempt_first(self) -> None:
        """Register once. A plane that is away degrades the session; one that refuses ends it.

        Raises:
            RegistrationError: if the plane refuses.

        Cancellation: the plane may or may not have the entry.
        """
        try:
            await self._register()
        except PlaneUnavailableError as error:
            self._degrade(error)

    async def keep_registered(self) -> None:
        """Beat until cancelled; first at once, then on a grid. Whatever the plane does, this goes on.

        Cancellation: ends it; the entry stays until `unregister`.
        """
        due = anyio.current_time()
        while True:
            interval = self._config.heartbeat_interval
            if await self._step():
                now = anyio.current_time()
                # The grid does not drift; beats that are due already are one beat.
                due = max(due + interval, now)
                await anyio.sleep_until(due - random.uniform(0, JITTER * interval))
            else:
                most = min(BACKOFF_MOST, interval)
                wait = min(most, BACKOFF_FIRST * 2 ** min(self._failures, 10))
                await anyio.sleep(wait * random.uniform(0.5, 1.0))

    async def unregister(self) -> None:
        """Take the entry back, within the limit that the settings allow. Failing is a log line: the lease runs out.

        Cancellation: the plane may or may not have the entry still.
        """
        if not self.is_registered:
            return
        self.is_registered = False
        try:
            with anyio.fail_after(self._config.unregister_timeout):
                await self._plane.unregister(self.service_id)
        except (ControlError, TimeoutError) as error:
            logger.warning("%s could not unregister: %s", self.service_id, error)

    async def _step(self) -> bool:
        """Register if need be, and beat once; tell whether the plane has heard us."""
        try:
            # After a gap a real plane may hold us for unhealthy, which a classic beat, having no health, cannot cure.
            if not self.is_registered or (self._failures and self._plane.dialect is Dialect.CLASSIC):
                await self._register()
            try:
                await self._beat()
            except NotRegisteredError:
                # It restarted, or somebody removed the entry: register again at once, and beat.
                logger.warning("%s is unknown to the plane; registering again", self.service_id)
                self.is_registered = False
                await self._register()
                await self._beat()
        except ControlError as error:
            self.missed_beats += 1
            self._degrade(error)
            return False
        self._failures = 0
        if self._lifecycle.state is State.DEGRADED:
            self._lifecycle.move(State.REGISTERED)
        return True

    async def _register(self) -> None:
        try:
            service_id = await self._plane.register(
                self._info, timeout=self._config.register_timeout, patient=self._failures > 0
            )
        except anyio.get_cancelled_exc_class():
            # The plane may have the entry, under the id that we proposed: the farewell takes it back.
            if not self.is_registered:
                self.service_id, self.is_registered = self._info.component_id, True
            raise
        self.service_id, self.is_registered = service_id, True
        self.registrations += 1
        if self._lifecycle.state in (State.CONNECTING, State.DEGRADED):
            self._lifecycle.move(State.REGISTERED, f"as {service_id}")

    async def _beat(self) -> None:
        self.beats += 1  # before it is written, so that the beat counts itself
        health, metrics = self._pulse()
        # After a failure a beat waits for the plane: it then goes out in the moment that the plane is back.
        await self._plane.heartbeat(self.service_id, health, metrics, patient=self._failures > 0)

    def _degrade(self, error: ControlError) -> None:
        self._failures += 1
        if self._lifecycle.state in (State.CONNECTING, State.REGISTERED):
            self._lifecycle.move(State.DEGRADED, str(error), level=logging.WARNING)
