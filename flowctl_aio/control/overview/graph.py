"""Who can feed whom, as a graph that stays small: services are linked through the event types, not with each other.

A thousand givers and a thousand takers of one type are two thousand links here, not a million. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from flowctl_aio.control.discovery.matching import gives, takes
from flowctl_aio.types import ServiceInfo, ServiceType

N = TypeVar("N", bound=Hashable)

# A service (kind "service"), an event type ("type"), or one of the meeting points of those who name none.
Node: TypeAlias = tuple[str, str]
TAKES_ALL: Node = ("open", "takes all")
MAY_GIVE: Node = ("open", "may give")
MAY_GIVE_TO_SINKS: Node = ("open", "may give to sinks")


@dataclass(frozen=True, slots=True)
class FlowGraph:
    """The links that `matching.link` allows, through event types.

    Attributes:
        after, before: the neighbours of each node.
    """

    after: Mapping[Node, list[Node]]
    before: Mapping[Node, list[Node]] = field(repr=False)

    def reaching(self, ends: Iterable[Node]) -> set[Node]:
        """All nodes from which one of `ends` can be reached, themselves included."""
        found = set(ends)
        open_ = list(found)
        while open_:
            for node in self.before.get(open_.pop(), ()):
                if node not in found:
                    found.add(node)
                    open_.append(node)
        return found


def service_node(service_id: str) -> Node:
    return ("service", service_id)


def flow_graph(services: Mapping[str, ServiceInfo]) -> FlowGraph:
    """The graph of services by id. Nodes stand in the order of `services`."""
    after: dict[Node, list[Node]] = {service_node(service_id): [] for service_id in services}

    def join(first: Node, second: Node) -> None:
        after.setdefault(second, [])
        after.setdefault(first, []).append(second)

    for service_id, info in services.items():
        node = service_node(service_id)
        if gives(info):
            _join_outputs(node, info, join)
        if takes(info):
            _join_inputs(node, info, join)
    for node in [node for node in after if node[0] == "type"]:
        join(node, TAKES_ALL)
    before: dict[Node, list[Node]] = {}
    for first, seconds in after.items():
        for second in seconds:
            before.setdefault(second, []).append(first)
    return FlowGraph(after, before)


def _join_outputs(node: Node, info: ServiceInfo, join: Callable[[Node, Node], None]) -> None:
    for event_type in sorted(set(info.output_event_types)):
        join(node, ("type", event_type))
    if not info.output_event_types:
        join(node, MAY_GIVE)
        is_processor = info.service_type is ServiceType.PROCESSOR
        join(node, MAY_GIVE_TO_SINKS if is_processor else TAKES_ALL)


def _join_inputs(node: Node, info: ServiceInfo, join: Callable[[Node, Node], None]) -> None:
    for event_type in sorted(set(info.input_event_types)):
        join(("type", event_type), node)
    if info.input_event_types:
        join(MAY_GIVE, node)
    else:
        join(TAKES_ALL, node)
        if info.service_type is not ServiceType.PROCESSOR:
            join(MAY_GIVE_TO_SINKS, node)


def strong_groups(after: Mapping[N, Sequence[N]]) -> list[list[N]]:
    """The strongly connected groups, each after all groups that can be reached from it (Tarjan, without recursion)."""
    number: dict[N, int] = {}
    low: dict[N, int] = {}
    stack: list[N] = []
    on_stack: set[N] = set()
    groups: list[list[N]] = []
    for root in after:
        if root in number:
            continue
        path = [(root, iter(after[root]))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while path:
            node, rest = path[-1]
            for neighbour in rest:
                if neighbour not in number:
                    number[neighbour] = low[neighbour] = len(number)
                    stack.append(neighbour)
                    on_stack.add(neighbour)
                    path.append((neighbour, iter(after[neighbour])))
                    break
                if neighbour in on_stack:
                    low[node] = min(low[node], number[neighbour])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == number[node]:
                    groups.append(_pop_to(node, stack, on_stack))
    return groups


def _pop_to(node: N, stack: list[N], on_stack: set[N]) -> list[N]:
    group: list[N] = []
    while not group or group[-1] != node:
        group.append(stack.pop())
        on_stack.discard(group[-1])
    return group
