"""The definition of a setting: it stands at the field of the dataclass that holds the value, so the two cannot part."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, get_type_hints

from flowctl_aio.config.definition.kinds import Kind, Raw, UnfitError
from flowctl_aio.errors import ConfigError

_MAX_SHOWN = 80
_USER = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"(://[^?'\"\s]*\?)[^'\"\s]+")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        kind: how it is written, and its bounds.
        text: what it means, in one line.
        variables: its names in the environment beside the systematic one; the first that is set wins where
            `is_ordered`, else they must agree.
        own: names that count only behind a component's prefix, or in a component's own file.
        readings: names that are read in another way than `kind`.
        is_secret: its value is never shown.
        is_ordered: see `variables`.
        beats_arguments: the environment wins over the argument.
        lacking: why it has no effect yet; empty where it has one.
        is_refused: without its effect the data would be others, so a value other than the default is a problem.
        name, default: of the field; filled in by `settings_of`.
    """

    kind: Kind
    text: str
    variables: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    readings: tuple[tuple[str, Kind], ...] = ()
    is_secret: bool = False
    is_ordered: bool = False
    beats_arguments: bool = False
    lacking: str = ""
    is_refused: bool = False
    name: str = ""
    default: Any = None

    def parse(self, raw: Raw, variable: str = "") -> Any:
        """The value of what stands in the environment or a file.

        Raises:
            UnfitError: if it cannot be read, is out of its bounds, or asks for what is not offered.
        """
        try:
            value = dict(self.readings).get(variable, self.kind).parse(raw)
        except UnfitError as error:
            raise UnfitError(f"{error}, not {self.shown(raw)}") from None
        self._refuse(value)
        return value

    def check(self, value: Any) -> None:
        """Raises UnfitError: if a value in Python is of another type, or out of its bounds."""
        try:
            self.kind.check(value)
        except UnfitError as error:
            raise UnfitError(f"{error}, not {self.shown(value)}") from None
        self._refuse(value)

    def _refuse(self, value: Any) -> None:
        if self.is_refused and value != self.default:
            raise UnfitError(f"is known, and not offered yet: {self.lacking}")

    def shown(self, value: Any) -> str:
        """The value for an error: nothing of a secret, and not too much of anything."""
        if self.is_secret:
            return "what is given"
        text = _QUERY.sub(r"\1***", _USER.sub("***@", repr(value)))
        return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."

    def masked(self, value: Any) -> str:
        """The value for a table: `***` for a secret."""
        if self.is_secret:
            return "***" if value else ""
        return _QUERY.sub(r"\1***", _USER.sub("***@", self.kind.show(value)))


class Settings(Protocol):
    """A dataclass whose fields have definitions, as `Annotated[type, Setting(...)]`.

    Attributes:
        PREFIX: of the systematic names; None where those need the prefix of a component.
    """

    PREFIX: ClassVar[str | None]
    __dataclass_fields__: ClassVar[dict[str, Any]]


@cache
def settings_of(kind: type[Settings]) -> Mapping[str, Setting]:
    """The definitions of a dataclass's fields, by name.

    Raises:
        TypeError: if a field has none.
    """
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for field in fields(kind):
        setting = next(
            (extra for extra in getattr(hints[field.name], "__metadata__", ()) if type(extra) is Setting), None
        )
        if setting is None:
            raise TypeError(f"{kind.__name__}.{field.name} has no definition: write Annotated[..., Setting(...)]")
        upper = field.name.upper()
        variables, own = setting.variables, setting.own
        if kind.PREFIX is None:
            own = tuple(dict.fromkeys((upper, *own)))
        else:
            variables = tuple(dict.fromkeys((*variables, f"{kind.PREFIX}{upper}")))
        found[field.name] = replace(setting, name=field.name, default=field.default, variables=variables, own=own)
    return MappingProxyType(found)


def check_settings(settings: Settings, contradictions: Callable[[], list[str]] | None = None) -> None:
    """Check a value that has just been made; `contradictions` looks at values that are each in order.

    Raises:
        ConfigError: if a field is of another type, out of its bounds, or asks for what is not offered.
    """
    problems = []
    for name, setting in settings_of(type(settings)).items():
        try:
            setting.check(getattr(settings, name))
        except UnfitError as error:
            problems.append(f"{name} {error}")
    if not problems and contradictions is not None:
        problems = contradictions()
    if problems:
        raise ConfigError(*problems)
