"""`flowctl-aio config`: what is set, by whom, and whether a file is in order."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from flowctl_aio.config.components import COMPONENTS
from flowctl_aio.config.definition.setting import Settings, settings_of
from flowctl_aio.config.reading.inputs import Inputs, open_inputs
from flowctl_aio.config.reading.resolve import Resolved, resolve_own, resolve_session
from flowctl_aio.errors import ConfigError

config = App(name="config", help="Show the settings and where they come from, or check a file of them.")

Component = Annotated[str, Parameter(help="Whose settings, such as stellar_arrow_source.")]
Profile = Annotated[str, Parameter(help="local, flowctl, development, production, and sets for a load, joined by +.")]


@config.command
def show(
    *,
    component: Component = "",
    file: Annotated[Path | None, Parameter(help="A YAML file of settings.")] = None,
    profile: Profile = "",
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object.")] = False,
) -> int:
    """Print each setting with its value and its origin, secrets masked."""
    inputs = open_inputs(component, file=file, profile=profile)
    problems, resolved = _resolve(inputs, inputs.component)
    if problems:
        return _complain(problems)
    rows = {block: _rows(found) for block, found in resolved.items()}
    notes = list(dict.fromkeys(note for found in resolved.values() for note in found.notes))
    if as_json:
        print(json.dumps({**rows, "notes": notes}, indent=2))
        return 0
    for block, settings in rows.items():
        print(f"{block}:")
        name_width = max(len(name) for name in settings)
        value_width = min(40, max(len(row["value"]) for row in settings.values()))
        for name, row in settings.items():
            effect = "" if row["effect"] else "  (no effect yet)"
            print(f"  {name:{name_width}}  {row['value']:{value_width}}  {row['origin']}{effect}")
    for note in notes:
        print(f"note: {note}")
    return 0


@config.command
def check(
    file: Annotated[Path, Parameter(help="A YAML file of settings.")],
    /,
    *,
    component: Component = "",
    profile: Profile = "",
) -> int:
    """Check a file alone, without the environment: one line if it is in order, else one for each problem."""
    problems: list[str] = []
    notes: list[str] = []
    opened = open_inputs(component, file=file, profile=profile, environ={}, is_file_alone=True)
    names = list(opened.document.entries) if opened.document else []
    sections = [name for name in COMPONENTS if any(entry.startswith(f"{name}_") for entry in names)]
    for whose in dict.fromkeys((opened.component, *sections)):
        inputs = open_inputs(whose, file=file, profile=profile, environ={}, is_file_alone=True)
        # The names that the file may hold are those for the component that was asked for.
        inputs.problems, inputs.notes = list(opened.problems), list(opened.notes)
        found, resolved = _resolve(inputs, whose)
        problems += found
        notes += [note for one in resolved.values() for note in one.notes]
    if problems:
        return _complain(dict.fromkeys(problems))
    for note in dict.fromkeys(notes):
        print(f"note: {note}", file=sys.stderr)
    print(f"{file} is in order: {len(names)} settings")
    return 0


def _resolve(inputs: Inputs, component: str) -> tuple[list[str], dict[str, Resolved[Any]]]:
    """All problems, and what could be resolved, by block."""
    problems: list[str] = []
    resolved: dict[str, Resolved[Any]] = {}
    steps: list[tuple[str, Callable[[Inputs], Resolved[Any]]]] = [
        ("flowctl", resolve_session),
        *([(component.lower(), resolve_own)] if component in COMPONENTS else []),
    ]
    for block, step in steps:
        try:
            resolved[block] = step(inputs)
        except ConfigError as error:
            problems += error.problems
    return list(dict.fromkeys(problems)), resolved


def _rows(resolved: Resolved[Any]) -> dict[str, dict[str, Any]]:
    kind: type[Settings] = type(resolved.config)
    return {
        name: {
            "value": setting.masked(getattr(resolved.config, name)),
            "origin": resolved.origins[name],
            "effect": not setting.lacking,
        }
        for name, setting in settings_of(kind).items()
    }


def _complain(problems: Any) -> int:
    for problem in problems:
        print(f"flowctl-aio: {' '.join(problem.split())}", file=sys.stderr)
    return 2
