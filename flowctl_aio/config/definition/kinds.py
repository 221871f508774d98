"""Sorts of values: how each is written in text, and what it may be.

Text comes from the environment and from files, where everything is text. A sentence of an error says only what was
expected: what was found may be a secret, and whoever knows that adds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from typing import Any, TypeAlias

from flowctl_aio.config.definition.durations import format_duration, parse_duration

# What files hold: text, or a list of texts and of mappings of texts.
Raw: TypeAlias = str | tuple["Raw", ...] | dict[str, str]

_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
_BIND = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]*):)?(?P<port>\d{1,5})", re.ASCII)
_ENDPOINT = re.compile(r"(?:dns:///)?(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]*):(?P<port>\d{1,5})", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d{1,19}(\.\d{0,19})?|\.\d{1,19})", re.ASCII)


class UnfitError(ValueError):
    """A value is not what it must be; the sentence goes on from the setting's name and holds no value."""


class Kind:
    """One sort of value.

    Attributes:
        name: for tables and sentences.
        types: of its values in Python.
    """

    name = "text"
    types: tuple[type[Any], ...] = (str,)

    @property
    def bounds(self) -> str:
        """For tables; empty if the name says it all."""
        return ""

    def parse(self, raw: Raw) -> Any:
        """A value from outside.

        Raises:
            UnfitError: if it cannot be read, or is out of its bounds.
        """
        if not isinstance(raw, str):
            raise UnfitError(f"must be one value, {self.name}")
        value = self.read(raw)
        self.check(value)
        return value

    def read(self, text: str) -> Any:
        """The value of a text, without its bounds."""
        return _line(text)

    def check(self, value: Any) -> None:
        """Raises UnfitError: if a value is of another type, or out of its bounds."""
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            raise UnfitError(f"must be of type {self.types[-1].__name__}")

    def show(self, value: Any) -> str:
        """The value as text."""
        return str(value)


def _line(text: str) -> str:
    if not text.isprintable():
        raise UnfitError("must be one line of printable text")
    return text


@dataclass(frozen=True)
class Text(Kind):
    """Text of one line; with a pattern, of its form only."""

    pattern: str = ""
    form: str = ""

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.form or "text"

    def check(self, value: Any) -> None:
        super().check(value)
        if self.pattern and value and not re.fullmatch(self.pattern, value, re.ASCII):
            raise UnfitError(f"must be {self.form}")


@dataclass(frozen=True)
class Boolean(Kind):
    """Go's words for true and false."""

    name = "boolean"
    types = (bool,)

    def read(self, text: str) -> bool:
        if text not in _TRUE and text not in _FALSE:
            raise UnfitError("must be true or false")
        return text in _TRUE

    def show(self, value: Any) -> str:
        return "true" if value else "false"


@dataclass(frozen=True)
class Choice(Kind):
    """One of some words; of those, perhaps, only some are offered yet."""

    options: tuple[str, ...]
    offered: tuple[str, ...] = ()

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"one of {', '.join(self.options)}"

    @property
    def bounds(self) -> str:
        return f"so far {' or '.join(self.offered)}" if self.offered else ""

    def read(self, text: str) -> str:
        lower = text.lower()
        return "warn" if lower == "warning" and "warn" in self.options else lower

    def check(self, value: Any) -> None:
        if not isinstance(value, str) or value not in self.options:
            raise UnfitError(f"must be {self.name}")
        if self.offered and value not in self.offered:
            raise UnfitError(f"can be {' or '.join(self.offered)} only, since the others are not offered yet")


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number within bounds, both included."""

    least: int = 0
    most: int = 2**63 - 1
    name = "integer"
    types = (int,)

    @property
    def bounds(self) -> str:
        return f"from {self.least}" + (f" to {self.most}" if self.most < 2**63 - 1 else "")

    def read(self, text: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise UnfitError("must be a whole number")
        return int(text)

    def check(self, value: Any) -> None:
        super().check(value)
        if value < self.least and self.most == 2**63 - 1:
            raise UnfitError(f"must be above {self.least - 1}")
        if not self.least <= value <= self.most:
            raise UnfitError(f"must lie between {self.least} and {self.most}")


@dataclass(frozen=True)
class Share(Kind):
    """A number above 0 and up to 1."""

    name = "number above 0, up to 1"
    types = (int, float)

    def read(self, text: str) -> float:
        if not _DECIMAL.fullmatch(text):
            raise UnfitError("must be a number such as 0.8")
        return float(text)

    def check(self, value: Any) -> None:
        super().check(value)
        if not 0 < value <= 1:
            raise UnfitError("must be above 0 and up to 1")


@dataclass(frozen=True)
class Duration(Kind):
    """Seconds, written as Go writes them."""

    zero: bool = False
    name = "duration"
    types = (int, float)

    @property
    def bounds(self) -> str:
        return "" if self.zero else "above 0"

    def read(self, text: str) -> float:
        try:
            return parse_duration(text)
        except ValueError:
            unit = " with its unit" if _DECIMAL.fullmatch(text) else ""
            raise UnfitError(f"must be a duration{unit} such as 10s, 1m30s or 250ms") from None

    def check(self, value: Any) -> None:
        super().check(value)
        if not (value >= 0 if self.zero else value > 0):
            raise UnfitError("must not be negative" if self.zero else "must be above 0")

    def show(self, value: Any) -> str:
        return format_duration(value)


@dataclass(frozen=True)
class Milliseconds(Duration):
    """Seconds, written as a whole number of milliseconds."""

    def read(self, text: str) -> float:
        if not _WHOLE.fullmatch(text):
            raise UnfitError("must be a whole number of milliseconds")
        return int(text) / 1000


@dataclass(frozen=True)
class Bind(Kind):
    """Where to listen: a port alone, or behind a host, or a unix socket. A port alone stays on this machine."""

    name = "port, :port, host:port or unix:///path"

    def read(self, text: str) -> str:
        if text.startswith("unix:"):
            return _socket(text)
        match = _BIND.fullmatch(text)
        if match is None or int(match["port"]) > 65535:
            raise UnfitError("must be a port like 50051, :50051 or host:50051")
        return f"{match['host'] or '127.0.0.1'}:{int(match['port'])}"


@dataclass(frozen=True)
class Endpoint(Kind):
    """What can be dialled."""

    name = "host:port or unix:///path"

    def read(self, text: str) -> str:
        if text.startswith("unix:"):
            return _socket(text)
        match = _ENDPOINT.fullmatch(text)
        if match is None or int(match["port"]) > 65535:
            raise UnfitError(f"must be host:port{', not a URL' if '://' in text else ''}")
        return text


@dataclass(frozen=True)
class LetterPlace(Kind):
    """Where dead letters go: a file, a folder, or what can be dialled. Empty for nowhere."""

    name = "path ending in .jsonl or .parquet, or host:port"

    def check(self, value: Any) -> None:
        super().check(value)
        if value and not value.endswith((".jsonl", ".parquet")):
            try:
                Endpoint().parse(value)
            except UnfitError:
                raise UnfitError(f"must be a {self.name}") from None


def _socket(text: str) -> str:
    if not text.removeprefix("unix:").strip("/"):
        raise UnfitError("must name a socket, unix:///path")
    return _line(text)


@dataclass(frozen=True)
class PemFile(Kind):
    """A PEM file; in Python also its content, as bytes."""

    name = "path of a PEM file"
    types = (bytes, PathLike, str)

    def read(self, text: str) -> str:
        if "-----BEGIN" in text:
            raise UnfitError("must be the path of a PEM file, not its content")
        return _line(text)

    def show(self, value: Any) -> str:
        return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


@dataclass(frozen=True)
class Token(Kind):
    """What can go into a header of a call."""

    name = "token"

    def read(self, text: str) -> str:
        if not re.fullmatch(r"[\x21-\x7e]*", text):
            raise UnfitError("must be printable ASCII without spaces")
        return text


@dataclass(frozen=True)
class Words(Kind):
    """A list of values; in a variable with commas between them."""

    item: Choice
    types = (tuple,)

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"list out of {', '.join(self.item.options)}"

    @property
    def bounds(self) -> str:
        return self.item.bounds

    def parse(self, raw: Raw) -> tuple[str, ...]:
        parts = [part.strip() for part in raw.split(",")] if isinstance(raw, str) else raw
        if isinstance(parts, dict) or not parts:
            raise UnfitError(f"must be a {self.name}")
        value = tuple(dict.fromkeys(self.item.parse(part) for part in parts))
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        super().check(value)
        for item in value:
            self.item.check(item)

    def show(self, value: Any) -> str:
        return ", ".join(str(item) for item in value)
