"""Functions over the bookkeeping → methods of a server.

Here a request is checked, and here what the bookkeeping does not know becomes a status. A real flowctl
says UNKNOWN for all of it; the texts are the same, so clients that read them see no difference.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from google.protobuf.message import Message

from flowctl_aio.errors import NotRegisteredError
from flowctl_aio.plane.runs import RunExistsError, UnknownRunError
from flowctl_aio.plane.validation import check
from flowctl_aio.transport.server import UnaryMethod
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import ServiceInfo, ServiceType

M = TypeVar("M", bound=Message)
# Takes the full name of a method, such as `/flowctl.v1.ControlPlaneService/Heartbeat`, and its request, before anything
# is made of it. It may take its time, or raise `flowctl_aio.transport.status.Refused` to answer in the plane's place.
Gate: TypeAlias = Callable[[str, Message], Awaitable[None]]


def unary(handle: Callable[[M], Message], request: type[M], *required: str) -> UnaryMethod:
    """A method that answers a well-formed request with `handle`; the `required` fields must be given."""

    async def answer(message: M) -> Message:
        check(message, *required)
        try:
            return handle(message)
        except (NotRegisteredError, UnknownRunError) as error:
            raise Refused("NOT_FOUND", str(error)) from error
        except RunExistsError as error:
            raise Refused("ALREADY_EXISTS", str(error)) from error

    return UnaryMethod(answer, request)


def topics_of(info: ServiceInfo) -> list[str]:
    """The topics that a registration is told: each output type plus `.v1`, except for sinks.

    They exist nowhere, here or at a real flowctl, which says the same.
    """
    if info.service_type not in (ServiceType.SOURCE, ServiceType.PROCESSOR):
        return []
    return [f"{event_type}.v1" for event_type in info.output_event_types]


def connection_info(endpoint: str) -> dict[str, str]:
    """What a registration is told of the plane: where it is. A real flowctl says localhost:8080, wherever it is."""
    return {"control_plane_endpoint": endpoint}
