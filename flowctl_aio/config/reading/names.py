"""Which names a file may hold: those of settings, those of wishes, and no others."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from flowctl_aio.config.components import COMPONENTS
from flowctl_aio.config.definition.setting import Settings, settings_of
from flowctl_aio.config.reading.document import Document, Entry
from flowctl_aio.config.settings import FlowctlConfig
from flowctl_aio.config.wishes import PROTECTION, WISHED

_FALSE = ("", "false", "False", "FALSE", "f", "F", "0")


def names_of(kind: type[Settings], *, own: bool) -> list[str]:
    """The names of a dataclass's settings; `own` takes those in that need a component."""
    return [
        name for setting in settings_of(kind).values() for name in (*setting.variables, *(setting.own if own else ()))
    ]


def known_names(prefix: str = "") -> set[str]:
    """Every name that a file may hold, for the component of that prefix."""
    shared = {*names_of(FlowctlConfig, own=False), "FLOWCTL_PROFILE"}
    own = {*shared, *names_of(FlowctlConfig, own=True)}
    known = {*shared, "PROFILE", *(f"{prefix}{name}" for name in own)}
    for component, kind in COMPONENTS.items():
        names = {*own, *names_of(kind, own=True)}
        known |= {f"{component}_{name}" for name in names}
        if prefix == f"{component}_":
            known |= names
    return known


def check_names(document: Document, prefix: str) -> tuple[list[str], list[str]]:
    """Problems and notes about names that are no setting's.

    A section of a component that is not one of ours may hold what it likes.
    """
    if {"APIVERSION", "KIND"} <= document.entries.keys():
        kind = document.entries["KIND"].raw
        return [
            f"{document.name} is a {kind if isinstance(kind, str) else 'file'} of flowctl, not a file of settings"
        ], []
    known = known_names(prefix)
    is_free = bool(prefix) and prefix.removesuffix("_") not in COMPONENTS
    problems, notes = [], []
    for name, entry in document.entries.items():
        if name in known or (is_free and name.startswith(prefix)):
            continue
        if entry.raw is None and any(one.startswith(f"{name}_") for one in known):
            continue  # a block without anything in it
        where = f"{document.name}, line {entry.line}: {entry.path}"
        wish = WISHED.get(_without(name, (prefix, *(f"{component}_" for component in COMPONENTS))))
        if wish is None:
            problems.append(f"{where}: is unknown{_hint(name, entry, known)}")
        elif wish in PROTECTION and entry.raw is not None and entry.raw not in _FALSE:
            problems.append(f"{where}: is known, and not offered: {PROTECTION[wish]}")
        else:
            notes.append(f"{where}: is known, and not offered: it has no effect")
    return problems, notes


def check_variables(variables: Iterable[str], prefix: str) -> list[str]:
    """Notes about variables that look like misspelt ones of ours; the rest of the environment is other people's."""
    known = known_names(prefix) | {"FLOWCTL_CONFIG_FILE", f"{prefix}FLOWCTL_CONFIG_FILE"}
    notes = []
    for name in variables:
        if name in known or not name.startswith(("FLOWCTL_", "CONNECTION_POOL_", prefix or "FLOWCTL_")):
            continue
        close = get_close_matches(name[:100], known, 1, 0.9)
        if close:
            notes.append(f"{name} is no variable of ours: did you mean {close[0]}?")
    return notes


def _without(name: str, prefixes: Iterable[str]) -> str:
    return next((name.removeprefix(prefix) for prefix in prefixes if prefix and name.startswith(prefix)), name)


def _hint(name: str, entry: Entry, known: set[str]) -> str:
    owners = [component.lower() for component, kind in COMPONENTS.items() if name in names_of(kind, own=True)]
    if owners:
        return f" without a component: it belongs to {' and '.join(owners)}"
    close = get_close_matches(name[:100], known, 1, 0.75)
    if not close:
        return ""
    block = entry.path.rpartition(".")[0]
    start = f"{block.replace('.', '_').replace('-', '_').upper()}_"
    inside = bool(block) and close[0].startswith(start)
    key = close[0].removeprefix(start) if inside else close[0]
    return f": did you mean {block + '.' if inside else ''}{key.lower()}?"
