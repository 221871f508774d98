"""A topology as JSON, Graphviz and Mermaid, whatever the services are called."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.control.overview.topology import topology_of
from flowctl_aio.types import ServiceType
from tests.control.statuses import HOSTILE, THREE, quick, service, sink

DOCS = Path(__file__).resolve().parents[3] / "docs" / "discovery.md"

# The whole grammar that may come out, line by line; a quote inside a string, or a line break, would not match.
_DOT_STRING = r'"(?:[^"\\\n\r]|\\\\|\\")+"'
DOT = re.compile(
    rf"digraph pipeline \{{\n  rankdir=LR;\n"
    rf"(?:  n\d+ \[label={_DOT_STRING}, shape=[a-z]+\];\n)*(?:  n\d+ -> n\d+ \[label={_DOT_STRING}\];\n)*\}}\n"
)
_MERMAID_STRING = r'"(?:[\w ._\-/:@+*,()]|#\d+;)+"'
MERMAID = re.compile(
    rf"flowchart LR\n(?:  n\d+(?:\[{_MERMAID_STRING}\]|\(\[{_MERMAID_STRING}\]\)|\[\({_MERMAID_STRING}\)\])\n)*"
    rf"(?:  n\d+ -->\|{_MERMAID_STRING}\| n\d+\n)*"
)


def test_the_three_components_are_drawn():
    topology = topology_of(THREE)
    assert topology.to_mermaid() == (
        "flowchart LR\n"
        '  n0["processor"]\n'
        '  n1[("sink")]\n'
        '  n2(["source"])\n'
        '  n0 -->|"ttp_event_service.TTPEvent"| n1\n'
        '  n2 -->|"stellar_ledger_service.StellarLedger"| n0\n'
    )
    assert '  n2 -> n0 [label="stellar_ledger_service.StellarLedger"];\n' in topology.to_dot()
    assert topology.to_json()["chains"] == [["source", "processor", "sink"]]


def test_the_picture_in_the_documentation_is_the_one_that_comes_out():
    names = {"source": "stellar-arrow-source", "processor": "ttp-arrow-processor", "sink": "arrow-analytics-sink"}
    topology = topology_of([replace(status, service_id=names[status.service_id]) for status in THREE])
    (drawn,) = re.findall(r"```mermaid\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert topology.to_mermaid() == drawn


@quick
@given(st.lists(HOSTILE, max_size=6))
def test_what_is_written_can_be_read_whatever_the_services_are_called(statuses):
    topology = topology_of(statuses)
    assert DOT.fullmatch(topology.to_dot())
    assert MERMAID.fullmatch(topology.to_mermaid())
    topology.to_dot().encode()
    topology.to_mermaid().encode()
    again = json.loads(json.dumps(topology.to_json(), allow_nan=False))
    assert again == topology.to_json()
    assert {node["id"] for node in again["nodes"]} == {status.service_id for status in statuses}


@pytest.mark.parametrize(
    ("name", "dot", "mermaid"),
    [
        ('"];x', r"\"];x", "#34;#93;#59;x"),
        ("\\", r"\\", "#92;"),
        ("&lt;", "&amp;lt;", "#38;lt#59;"),
        ("%%{init: {}}%%", "%%{init: {}}%%", "#37;#37;#123;init: #123;#125;#125;#37;#37;"),
        ("a\nb", "a\ufffdb", "a#65533;b"),
        ("", "(no name)", "(no name)"),
        ("läuft", "läuft", "läuft"),
        ("x" * 200, "x" * 119 + "…", "x" * 119 + "#8230;"),
    ],
)
def test_names_are_escaped(name, dot, mermaid):
    topology = topology_of([service(name)])
    assert f'n0 [label="{dot}", shape=ellipse];' in topology.to_dot()
    assert f'n0["{mermaid}"]' in topology.to_mermaid()


def test_a_service_that_feeds_itself_has_an_arrow_to_itself():
    topology = topology_of([service("loop", ServiceType.PROCESSOR, ("A", "B"), ("B",))])
    assert '  n0 -->|"B"| n0\n' in topology.to_mermaid()
    assert topology.to_json()["self_loops"] == ["loop"]


def test_metadata_is_not_in_the_picture():
    topology = topology_of([sink(metadata={"password": "hunter2"})])
    for text in (json.dumps(topology.to_json()), topology.to_dot(), topology.to_mermaid(), repr(topology.graph)):
        assert "hunter2" not in text
