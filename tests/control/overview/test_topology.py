"""Who feeds whom: chains, loose ends, circles."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.control.discovery.matching import ANY, gives, link, takes
from flowctl_aio.control.overview.graph import strong_groups
from flowctl_aio.control.overview.topology import Edge, Orphan, topology_of
from flowctl_aio.types import ServiceType
from tests.control.statuses import EVENT, HOSTILE, LEDGER, THREE, processor, quick, service, sink, source

PROCESSOR, SINK, SOURCE = ServiceType.PROCESSOR, ServiceType.SINK, ServiceType.SOURCE


def test_the_three_components_are_one_chain():
    topology = topology_of(THREE)
    assert list(topology.nodes) == ["processor", "sink", "source"]
    assert topology.edges == [Edge("processor", "sink", (EVENT,)), Edge("source", "processor", (LEDGER,))]
    assert topology.chains == [("source", "processor", "sink")]
    assert (topology.orphans, topology.cycles, topology.self_loops) == ([], [], [])
    assert (topology.starts, topology.ends) == ({"source"}, {"sink"})
    assert not topology.edges_cut
    assert not topology.chains_cut


def test_nobody_is_an_empty_topology():
    topology = topology_of([])
    assert (topology.nodes, topology.edges, topology.chains, topology.orphans) == ({}, [], [], [])


def test_processors_may_follow_one_another_and_every_way_is_a_chain():
    second = service("p2", PROCESSOR, (EVENT,), ("X",))
    topology = topology_of([*THREE, second, sink("k2", "X", EVENT)])
    assert topology.chains == [
        ("source", "processor", "k2"),
        ("source", "processor", "p2", "k2"),
        ("source", "processor", "sink"),
    ]


def test_loose_ends_are_inputs_that_nobody_gives_and_outputs_that_nobody_takes():
    topology = topology_of([*THREE[:2], source("s", LEDGER, "unused"), sink("k", "missing", EVENT)])
    assert topology.orphans == [Orphan("k", ("missing",), ()), Orphan("s", (), ("unused",))]
    assert topology_of([processor()]).orphans == [Orphan("processor", (LEDGER,), (EVENT,))]
    assert topology_of([service("any", SINK)]).orphans == [Orphan("any", (ANY,), ())]


def test_services_that_feed_one_another_are_a_circle_and_one_that_feeds_itself_is_a_loop():
    one, two = service("one", PROCESSOR, ("A",), ("B",)), service("two", PROCESSOR, ("B",), ("A",))
    loop = service("loop", PROCESSOR, ("C",), ("C", "D"))
    topology = topology_of([one, two, loop, source("s", "A", "C"), sink("k", "D")])
    assert topology.cycles == [("one", "two")]
    assert topology.self_loops == ["loop"]
    assert topology.chains == [("s", "loop", "k")]
    assert Edge("loop", "loop", ("C",)) not in topology.edges


def test_services_of_other_kinds_of_planes_are_linked_by_their_roles():
    topology = topology_of([service("s", SOURCE), service("p", PROCESSOR), service("q", PROCESSOR), service("k", SINK)])
    assert [(edge.giver, edge.taker, edge.event_types) for edge in topology.edges] == [
        ("p", "k", (ANY,)),
        ("q", "k", (ANY,)),
        ("s", "k", (ANY,)),
        ("s", "p", (ANY,)),
        ("s", "q", (ANY,)),
    ]
    assert topology.cycles == []


def loose_ends(has_any, named, met):
    missing = sorted(set(named) - met) if named else [ANY] * (not met)
    return tuple(missing) if has_any else ()


@quick
@given(st.lists(HOSTILE, max_size=6, unique_by=lambda status: status.service_id), st.randoms())
def test_it_is_what_looking_at_every_pair_would_find_in_any_order(statuses, chance):
    topology = topology_of(statuses)
    infos = {status.service_id: status.info for status in statuses}
    pairs = {
        (giver, taker): link(infos[giver], infos[taker])
        for giver, taker in itertools.permutations(sorted(infos), 2)
        if link(infos[giver], infos[taker])
    }
    assert {(edge.giver, edge.taker): edge.event_types for edge in topology.edges} == pairs
    fed, feeding = {taker for _, taker in pairs}, {giver for giver, _ in pairs}
    assert topology.starts == {key for key, info in infos.items() if gives(info) and key not in fed}
    assert topology.ends == {key for key, info in infos.items() if takes(info) and key not in feeding}
    orphans = {orphan.service_id: (orphan.inputs, orphan.outputs) for orphan in topology.orphans}
    for key, info in infos.items():
        come = {name for (_, taker), names in pairs.items() if taker == key for name in names}
        gone = {name for (giver, _), names in pairs.items() if giver == key for name in names}
        loose = (
            loose_ends(takes(info), info.input_event_types, come),
            loose_ends(gives(info), info.output_event_types, gone),
        )
        assert orphans.get(key, ((), ())) == loose
    reach = {key: {key} for key in infos}
    for _ in infos:
        for giver, taker in pairs:
            reach[giver] |= reach[taker]
    circles = {tuple(sorted(b for b in infos if b in reach[a] and a in reach[b])) for a in infos}
    assert topology.cycles == sorted(circle for circle in circles if len(circle) > 1)
    for chain in topology.chains:
        assert len(set(chain)) == len(chain)
        assert all(pair in pairs for pair in itertools.pairwise(chain))
    shuffled = list(statuses)
    chance.shuffle(shuffled)
    assert topology_of(shuffled).to_json() == topology.to_json()


def test_more_than_the_limit_is_cut_and_the_result_says_so():
    crowd = [source(f"s{number}") for number in range(5)] + [sink(f"k{number}", LEDGER) for number in range(5)]
    topology = topology_of(crowd, max_edges=10, max_chains=10)
    assert (len(topology.edges), topology.edges_cut) == (10, True)
    assert (len(topology.chains), topology.chains_cut) == (10, True)
    topology = topology_of(crowd, max_edges=0, max_chains=0)
    assert (topology.edges, topology.edges_cut, topology.chains, topology.chains_cut) == ([], True, [], True)
    assert (len(topology.starts), len(topology.ends)) == (5, 5)
    topology = topology_of(crowd, max_edges=25, max_chains=25)
    assert (len(topology.edges), topology.edges_cut, len(topology.chains), topology.chains_cut) == (
        25,
        False,
        25,
        False,
    )


def test_a_search_that_leads_nowhere_is_given_up_and_the_result_says_so():
    # Twenty processors that all feed one another, and the only way out leads through the gate that one came in by.
    maze = [service(f"p{number:02}", PROCESSOR, ("A",), ("A",)) for number in range(20)]
    gate = service("gate", PROCESSOR, ("G", "A"), ("A", "B"))
    topology = topology_of([source("s", "G"), gate, *maze, sink("k", "B")])
    assert topology.chains == [("s", "gate", "k")]
    assert topology.chains_cut
    assert topology.cycles == [("gate", *(f"p{number:02}" for number in range(20)))]


@pytest.mark.parametrize("kinds", [1, 100, 3_000])
def test_ten_thousand_services_are_no_trouble(kinds):
    crowd = [
        status
        for number in range(3_333)
        for status in (
            source(f"s{number}", f"L{number % kinds}"),
            service(f"p{number}", PROCESSOR, (f"L{number % kinds}",), (f"E{number % kinds}",)),
            sink(f"k{number}", f"E{number % kinds}"),
        )
    ]
    random.Random(1).shuffle(crowd)
    topology = topology_of(crowd)
    assert len(topology.nodes) == 9_999
    assert topology.edges
    assert topology.chains
    assert (topology.orphans, topology.cycles) == ([], [])
    assert (len(topology.starts), len(topology.ends)) == (3_333, 3_333)


@quick
@given(st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=4)))
def test_groups_are_mutual_and_come_after_what_they_reach(links):
    nodes = set(links) | {other for others in links.values() for other in others}
    after = {node: links.get(node, []) for node in sorted(nodes)}
    reach = {node: {node} for node in nodes}
    for _ in nodes:
        for node in nodes:
            reach[node] = reach[node].union(*(reach[other] for other in after[node]))
    groups = strong_groups(after)
    assert sorted(itertools.chain(*groups)) == sorted(nodes)
    place = {node: number for number, group in enumerate(groups) for node in group}
    for one, other in itertools.product(nodes, nodes):
        assert (place[one] == place[other]) == (other in reach[one] and one in reach[other])
        if other in reach[one]:
            assert place[other] <= place[one]
