"""The client of a control plane: one method a question, whichever dialect is spoken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

from flowctl_aio import _wire as wire
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control import messages
from flowctl_aio.errors import (
    ControlError,
    DeadlineExceededError,
    NotRegisteredError,
    PeerUnavailableError,
    PlaneUnavailableError,
    RegistrationError,
    StreamCancelledError,
    StreamError,
    UnimplementedError,
)
from flowctl_aio.observe.calls import client_call
from flowctl_aio.transport.call import call_unary
from flowctl_aio.transport.channel import Connection
from flowctl_aio.transport.status import is_not_found, is_unimplemented
from flowctl_aio.types import Dialect, Health, ServiceInfo, ServiceStatus

T = TypeVar("T")
CLASSIC = "/flowctl.ControlPlane"
V1 = "/flowctl.v1.ControlPlaneService"
# Questions in a row that nobody answers, after which the connection is dialled anew.
MOST_UNANSWERED = 2


class PlaneClient:
    """Talks to the control plane at the other end of `channel`.

    Attributes:
        dialect: what is spoken; None until the first registration has found out. Each later one finds out anew,
            for another plane may stand there by then.
    """

    def __init__(self, channel: Connection, config: FlowctlConfig) -> None:
        self._channel, self._config = channel, config
        self._wanted = None if config.dialect == "auto" else Dialect(config.dialect)
        self.dialect = self._wanted
        self._unanswered = 0

    @property
    def peer(self) -> str:
        """Where the plane is."""
        return self._channel.peer

    async def register(self, info: ServiceInfo, *, timeout: float, patient: bool = False) -> str:
        """Register, and return the service id that the plane assigned.

        Args:
            patient: wait for a plane that is away, as long as `timeout` allows, instead of failing at once.

        Raises:
            PlaneUnavailableError: if it does not answer, also not in time.
            RegistrationError: if it answers and refuses.

        Cancellation: the plane may or may not have the entry.
        Source: `RegisterComponent` (v1), `Register` (classic).
        """
        try:
            return await self._either(
                lambda: self._register_v1(info, timeout, patient),
                lambda: self._register_classic(info, timeout, patient),
            )
        except ControlError as error:
            if isinstance(error, PlaneUnavailableError):
                raise
            raise RegistrationError(f"{self._channel.peer} refused {info.component_id}: {error}") from error

    async def heartbeat(
        self, service_id: str, health: Health, metrics: Mapping[str, float], *, patient: bool = False
    ) -> None:
        """Send one beat.

        Args:
            patient: wait for a plane that is away, as long as the limit allows, instead of failing at once.

        Raises:
            NotRegisteredError: if the plane does not know `service_id`.
            PlaneUnavailableError: if it does not answer, also not in time.
            ControlError: if it answers anything else.

        Cancellation: the plane may or may not have heard it.
        Source: `Heartbeat` (both dialects); only v1 carries the health.
        """
        method, beat = self.beat_to_wire(service_id, health, metrics)
        await self.ask(method, beat, wire.Empty, self._config.heartbeat_timeout, patient=patient)

    def beat_to_wire(self, service_id: str, health: Health, metrics: Mapping[str, float]) -> tuple[str, Any]:
        """The method and the message of one beat; the answer is an `Empty`."""
        if self.dialect is Dialect.CLASSIC:
            beat = wire.ServiceHeartbeat(service_id=service_id, metrics=messages.metrics_to_classic(metrics))
            beat.timestamp.FromDatetime(datetime.now(UTC))
            return f"{CLASSIC}/Heartbeat", beat
        return f"{V1}/Heartbeat", wire.v1.HeartbeatRequest(
            service_id=service_id,
            status=wire.v1.HealthStatus.ValueType(health),
            metrics=messages.metrics_to_v1(metrics),
        )

    async def unregister(self, service_id: str) -> None:
        """Take the entry back. Classic has no such call, so v1 is asked whatever else is spoken.

        Raises:
            ControlError: if the plane does not answer; a plane without the method is no error.

        Cancellation: the plane may or may not have the entry still.
        Source: `UnregisterComponent` (v1).
        """
        request = wire.v1.UnregisterRequest(service_id=service_id)
        try:
            await self.ask(f"{V1}/UnregisterComponent", request, wire.Empty, self._config.unregister_timeout)
        except UnimplementedError:
            return

    async def get_service_status(self, service_id: str) -> ServiceStatus:
        """One service, as the plane knows it.

        Raises:
            NotRegisteredError: if the plane does not know it.
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        Source: `GetComponentStatus` (v1); `GetServiceStatus` (classic), in whose place a real plane has the list alone.
        """
        timeout = self._config.query_timeout

        async def v1() -> ServiceStatus:
            request = wire.v1.ComponentStatusRequest(service_id=service_id)
            answer = await self.ask(f"{V1}/GetComponentStatus", request, wire.v1.ComponentStatusResponse, timeout)
            return messages.status_from_v1(answer)

        async def classic() -> ServiceStatus:
            request = wire.ServiceInfo(service_id=service_id)
            try:
                answer = await self.ask(f"{CLASSIC}/GetServiceStatus", request, wire.ServiceStatus, timeout)
            except UnimplementedError:
                return await self._find_in_list(service_id)
            return messages.status_from_classic(answer)

        return await self._richer(v1, classic)

    async def list_services(self) -> list[ServiceStatus]:
        """All services that the plane knows, healthy or not.

        Raises:
            ControlError: if the plane does not answer.

        Cancellation: safe at any point.
        Source: `ListComponents` (v1), `ListServices` (classic, which tells neither endpoints nor event types).
        """
        timeout = self._config.query_timeout

        async def v1() -> list[ServiceStatus]:
            request = wire.v1.ListComponentsRequest(include_unhealthy=True)
            answer = await self.ask(f"{V1}/ListComponents", request, wire.v1.ListComponentsResponse, timeout)
            return [messages.status_from_v1(component) for component in answer.components]

        async def classic() -> list[ServiceStatus]:
            answer = await self.ask(f"{CLASSIC}/ListServices", wire.Empty(), wire.ServiceList, timeout)
            return [messages.status_from_classic(service) for service in answer.services]

        return await self._richer(v1, classic)

    async def _find_in_list(self, service_id: str) -> ServiceStatus:
        """One service of a plane that tells of all or none."""
        for status in await self.list_services():
            if status.service_id == service_id:
                return status
        raise NotRegisteredError(f"service {service_id} not found")

    async def _richer(self, v1: Callable[[], Awaitable[T]], classic: Callable[[], Awaitable[T]]) -> T:
        """Whatever the dialect of the registration, v1 has the better answer where it is there at all."""
        try:
            return await v1()
        except UnimplementedError:
            return await classic()

    async def _either(self, v1: Callable[[], Awaitable[T]], classic: Callable[[], Awaitable[T]]) -> T:
        """Ask in the dialect that is wanted; if none is, try v1 first, and speak what worked from now on."""
        if self._wanted is not Dialect.CLASSIC:
            try:
                answer = await v1()
            except UnimplementedError:
                if self._wanted is Dialect.V1:
                    raise
            else:
                self.dialect = Dialect.V1
                return answer
        answer = await classic()
        self.dialect = Dialect.CLASSIC
        return answer

    async def _register_v1(self, info: ServiceInfo, timeout: float, patient: bool) -> str:
        # Both ids are the same, and `component` is always set: a real plane dies without it.
        request = wire.v1.RegisterRequest(component=messages.info_to_v1(info), component_id=info.component_id)
        answer = await self.ask(f"{V1}/RegisterComponent", request, wire.v1.RegisterResponse, timeout, patient=patient)
        return answer.service_id or info.component_id

    async def _register_classic(self, info: ServiceInfo, timeout: float, patient: bool) -> str:
        request = messages.info_to_classic(info, info.component_id)
        answer = await self.ask(f"{CLASSIC}/Register", request, wire.RegistrationAck, timeout, patient=patient)
        return answer.service_id or info.component_id

    async def ask(self, method: str, request: Any, answer: type[T], timeout: float, *, patient: bool = False) -> T:
        """One question, by the full name of its method.

        Raises:
            ControlError: as its kinds say.

        Cancellation: whether the plane acted on it is unknown.
        """
        try:
            with client_call(method, self._channel.peer) as span:
                answered = await call_unary(
                    self._channel,
                    method,
                    request,
                    answer,
                    timeout=timeout,
                    metadata=span.metadata,
                    wait_for_ready=patient,
                )
        except DeadlineExceededError as error:
            self._unanswered += 1
            if self._unanswered >= MOST_UNANSWERED:
                self._unanswered = 0
                self._channel.redial()
            raise PlaneUnavailableError(f"did not answer within {timeout:g} s: {error}") from error
        except StreamError as error:
            self._unanswered = 0
            _raise(error, method)
        self._unanswered = 0
        return answered


def refresh_beat(beat: Any, health: Health, metrics: Mapping[str, float]) -> None:
    """Give a beat that `beat_to_wire` made another health and some newer numbers."""
    if isinstance(beat, wire.v1.HeartbeatRequest):
        beat.status = wire.v1.HealthStatus.ValueType(health)
        beat.metrics.update(messages.metrics_to_v1(metrics))
    else:
        beat.metrics.update(messages.metrics_to_classic(metrics))


def _raise(error: StreamError, method: str) -> NoReturn:
    if isinstance(error, PeerUnavailableError | StreamCancelledError):
        raise PlaneUnavailableError(str(error)) from error
    if is_unimplemented(error):
        raise UnimplementedError(f"{error.peer} has no {method}") from error
    if is_not_found(error):
        raise NotRegisteredError(error.details or str(error)) from error
    raise ControlError(str(error)) from error
