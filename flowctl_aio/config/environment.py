"""Settings from the environment, by the names that Go components and `flowctl run` use. Read only when asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from environs import Env

from flowctl_aio.config.settings import FlowctlConfig
from flowctl_aio.errors import ConfigError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_PORT = re.compile(r"(?:(?P<host>[^:]*):)?(?P<port>\d{1,5})", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as `10s`, `1m30s` or `250ms`.

    Raises:
        ValueError: if it is none, or has no unit.

    Source: Go's `time.ParseDuration`, without signs.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration like 10s, 1m30s or 250ms")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_bool(text: str) -> bool:
    """Raises ValueError: if it is none of Go's words for true and false."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _milliseconds(text: str) -> float:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no number of milliseconds")
    return int(text) / 1000


def _bind(text: str) -> str:
    match = _PORT.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is no port like 50051, :50051 or host:50051")
    return f"{match['host'] or '127.0.0.1'}:{match['port']}"


# Setting ← variables, the first that is set wins; each may have a component's prefix, which wins over all without.
_VARIABLES: list[tuple[str, str, Callable[[str], Any]]] = [
    ("enabled", "ENABLE_FLOWCTL", parse_bool),
    ("endpoint", "FLOWCTL_ENDPOINT", str),
    ("component_id", "FLOWCTL_COMPONENT_ID", str),
    ("component_id", "FLOWCTL_SERVICE_ID", str),
    ("component_id", "COMPONENT_ID", str),
    ("heartbeat_interval", "FLOWCTL_HEARTBEAT_INTERVAL", parse_duration),
    ("heartbeat_interval", "FLOWCTL_HEARTBEAT_INTERVAL_MS", _milliseconds),
    ("bind", "PORT", _bind),
]


def read_environment(prefix: str = "", **arguments: Any) -> FlowctlConfig:
    """Settings from the environment; `arguments` win over it, and defaults fill the rest.

    Args:
        prefix: of a component, such as `TTP_ARROW_PROCESSOR`: `TTP_ARROW_PROCESSOR_FLOWCTL_ENDPOINT`
            wins over `FLOWCTL_ENDPOINT`.

    Raises:
        ConfigError: if variables cannot be read; all of them are named at once. An empty one counts as unset.
    """
    env = Env()
    found: dict[str, Any] = {}
    problems: list[str] = []
    for start in (f"{prefix}_", "") if prefix else ("",):
        for setting, name, parse in _VARIABLES:
            text = env.str(f"{start}{name}", "")
            if not text or setting in found:
                continue
            try:
                found[setting] = parse(text)
            except ValueError as error:
                found[setting] = None
                problems.append(f"{start}{name}: {error}")
    if problems:
        raise ConfigError(*problems)
    return FlowctlConfig(**{**found, **arguments})
