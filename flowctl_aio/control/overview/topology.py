"""The services of a plane as a graph: who feeds whom, the chains, the loose ends, the circles.

Links come from event types alone, see `matching.link`. The same services give the same topology, in whatever order
they are listed. Pure; what could grow beyond measure has a limit, and the result says where it was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from flowctl_aio.control.discovery.matching import gives, link, takes
from flowctl_aio.control.overview.drawing import draw_dot, draw_mermaid, write_json
from flowctl_aio.control.overview.graph import FlowGraph, flow_graph, service_node, strong_groups
from flowctl_aio.control.overview.loose_ends import LooseEnds
from flowctl_aio.types import ServiceInfo, ServiceStatus, ServiceType

T = TypeVar("T")
MAX_EDGES = 20_000
MAX_CHAINS = 1_000
MAX_STEPS = 50_000  # of the search for chains

_Looks: TypeAlias = tuple[ServiceType, frozenset[str], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Edge:
    """Events of these types can flow from one service to the other; `*` where neither names any."""

    giver: str
    taker: str
    event_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Orphan:
    """A service with loose ends: event types that it takes and nobody gives, or gives and nobody takes.

    A service that names none and has no partner at all has the loose end `*`.
    """

    service_id: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """Who feeds whom.

    Attributes:
        nodes: the services by id, in the order of their ids.
        edges: the links, by ids; a service that feeds itself is in `self_loops` instead.
        edges_cut: there are more edges than were listed. Orphans, cycles, starts and ends are complete all the same.
        chains: ways from a service that takes nothing to one that gives nothing, no service twice.
        chains_cut: there may be more chains than were listed.
        orphans: services with loose ends.
        cycles: groups of services each of which feeds, by some way, every other of its group.
        self_loops: services that take what they give themselves.
        starts: services that give something, and that nobody feeds.
        ends: services that take something, and that feed nobody.
        graph: all links, in a form that does not grow with their number.
    """

    nodes: Mapping[str, ServiceStatus]
    edges: Sequence[Edge]
    edges_cut: bool
    chains: Sequence[tuple[str, ...]]
    chains_cut: bool
    orphans: Sequence[Orphan]
    cycles: Sequence[tuple[str, ...]]
    self_loops: Sequence[str]
    starts: frozenset[str]
    ends: frozenset[str]
    graph: FlowGraph = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Values that `json` can write, whatever the services are called. Metadata stays out."""
        return write_json(self)

    def to_dot(self) -> str:
        """A graph in the language of Graphviz."""
        return draw_dot(self)

    def to_mermaid(self) -> str:
        """A Mermaid flowchart."""
        return draw_mermaid(self)


def topology_of(
    statuses: Iterable[ServiceStatus], *, max_edges: int = MAX_EDGES, max_chains: int = MAX_CHAINS
) -> Topology:
    """The topology of some services, whatever their health. A limit of 0 does not even look, and counts as cut."""
    nodes = {status.service_id: status for status in sorted(statuses, key=lambda status: status.service_id)}
    infos = {service_id: status.info for service_id, status in nodes.items()}
    graph, loose, takers = flow_graph(infos), LooseEnds(infos.values()), _Takers(infos)
    edges, edges_cut = _first(takers.edges(), max_edges)
    search = _ChainSearch(infos, graph, takers)
    chains, chains_cut = _first(search.chains(), max_chains)
    groups = [sorted(name for kind, name in group if kind == "service") for group in strong_groups(graph.after)]
    orphans = [Orphan(service_id, loose.inputs(info), loose.outputs(info)) for service_id, info in infos.items()]
    return Topology(
        nodes=nodes,
        edges=edges,
        edges_cut=edges_cut,
        chains=chains,
        chains_cut=chains_cut or search.is_given_up,
        orphans=[orphan for orphan in orphans if orphan.inputs or orphan.outputs],
        cycles=sorted(tuple(group) for group in groups if len(group) > 1),
        self_loops=[service_id for service_id, info in infos.items() if _feeds_itself(info)],
        starts=frozenset(key for key, info in infos.items() if gives(info) and not loose.has_giver(info)),
        ends=frozenset(key for key, info in infos.items() if takes(info) and not loose.has_taker(info)),
        graph=graph,
    )


def _feeds_itself(info: ServiceInfo) -> bool:
    return not set(info.input_event_types).isdisjoint(info.output_event_types)


def _first(items: Iterator[T], most: int) -> tuple[list[T], bool]:
    taken: list[T] = []
    if not most:
        return taken, True
    for item in items:
        if len(taken) == most:
            return taken, True
        taken.append(item)
    return taken, False


class _Takers:
    """Who takes from a service, looked up by what services look like: replicas share one answer."""

    def __init__(self, infos: Mapping[str, ServiceInfo]) -> None:
        self._infos = infos
        self._by_type: dict[str, list[str]] = {}
        self._open: list[str] = []
        for service_id, info in infos.items():
            for event_type in set(info.input_event_types):
                self._by_type.setdefault(event_type, []).append(service_id)
            if takes(info) and not info.input_event_types:
                self._open.append(service_id)
        self._known: dict[_Looks, Sequence[str]] = {}

    def of(self, service_id: str) -> Sequence[str]:
        """Ids of those who take from it, sorted; it may be among them."""
        info = self._infos[service_id]
        looks = (info.service_type, frozenset(info.input_event_types), frozenset(info.output_event_types))
        if looks not in self._known:
            self._known[looks] = self._find(info)
        return self._known[looks]

    def edges(self) -> Iterator[Edge]:
        for giver, info in self._infos.items():
            for taker in self.of(giver):
                if taker != giver:
                    yield Edge(giver, taker, link(info, self._infos[taker]))

    def _find(self, info: ServiceInfo) -> Sequence[str]:
        if not gives(info):
            return ()
        named = info.output_event_types or self._by_type
        found = {taker for event_type in named for taker in self._by_type.get(event_type, ())}
        return sorted(taker for taker in found.union(self._open) if link(info, self._infos[taker]))


class _ChainSearch:
    """Walks from those who take nothing towards those who give nothing, only where one of these can be reached.

    Attributes:
        is_given_up: it took too many steps, and more chains may be there.
    """

    def __init__(self, infos: Mapping[str, ServiceInfo], graph: FlowGraph, takers: _Takers) -> None:
        self._infos, self._takers = infos, takers
        self._useful = graph.reaching(service_node(key) for key, info in infos.items() if _is_last(info))
        self._steps = 0
        self.is_given_up = False

    def chains(self) -> Iterator[tuple[str, ...]]:
        for start, info in self._infos.items():
            if gives(info) and not takes(info) and service_node(start) in self._useful:
                yield from self._from(start)
            if self.is_given_up:
                return

    def _from(self, start: str) -> Iterator[tuple[str, ...]]:
        way, on_way = [start], {start}
        open_ = [iter(self._takers.of(start))]
        while open_:
            taker = next(open_[-1], None)
            self._steps += 1
            if self._steps > MAX_STEPS:
                self.is_given_up = True
                return
            if taker is None:
                open_.pop()
                on_way.discard(way.pop())
            elif taker not in on_way and service_node(taker) in self._useful:
                if _is_last(self._infos[taker]):
                    yield (*way, taker)
                else:
                    way.append(taker)
                    on_way.add(taker)
                    open_.append(iter(self._takers.of(taker)))


def _is_last(info: ServiceInfo) -> bool:
    return takes(info) and not gives(info)
