"""`docs/cli.md` against the command line that it describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from flowctl_aio.cli.app import VERBS, run

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_its_table_has_every_verb_and_no_other():
    table = PAGE.partition("| verb |")[2].partition("\n\n")[0]
    named = [word for line in table.splitlines()[2:] for word in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(named) == sorted(VERBS)


def commands() -> list[list[str]]:
    """The arguments of every service in the page's examples."""
    pipeline, pod = map(yaml.safe_load, YAML)
    spec = pipeline["spec"]
    found = [one["args"] for kind in ("sources", "processors", "sinks") for one in spec[kind]]
    found += [container["args"] for container in pod["containers"]]
    unit = re.search(r"ExecStart=\S+ (.*)", PAGE)
    assert unit is not None
    return [*found, unit[1].split()]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_the_options_in_its_examples_exist(arguments, capsys):
    # The one mistake that is added is found before anything starts, and is the only one.
    assert run([*arguments, "--no-such-option"]) == 2
    assert "--no-such-option" in capsys.readouterr().err


def test_every_option_in_its_text_exists(capsys):
    known = set()
    for verb in VERBS:
        assert run([verb, "--help"]) == 0
        known.update(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"`(--[a-z-]+)`", PAGE)) <= known
