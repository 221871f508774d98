"""Which of the given values a setting takes, for any dataclass of settings. It knows no rules between settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from flowctl_aio.config.definition.kinds import UnfitError
from flowctl_aio.config.definition.setting import Setting, Settings, settings_of
from flowctl_aio.config.reading.inputs import ARGUMENT, DEFAULT, PROFILE, VARIABLE, Found, Inputs
from flowctl_aio.errors import ConfigError

T = TypeVar("T", bound=Settings)


@dataclass(frozen=True, slots=True)
class Given:
    """A usable value, from one of the places."""

    place: int
    value: Any
    origin: str
    variable: str = ""


@dataclass(slots=True)
class Settled(Generic[T]):
    """The values that won.

    Attributes:
        kind: the dataclass.
        values: of all settings but those that `wrong` names.
        origins: where each value came from.
        places: the same as a rank, `ARGUMENT` to `DEFAULT`.
        variables: the name that gave the value, without prefix; empty where none did.
        problems, notes: sentences.
        wrong: settings without a usable value.
    """

    kind: type[T]
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)

    def take(self, name: str, given: Given) -> None:
        """Give a setting its value."""
        self.values[name], self.origins[name] = given.value, given.origin
        self.places[name], self.variables[name] = given.place, given.variable

    def build(self) -> T | None:
        """The dataclass; None, and more problems, if there are any."""
        try:
            made = self.kind(**self.values)
        except ConfigError as error:
            self.problems += [self._explained(problem) for problem in error.problems if not self._is_moot(problem)]
            return None
        return None if self.problems else made

    def _is_moot(self, problem: str) -> bool:
        """Whether it follows from a problem that is already named."""
        return any(_mentions(problem, name) for name in self.wrong)

    def _explained(self, problem: str) -> str:
        sources = [
            f"{name}: {origin}"
            for name, origin in self.origins.items()
            if self.places[name] not in (ARGUMENT, DEFAULT) and _mentions(problem, name)
        ]
        return f"{problem} ({', '.join(sources)})" if sources else problem


def _mentions(problem: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", problem) is not None


def settle(kind: type[T], inputs: Inputs, arguments: Mapping[str, Any], *, id_from_runner: bool = True) -> Settled[T]:
    """Find the value of every setting; each value that is given is checked, also those that do not win."""
    settled = Settled(kind)
    for name, setting in settings_of(kind).items():
        given = _given(setting, inputs, settled)
        if arguments.get(name) is not None:
            try:
                setting.check(arguments[name])
                given.append(Given(ARGUMENT, arguments[name], "argument"))
            except UnfitError as error:
                settled.problems.append(f"{name} {error}")
                settled.wrong.add(name)
        if (from_profile := inputs.profile_value(name)) is not None:
            given.append(Given(PROFILE, *from_profile))
        given.append(Given(DEFAULT, setting.default, "default"))
        # Where the environment wins, an argument stands just behind it.
        argument = VARIABLE + 0.5 if setting.beats_arguments and id_from_runner else ARGUMENT
        won = min(given, key=partial(_rank, argument))
        settled.take(name, won)
        if setting.lacking and won.place < PROFILE:
            settled.notes.append(f"{name} ({won.origin}) is known and has no effect yet: {setting.lacking}")
    unknown = arguments.keys() - settings_of(kind).keys()
    if unknown:
        raise TypeError(f"{kind.__name__} has no setting {', '.join(sorted(unknown))}")
    return settled


def _rank(argument: float, given: Given) -> float:
    return argument if given.place == ARGUMENT else given.place


def _given(setting: Setting, inputs: Inputs, settled: Settled[Any]) -> list[Given]:
    """The usable values out of the environment and the file, one for each place that has any."""
    given: list[Given] = []
    for place, found in inputs.look_up(setting):
        read: list[tuple[Found, Any]] = []
        for one in found:
            try:
                read.append((one, setting.parse(one.raw, one.variable)))
            except UnfitError as error:
                settled.problems.append(f"{one.where}: {error}")
                settled.wrong.add(setting.name)
        if not read:
            continue
        first, value = read[0]
        others = [one for one, other in read[1:] if other != value]
        if others and not setting.is_ordered:
            settled.problems.append(
                f"{first.where}: contradicts {others[0].where}: both are {setting.name}, and they differ"
            )
            settled.wrong.add(setting.name)
        given.append(Given(place, value, first.origin, first.variable))
    return given
