"""A topology in forms that others read: JSON values, Graphviz, Mermaid.

What services are called comes from strangers: names stand in quotes only, escaped, and never as identifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from flowctl_aio.types import ServiceType

if TYPE_CHECKING:
    from flowctl_aio.control.overview.topology import Topology

MAX_LABEL = 120
_PLAIN = frozenset(" ._-/:@+*,()")

_DOT_SHAPES = {ServiceType.SOURCE: "cds", ServiceType.PROCESSOR: "box", ServiceType.SINK: "cylinder"}
_MERMAID_SHAPES = {ServiceType.SOURCE: ("([", "])"), ServiceType.SINK: ("[(", ")]")}


def write_json(topology: Topology) -> dict[str, Any]:
    """Values that `json` can write, whatever the services are called. Metadata stays out."""
    return {
        "nodes": [
            {
                "id": service_id,
                "type": status.info.service_type.name.lower(),
                "health": status.health.name.lower(),
                "endpoint": status.info.endpoint,
                "inputs": list(status.info.input_event_types),
                "outputs": list(status.info.output_event_types),
            }
            for service_id, status in topology.nodes.items()
        ],
        "edges": [
            {"from": edge.giver, "to": edge.taker, "event_types": list(edge.event_types)} for edge in topology.edges
        ],
        "edges_cut": topology.edges_cut,
        "chains": [list(chain) for chain in topology.chains],
        "chains_cut": topology.chains_cut,
        "orphans": [
            {"id": orphan.service_id, "inputs": list(orphan.inputs), "outputs": list(orphan.outputs)}
            for orphan in topology.orphans
        ],
        "cycles": [list(cycle) for cycle in topology.cycles],
        "self_loops": list(topology.self_loops),
    }


def draw_dot(topology: Topology) -> str:
    """A graph in the language of Graphviz."""
    lines = ["digraph pipeline {", "  rankdir=LR;"]
    for name, service_id in _names(topology):
        shape = _DOT_SHAPES.get(topology.nodes[service_id].info.service_type, "ellipse")
        lines.append(f'  {name} [label="{_dot(service_id)}", shape={shape}];')
    lines += [f'  {giver} -> {taker} [label="{label}"];' for giver, taker, label in _arrows(topology, _dot)]
    return "\n".join([*lines, "}", ""])


def draw_mermaid(topology: Topology) -> str:
    """A Mermaid flowchart."""
    lines = ["flowchart LR"]
    for name, service_id in _names(topology):
        left, right = _MERMAID_SHAPES.get(topology.nodes[service_id].info.service_type, ("[", "]"))
        lines.append(f'  {name}{left}"{_mermaid(service_id)}"{right}')
    lines += [f'  {giver} -->|"{label}"| {taker}' for giver, taker, label in _arrows(topology, _mermaid)]
    return "\n".join([*lines, ""])


def _names(topology: Topology) -> Iterator[tuple[str, str]]:
    return ((f"n{number}", service_id) for number, service_id in enumerate(topology.nodes))


def _arrows(topology: Topology, escape: Callable[[str], str]) -> Iterator[tuple[str, str, str]]:
    names = {service_id: name for name, service_id in _names(topology)}
    for edge in topology.edges:
        yield names[edge.giver], names[edge.taker], escape(", ".join(edge.event_types))
    for service_id in topology.self_loops:
        info = topology.nodes[service_id].info
        both = sorted(set(info.input_event_types) & set(info.output_event_types))
        yield names[service_id], names[service_id], escape(", ".join(both))


def _short(text: str) -> str:
    """A label that fits a drawing, without anything that cannot be shown; never empty."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text[: MAX_LABEL + 1])
    return (shown if len(shown) <= MAX_LABEL else f"{shown[: MAX_LABEL - 1]}…") or "(no name)"


def _dot(text: str) -> str:
    # Graphviz reads backslashes and, in labels, HTML entities.
    return _short(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


def _mermaid(text: str) -> str:
    # Mermaid reads comments, directives, Markdown and HTML inside quotes too, so only what is harmless stays as it is.
    return "".join(
        character if character.isalnum() or character in _PLAIN else f"#{ord(character)};" for character in _short(text)
    )
