"""Durations as Go writes them, and back. Pure text and numbers."""

from __future__ import annotations

import math
import re

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # the micro sign
    "\u03bcs": 1_000,  # the Greek letter, which looks the same
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"(?=[.\d])(\d*)(?:\.(\d*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", re.ASCII)
_MOST = 2**63 - 1  # nanoseconds in Go's int64, about 292 years
_MAX_TEXT = 100


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as `10s`, `1m30s`, `250ms` or `1h2m3.5s`.

    A single `0` needs no unit, a plus sign may stand in front, units may come in any order and repeat.

    Raises:
        ValueError: if it is none, has no unit, is negative, or does not fit into Go's 292 years.

    Source: Go's `time.ParseDuration`, without negative durations.
    """
    body = text.removeprefix("+")
    if body == "0":
        return 0.0
    total, end = 0, 0
    while len(text) <= _MAX_TEXT and (part := _PART.match(body, end)):
        whole, fraction, unit = part[1], part[2] or "", _UNITS[part[3]]
        if not whole and not fraction:
            break
        total += int(whole or "0") * unit + _fraction(fraction, unit)
        end = part.end()
    if not end or end != len(body) or total > _MOST:
        raise ValueError(f"{text[:_MAX_TEXT]!r} is no duration like 10s, 1m30s or 250ms")
    return total / 1e9


def _fraction(digits: str, unit: int) -> int:
    """Nanoseconds of the digits after the point; in floating point and with as many digits as Go takes."""
    value, scale = 0, 1.0
    for digit in digits:
        if value > _MOST // 10:
            break
        value, scale = value * 10 + int(digit), scale * 10
    return int(value * (unit / scale))


def format_duration(seconds: float) -> str:
    """The shortest usual way to write a duration, to the nanosecond; `parse_duration` reads it back."""
    if not math.isfinite(seconds):
        return str(seconds)
    whole, part = divmod(abs(seconds), 1)
    total = int(whole) * 1_000_000_000 + round(part * 1_000_000_000)
    sign = "-" if seconds < 0 else ""
    if total < 1_000_000_000:
        for unit in ("ms", "us", "ns"):
            if total >= _UNITS[unit]:
                return f"{sign}{_decimal(total, _UNITS[unit])}{unit}"
        return "0s"
    text = ""
    for unit in ("h", "m"):
        count, total = divmod(total, _UNITS[unit])
        text += f"{count}{unit}" if count else ""
    return sign + text + (f"{_decimal(total, _UNITS['s'])}s" if total else "")


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
