"""Register, beat, and register again whenever the plane has forgotten: the loop that keeps a service known."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

import anyio

from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.clock import since_boot
from flowctl_aio.control.lifecycle import Lifecycle, State
from flowctl_aio.control.ownership import Ownership
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.control.side_channel import side_channel
from flowctl_aio.control.standby import Standby
from flowctl_aio.errors import (
    ControlError,
    NotRegisteredError,
    PlaneUnavailableError,
    RegistrationError,
    UnimplementedError,
)
from flowctl_aio.observe.repeats import Repeats
from flowctl_aio.types import Dialect, Health, ServiceInfo, ServiceType

logger = logging.getLogger(__name__)
# Health and metrics for the next beat. Gathering them may take a while, and must not raise.
Pulse: TypeAlias = Callable[[], Awaitable[tuple[Health, Mapping[str, float]]]]

# With the second that a connection takes to be tried again, a plane is greeted two seconds after its return.
BACKOFF_FIRST, BACKOFF_MOST = 0.25, 1.0
# Which part of a lease may pass in silence. The plane counts from when a beat came in, and looks when it looks.
LEASE_MARGIN = 0.8
JITTER = 0.1  # of an interval, so that services started together do not beat together


def simulated_id(service_type: ServiceType) -> str:
    """What a service that could not register is called in the meantime. Shown here, never sent."""
    return f"sim-SERVICE_TYPE_{service_type.name}-{datetime.now(UTC):%Y%m%d%H%M%S}-{secrets.token_hex(4)}"


class Registration:
    """One service's entry at the control plane.

    Args:
        pulse: the health and metrics to send with the next beat.
        standby: beats in our place while the loop is blocked; None leaves it to the loop alone.
        registered_anew: told why, after each registration but the first: `outage`, `forgotten`, `rejected` or `lapsed`.

    Attributes:
        service_id: what the plane calls the service; a simulated id until it has answered.
        registrations, beats, missed_beats, rejected_beats: counts since the start, of registrations that the plane
            accepted, of beats that were due, of those among them that it did not accept, and of those among these that
            it answered.
    """

    def __init__(
        self,
        plane: PlaneClient,
        info: ServiceInfo,
        config: FlowctlConfig,
        lifecycle: Lifecycle,
        pulse: Pulse,
        standby: Standby | None = None,
        registered_anew: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._plane, self._info, self._config = plane, info, config
        self._lifecycle, self._pulse, self._standby = lifecycle, pulse, standby
        # What a classic plane tells nobody, though it was registered with it.
        self._side_channel = side_channel(info)
        self._registered_anew = registered_anew
        self._ownership = Ownership(plane, info)
        self._repeats = Repeats(logger, fields={"component_id": info.component_id})
        self.service_id = simulated_id(info.service_type)
        self.is_registered = False
        self._may_be_known = False
        self.registrations = self.beats = self.missed_beats = self.rejected_beats = 0
        self._failures = self._rejections = 0
        self._heard_at = 0.0

    @property
    def id_at_plane(self) -> str:
        """What the service is called towards the plane: the id that it gave, or the one that is proposed to it."""
        return self.service_id if self.registrations else self._info.component_id

    @property
    def seconds_since_heard(self) -> float | None:
        """Since the plane accepted a registration or a beat; None before the first."""
        heard_at = max(self._heard_at, self._standby.heard_at if self._standby is not None else 0.0)
        return since_boot() - heard_at if heard_at else None

    @property
    def standby_beats(self) -> int | None:
        """Beats that the thread has sent; None where there is none."""
        return self._standby.beats if self._standby is not None else None

    @property
    def foreign_instances(self) -> int:
        """How many other processes were seen under this service's id."""
        return self._ownership.foreign

    async def attempt_first(self) -> None:
        """Register once. A plane that is away degrades the session; one that refuses ends it.

        Raises:
            RegistrationError: if the plane refuses.

        Cancellation: the plane may or may not have the entry.
        """
        try:
            await self._register()
        except PlaneUnavailableError as error:
            self._failures += 1
            self._degrade(error)

    async def keep_registered(self) -> None:
        """Beat until cancelled; first at once, then on a grid. Whatever the plane does, this goes on.

        Cancellation: ends it; the entry stays until `unregister`.
        """
        interval = self._config.heartbeat_interval
        due = anyio.current_time()
        while True:
            were_away, began = self._failures > 0, anyio.current_time()
            if await self._step():
                now = anyio.current_time()
                if were_away:
                    # All that were waiting for the plane were heard in the same moment: spread them again.
                    due = now - interval * random.uniform(0, 0.5)
                # The grid does not drift; all beats that were due when this one began are this one.
                due = due + interval if due + interval > began else began + interval
                if self._standby is not None and self.is_registered:
                    self._standby.expect(max(due - now, 0.0))
                await anyio.sleep_until(due - random.uniform(0, JITTER * interval))
            else:
                most = min(BACKOFF_MOST, interval)
                wait = min(most, BACKOFF_FIRST * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)
                # An attempt that waited for the plane was a pause already.
                waited = anyio.current_time() - began
                await anyio.sleep(max(wait - waited, random.uniform(0, min(BACKOFF_FIRST, wait))))

    async def unregister(self) -> None:
        """Take the entry back, within the limit that the settings allow. Failing is a log line: the lease runs out.

        Cancellation: the plane may or may not have the entry still.
        """
        if not self._may_be_known:
            return
        self.is_registered = self._may_be_known = False
        if self._standby is not None:
            self._standby.rest()
        try:
            with anyio.fail_after(self._config.unregister_timeout):
                await self._plane.unregister(self.id_at_plane)
        except (ControlError, TimeoutError) as error:
            # Whoever never registered most likely has nothing to take back.
            level = logging.WARNING if self.registrations else logging.DEBUG
            logger.log(level, "%s could not unregister: %s", self.service_id, error)

    async def _step(self) -> bool:
        """Register if need be, and beat once; tell whether the plane has answered, be it with a refusal."""
        self.beats += 1  # before it is written, so that the beat counts itself
        try:
            if not self.is_registered:
                await self._register("rejected" if self._rejections else "outage")
            elif self._is_lapsed():
                await self._register("lapsed")
            try:
                if await self._beat():
                    await self._register("lapsed")
            except (NotRegisteredError, UnimplementedError) as error:
                # It restarted, somebody removed the entry, or a plane of the other dialect stands in its place:
                # register again at once, and beat.
                logger.warning("%s is unknown to the plane, and registers again: %s", self.service_id, error)
                self.is_registered = False
                await self._register("forgotten")
                await self._beat()
        except PlaneUnavailableError as error:
            self.missed_beats += 1
            self._failures += 1
            self._degrade(error)
            return False
        except ControlError as error:
            self._note_rejection(error)
            return True
        self._note_heard()
        await self._ownership.check(self.service_id)
        return True

    def _is_lapsed(self) -> bool:
        """Whether a real plane may hold us for unhealthy, which a classic beat, having no health, cannot cure.

        A v1 beat always names the health, and so cures it.
        """
        since = self.seconds_since_heard
        return (
            self._plane.dialect is Dialect.CLASSIC
            and since is not None
            and since > LEASE_MARGIN * self._config.lease_timeout
        )

    async def _register(self, reason: str = "") -> None:
        # Whatever becomes of this, the plane may have the entry, also if no answer comes: the farewell takes it back.
        was_known, self._may_be_known = self._may_be_known, True
        try:
            service_id = await self._plane.register(
                self._info, timeout=self._config.register_timeout, patient=self._failures > 0
            )
        except RegistrationError:
            self._may_be_known = was_known
            raise
        if self.registrations and service_id != self.service_id:
            logger.info("%s is called %s by the plane from now on", self.service_id, service_id)
        self.service_id, self.is_registered = service_id, True
        self.registrations += 1
        if self.registrations > 1:
            self._registered_anew(reason)
        self._heard_at = since_boot()
        if self._lifecycle.state is State.CONNECTING:
            self._lifecycle.move(State.REGISTERED, f"as {service_id}")

    async def _beat(self) -> bool:
        """Beat; tell whether the lease may have run out before the plane took it, if it was long under way."""
        health, metrics = await self._pulse()
        if self._plane.dialect is Dialect.CLASSIC:
            metrics = {**metrics, **self._side_channel}
        # After a failure a beat waits for the plane: it then goes out in the moment that the plane is back.
        patient, sent_at = self._failures > 0, since_boot()
        if self._standby is not None:
            self._standby.load(*self._plane.beat_to_wire(self.service_id, health, metrics))
            self._standby.expect(self._config.heartbeat_interval)
        await self._plane.heartbeat(self.service_id, health, metrics, patient=patient)
        is_late = self._is_lapsed()
        self._heard_at = sent_at
        return is_late

    def _note_heard(self) -> None:
        self._failures = self._rejections = 0
        self._repeats.recovered("plane", "%s is heard by the plane again", self.service_id)
        if self._lifecycle.state is State.DEGRADED:
            self._lifecycle.move(State.REGISTERED, f"as {self.service_id}")

    def _note_rejection(self, error: ControlError) -> None:
        """A plane that answers is not away. But one that refuses beat after beat does not know us in truth."""
        self.missed_beats += 1
        self.rejected_beats += 1
        self._rejections += 1
        self._failures = 0
        if isinstance(error, RegistrationError) or self._rejections >= self._config.max_rejected_beats:
            self.is_registered = False  # the next step registers again
            self._degrade(error)

    def _degrade(self, error: ControlError) -> None:
        if self._standby is not None:
            self._standby.rest()
        if self._lifecycle.state in (State.CONNECTING, State.REGISTERED):
            self._lifecycle.move(State.DEGRADED, str(error), level=logging.WARNING)
        else:
            self._repeats.failed("plane", "%s is not heard by the plane: %s", self._info.component_id, error)
