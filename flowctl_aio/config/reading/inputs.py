"""Everything outside the program that may hold settings, opened once: environment, file, profiles."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from flowctl_aio.config.definition.kinds import Raw
from flowctl_aio.config.definition.setting import Setting
from flowctl_aio.config.profiles import PROFILES, profiles_named
from flowctl_aio.config.reading.document import Document, read_document
from flowctl_aio.config.reading.names import check_names, check_variables
from flowctl_aio.errors import ConfigError

# The places in the order in which they win.
ARGUMENT, OWN_VARIABLE, VARIABLE, OWN_KEY, KEY, PROFILE, DEFAULT = range(7)
PROFILE_VARIABLE, FILE_VARIABLE = "FLOWCTL_PROFILE", "FLOWCTL_CONFIG_FILE"

_COMPONENT = re.compile(r"[A-Z][A-Z0-9_]*")
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Found:
    """A value that somebody has given.

    Attributes:
        variable: its name without the component's prefix.
        raw: what stands there.
        origin: for tables.
        where: for errors.
    """

    variable: str
    raw: Raw
    origin: str
    where: str


@dataclass(slots=True)
class Inputs:
    """The outside.

    Attributes:
        prefix: of the component's variables, with its underscore; empty without a component.
        read: the text of a variable; empty if there is none.
        document: the file, if there is one.
        profiles: names, in the order in which they were given.
        is_file_alone: the file is looked at without the environment that it is made for.
        problems, notes: what was wrong, and what should be known, about all of these.
    """

    prefix: str
    read: Callable[[str], str]
    document: Document | None = None
    profiles: list[str] = field(default_factory=list)
    is_file_alone: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def component(self) -> str:
        """The component as its variables spell it; empty without one."""
        return self.prefix.removesuffix("_")

    def look_up(self, setting: Setting) -> Iterator[tuple[int, list[Found]]]:
        """What is given for a setting in the environment and the file, place by place; an empty variable is unset."""
        own, everywhere = (*setting.variables, *setting.own), setting.variables
        if self.prefix:
            yield OWN_VARIABLE, list(self._variables(self.prefix, own))
        yield VARIABLE, list(self._variables("", everywhere))
        if self.prefix:
            yield OWN_KEY, list(self._keys(self.prefix, own))
        yield KEY, list(self._keys("", own if self.prefix else everywhere))

    def profile_value(self, name: str) -> tuple[Any, str] | None:
        """A setting's value in the last profile that has one, and the profile."""
        for profile in reversed(self.profiles):
            if name in PROFILES[profile]:
                return PROFILES[profile][name], f"profile {profile}"
        return None

    def _variables(self, prefix: str, names: tuple[str, ...]) -> Iterator[Found]:
        for variable in names:
            name = f"{prefix}{variable}"
            text = self.read(name)
            if not text:
                continue
            if name.endswith("_PORT") and _SERVICE_LINK.match(text):
                # Kubernetes describes a service of the component's name by exactly this variable.
                self._note(f"{name} is what Kubernetes says of a service of that name, and is left out")
                continue
            yield Found(variable, text, f"environment {name}", name)

    def _keys(self, prefix: str, names: tuple[str, ...]) -> Iterator[Found]:
        if self.document is None:
            return
        for variable in names:
            entry = self.document.entries.get(f"{prefix}{variable}")
            if entry is None or entry.raw is None:
                continue
            where = f"{self.document.name}, line {entry.line}: {entry.path}"
            if isinstance(entry.raw, str) and re.search(r"\$\{\w+", entry.raw):
                self._note(f"{where}: variables such as ${{NAME}} are not filled in: the text is taken as it stands")
            yield Found(variable, entry.raw, f"file {self.document.name}: {entry.path}", where)

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def open_inputs(
    component: str = "",
    *,
    file: str | PathLike[str] | None = None,
    profile: str = "",
    environ: Mapping[str, str] | None = None,
    is_file_alone: bool = False,
) -> Inputs:
    """Read what there is; what is wrong with it is kept beside it.

    Raises:
        ConfigError: if the component's name cannot begin a variable.
    """
    upper = component.replace("-", "_").upper()
    if component and not _COMPONENT.fullmatch(upper):
        raise ConfigError(f"{component[:40]!r} is no name of a component, such as stellar_arrow_source")
    inputs = Inputs(f"{upper}_" if upper else "", _reader(environ), is_file_alone=is_file_alone)
    if file is None:
        file = inputs.read(f"{inputs.prefix}{FILE_VARIABLE}") or inputs.read(FILE_VARIABLE)
    try:
        inputs.document = read_document(file) if file else None
    except ConfigError as error:
        inputs.problems += error.problems
    if inputs.document is not None:
        problems, notes = check_names(inputs.document, inputs.prefix)
        inputs.problems += problems
        inputs.notes += notes
    names = [name for name in (os.environ if environ is None else environ) if isinstance(name, str)]
    inputs.notes += check_variables(names, inputs.prefix)
    _choose_profiles(inputs, profile)
    return inputs


def _reader(environ: Mapping[str, str] | None) -> Callable[[str], str]:
    if environ is not None:
        return lambda name: environ.get(name, "")
    from environs import Env  # takes a tenth of a second, so only who asks for it waits

    process = Env()
    return lambda name: process.str(name, "")


def _choose_profiles(inputs: Inputs, profile: str) -> None:
    chosen, where = profile, ""
    for prefix in dict.fromkeys((inputs.prefix, "")):
        name = f"{prefix}{PROFILE_VARIABLE}"
        if not chosen and inputs.read(name):
            chosen, where = inputs.read(name), f"{name}: "
    entries = inputs.document.entries if inputs.document else {}
    for name in (f"{inputs.prefix}{PROFILE_VARIABLE}", PROFILE_VARIABLE, "PROFILE"):
        entry = entries.get(name)
        if not chosen and inputs.document and entry and isinstance(entry.raw, str):
            chosen, where = entry.raw, f"{inputs.document.name}, line {entry.line}: {entry.path}: "
    try:
        inputs.profiles = profiles_named(chosen) if chosen else []
    except ConfigError as error:
        inputs.problems += [f"{where}{problem}" for problem in error.problems]
