"""A YAML file as names and texts: `flowctl: {endpoint: x}` is FLOWCTL_ENDPOINT, with the line where it stands.

Every value stays the text that was written, so that a file and the environment are read by the same rules and
`no`, `1_000` and `8:30` are not taken for something else. The file is not trusted: its size, depth and what aliases
make of it are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from flowctl_aio.config.definition.kinds import Raw
from flowctl_aio.errors import ConfigError

MAX_BYTES = 1024 * 1024
MAX_VALUES = 10_000
MAX_DEPTH = 16
MAX_KEY = 100
_NULL = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a file.

    Attributes:
        raw: what is written; None for nothing.
        path: its keys, with dots between them.
        line: where it stands, from 1.
    """

    raw: Raw | None
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read.

    Attributes:
        name: for messages.
        entries: by the name that a variable would have.
    """

    name: str
    entries: dict[str, Entry]


@dataclass(frozen=True, slots=True)
class _Node:
    """A value, a list or a mapping, and the line where it begins."""

    value: str | list[_Node] | dict[str, _Node] | None
    line: int


def read_document(path: str | PathLike[str]) -> Document:
    """The settings in a YAML file.

    Raises:
        ConfigError: if it cannot be read, is too long, or is no mapping of settings; or PyYAML is missing.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{name} is longer than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}, byte {error.start}: is not UTF-8") from None
    root = _Tree(name, _events(name, text)).root()
    entries: dict[str, Entry] = {}
    if root is not None:
        _Flat(name, entries).add(root, ())
    return Document(name, entries)


def _events(name: str, text: str) -> Iterator[Any]:
    """What the parser meets. It builds nothing, so neither tags nor depth can do harm."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ConfigError(f"{name} is YAML, which needs PyYAML: install flowctl-aio[yaml]") from error
    try:
        yield from yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        # Not the error's own text: it quotes the file, and there may be secrets in it.
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        raise ConfigError(f"{name}{line}: is no YAML: {reason}") from None


class _Tree:
    """Events → nodes."""

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self._name, self._events = name, events
        self._anchors: dict[str, _Node] = {}
        self._nodes = 0

    def root(self) -> _Node | None:
        """The only document; None for an empty one."""
        root: _Node | None = None
        documents = 0
        for event in self._events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise self._wrong(event, "a second document begins, and one is read")
            elif kind in ("ScalarEvent", "AliasEvent", "SequenceStartEvent", "MappingStartEvent"):
                root = self._node(event, 0)
        if root is not None and root.value is not None and not isinstance(root.value, dict):
            raise ConfigError(f"{self._name}, line {root.line}: must be a mapping of settings")
        return root

    def _node(self, event: Any, depth: int) -> _Node:
        kind, line = type(event).__name__, event.start_mark.line + 1
        self._nodes += 1
        if self._nodes > 2 * MAX_VALUES:  # keys are nodes too
            raise self._wrong(event, f"holds more than {MAX_VALUES} values")
        if kind == "AliasEvent":
            if event.anchor not in self._anchors:
                raise self._wrong(event, f"*{event.anchor[:MAX_KEY]} refers to nothing before it")
            return self._anchors[event.anchor]
        if event.tag not in (None, "!"):
            raise self._wrong(event, "tags are not read")
        if depth > MAX_DEPTH:
            raise self._wrong(event, f"is nested more than {MAX_DEPTH} deep")
        node: _Node
        if kind == "ScalarEvent":
            node = _Node(None if event.implicit[0] and event.value in _NULL else event.value, line)
        elif kind == "SequenceStartEvent":
            node = _Node([self._node(item, depth + 1) for item in self._until("SequenceEndEvent")], line)
        else:
            node = _Node(self._mapping(depth), line)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _mapping(self, depth: int) -> dict[str, _Node]:
        found: dict[str, _Node] = {}
        for event in self._until("MappingEndEvent"):
            key = self._node(event, depth + 1).value
            if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY or not key.isprintable():
                raise self._wrong(event, f"a key must be printable text of at most {MAX_KEY} characters")
            if key == "<<":
                raise self._wrong(event, "merge keys (<<) are not read")
            if key in found:
                raise self._wrong(event, f"{key!r} is given twice, first in line {found[key].line}")
            found[key] = self._node(next(self._events), depth + 1)
        return found

    def _until(self, end: str) -> Iterator[Any]:
        while type(event := next(self._events)).__name__ != end:
            yield event

    def _wrong(self, event: Any, sentence: str) -> ConfigError:
        return ConfigError(f"{self._name}, line {event.start_mark.line + 1}: {sentence}")


class _Flat:
    """Nodes → entries; here aliases turn into copies, so here they are counted."""

    def __init__(self, name: str, entries: dict[str, Entry]) -> None:
        self._name, self._entries = name, entries
        self._values = 0

    def add(self, node: _Node, path: tuple[str, ...]) -> None:
        if not isinstance(node.value, dict):
            if path:
                self._add(node, path)
            return
        if len(path) > MAX_DEPTH:
            raise ConfigError(f"{self._name}, line {node.line}: aliases nest more than {MAX_DEPTH} deep")
        self._count(node)
        for key, child in node.value.items():
            if path or not key.startswith("x-"):
                self.add(child, (*path, key))

    def _add(self, node: _Node, path: tuple[str, ...]) -> None:
        name, shown = "_".join(path).replace("-", "_").upper(), ".".join(path)
        if name in self._entries:
            other = self._entries[name]
            raise ConfigError(
                f"{self._name}, line {node.line}: {shown} is given twice, first in line {other.line} as {other.path}"
            )
        self._entries[name] = Entry(self._raw(node, shown), shown, node.line)

    def _raw(self, node: _Node, shown: str) -> Raw | None:
        self._count(node)
        if not isinstance(node.value, list):
            return node.value if isinstance(node.value, str) else None
        items: list[Raw] = []
        for item in node.value:
            self._count(item)
            if isinstance(item.value, str):
                items.append(item.value)
            elif isinstance(item.value, dict):
                items.append({key: self._text(value, shown) for key, value in item.value.items()})
            else:
                raise ConfigError(f"{self._name}, line {item.line}: {shown}: must be a list of values")
        return tuple(items)

    def _text(self, node: _Node, shown: str) -> str:
        self._count(node)
        if isinstance(node.value, (list, dict)):
            raise ConfigError(f"{self._name}, line {node.line}: {shown}: is nested too deep")
        return node.value or ""

    def _count(self, node: _Node) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise ConfigError(f"{self._name}, line {node.line}: holds more than {MAX_VALUES} values")
