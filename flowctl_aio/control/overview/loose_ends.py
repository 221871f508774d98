"""Which inputs of services nobody gives, and which outputs nobody takes. Pure, and linear in what is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flowctl_aio.control.discovery.matching import ANY, gives, takes
from flowctl_aio.types import ServiceInfo, ServiceType


class LooseEnds:
    """Counts who gives and who takes what, so that each service can be asked for its partners at once."""

    def __init__(self, infos: Iterable[ServiceInfo]) -> None:
        self._given: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._named_givers = self._named_takers = 0
        # Those who name no event types, by what they are.
        self._open_givers: Counter[ServiceType] = Counter()
        self._open_takers: Counter[ServiceType] = Counter()
        for info in infos:
            outputs, inputs = set(info.output_event_types), set(info.input_event_types)
            self._given.update(outputs)
            self._taken.update(inputs)
            self._named_givers += bool(outputs)
            self._named_takers += bool(inputs)
            self._open_givers[info.service_type] += _is_open_giver(info)
            self._open_takers[info.service_type] += _is_open_taker(info)

    def inputs(self, info: ServiceInfo) -> tuple[str, ...]:
        """The event types that it takes and nobody else gives; `*` if it takes everything and there is nothing."""
        if not takes(info):
            return ()
        own, named = set(info.output_event_types), set(info.input_event_types)
        if named:
            if self._open_givers.total() - _is_open_giver(info):
                return ()
            return tuple(sorted(name for name in named if not self._given[name] - (name in own)))
        givers = self._named_givers - bool(own) + _fitting(self._open_givers, info, is_open=_is_open_giver(info))
        return () if givers else (ANY,)

    def outputs(self, info: ServiceInfo) -> tuple[str, ...]:
        """The event types that it gives and nobody else takes; `*` if it may give anything and there is nobody."""
        if not gives(info):
            return ()
        own, named = set(info.input_event_types), set(info.output_event_types)
        if named:
            if self._open_takers.total() - _is_open_taker(info):
                return ()
            return tuple(sorted(name for name in named if not self._taken[name] - (name in own)))
        takers = self._named_takers - bool(own) + _fitting(self._open_takers, info, is_open=_is_open_taker(info))
        return () if takers else (ANY,)

    def has_giver(self, info: ServiceInfo) -> bool:
        """Whether anything can come to it from another service."""
        return takes(info) and len(self.inputs(info)) < max(1, len(set(info.input_event_types)))

    def has_taker(self, info: ServiceInfo) -> bool:
        """Whether anything of it can go to another service."""
        return gives(info) and len(self.outputs(info)) < max(1, len(set(info.output_event_types)))


def _is_open_giver(info: ServiceInfo) -> bool:
    return gives(info) and not info.output_event_types


def _is_open_taker(info: ServiceInfo) -> bool:
    return takes(info) and not info.input_event_types


def _fitting(counts: Counter[ServiceType], info: ServiceInfo, *, is_open: bool) -> int:
    """Open partners of a service that is open too: of two processors neither is one."""
    if info.service_type is ServiceType.PROCESSOR:
        return counts.total() - counts[ServiceType.PROCESSOR]
    return counts.total() - is_open
