"""Functions over the bookkeeping → methods of a server.

Here a request is checked, and here what the bookkeeping does not know becomes a status. A real flowctl
says UNKNOWN for all of it; the texts are the same, so clients that read them see no difference.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from anyio.lowlevel import checkpoint
from google.protobuf.message import Message

from flowctl_aio.errors import ControlError, NotRegisteredError
from flowctl_aio.plane.chunks import UnknownChunkError
from flowctl_aio.plane.entry import Entry
from flowctl_aio.plane.quirks import IDEAL, Rules
from flowctl_aio.plane.registry import EmptyIdError
from flowctl_aio.plane.runs import RunExistsError, UnknownRunError
from flowctl_aio.plane.validation import check, is_given
from flowctl_aio.transport.server import UnaryMethod
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import ServiceInfo, ServiceType

M = TypeVar("M", bound=Message)
# Entries that are made messages of without a pause: about a millisecond's work.
SLICE = 200
# Takes the full name of a method, such as `/flowctl.v1.ControlPlaneService/Heartbeat`, and its request, before anything
# is made of it. It may take its time, or raise `flowctl_aio.transport.status.Refused` to answer in the plane's place.
Gate: TypeAlias = Callable[[str, Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Desk:
    """What both dialects of a plane share when they answer.

    Attributes:
        rules: how the plane behaves where planes differ.
        saved: returns when every change so far is in the plane's file; None if it has none.
    """

    rules: Rules = IDEAL
    saved: Callable[[], Awaitable[None]] | None = None

    def asking(
        self, handle: Callable[[M], Message | Awaitable[Message]], request: type[M], *required: str
    ) -> UnaryMethod:
        """A method that answers a well-formed request with `handle`; the `required` fields must be given."""
        return self._method(handle, request, required, None)

    def changing(
        self, handle: Callable[[M], Message | Awaitable[Message]], request: type[M], *required: str
    ) -> UnaryMethod:
        """As `asking`, for what changes something: it is answered when that is in the plane's file."""
        return self._method(handle, request, required, self.saved)

    def _method(
        self,
        handle: Callable[[M], Message | Awaitable[Message]],
        request: type[M],
        required: Sequence[str],
        saved: Callable[[], Awaitable[None]] | None,
    ) -> UnaryMethod:
        rules = self.rules
        refused_as = None if rules.absent is None else rules.absent.get(request.DESCRIPTOR.name)
        by_name = required if rules.absent is None else ()

        async def answer(message: M) -> Message:
            if refused_as is not None and not is_given(message, required[0]):
                raise Refused(*refused_as)
            try:
                check(message, *by_name)
                answered = handle(message)
                if not isinstance(answered, Message):
                    answered = await answered
                if saved is not None:
                    await saved()
            except (Refused, ControlError) as error:
                raise _refusal(rules, error) from error
            return answered

        return UnaryMethod(answer, request)


def _refusal(rules: Rules, error: Refused | ControlError) -> Refused:
    if isinstance(error, Refused):
        return rules.refusal(error.code, error.details)
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "UNAVAILABLE")
    return rules.refusal(code, str(error))


# What else goes wrong is a change that cannot be written.
_CODES: Mapping[type[ControlError], str] = {
    NotRegisteredError: "NOT_FOUND",
    UnknownRunError: "NOT_FOUND",
    UnknownChunkError: "NOT_FOUND",
    RunExistsError: "ALREADY_EXISTS",
    EmptyIdError: "INVALID_ARGUMENT",
}


async def in_slices(entries: Sequence[Entry], convert: Callable[[Entry], M]) -> AsyncIterator[list[M]]:
    """Messages for many entries, a slice at a time, so that other calls are answered in between."""
    for start in range(0, len(entries), SLICE):
        yield [convert(entry) for entry in entries[start : start + SLICE]]
        await checkpoint()


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
