"""What a service is, told in the names of its metrics, for planes that carry nothing else.

The classic list of services has metrics, but no endpoint, no event types and no metadata. So a service of ours
writes them into names such as `flowctl.info/output=stellar_ledger_service.StellarLedger`, with the value 1.
What is read here comes from strangers: everything is bounded, and what is malformed is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, unquote

from flowctl_aio.errors import ConfigError
from flowctl_aio.transport.address import parse_endpoint
from flowctl_aio.types import ServiceInfo

PREFIX = "flowctl.info/"
MAX_TEXT = 200  # characters of one value
MAX_NAME = 1024  # bytes of one entry's name
MAX_OF_A_KIND = 32  # inputs, outputs, metadata keys
MAX_ENTRIES = 128

_SECRET_KEY = re.compile(
    r"pass|pwd|secret|token|credential|private|auth|cookie|session|api.?key|access.?key|seed", re.I
)
# A user's name and password in a URL; a secret key of Stellar.
_SECRET_VALUE = re.compile(r"//[^/\s]*@|\bS[A-Z2-7]{55}\b")
_PUBLIC_KEYS = ("network_passphrase",)
_SAFE = ":/,"


def side_channel(info: ServiceInfo) -> dict[str, float]:
    """The entries to send with each classic heartbeat.

    What is empty, longer than `MAX_TEXT`, not printable, or looks like a secret is left out; so is, in order, what
    exceeds the bounds.
    """
    entries = {PREFIX + entry: 1.0 for entry in _entries(info)}
    return {name: value for name, value in entries.items() if len(name) <= MAX_NAME}


def is_secret(key: str, value: str) -> bool:
    """Whether a pair of metadata looks like something that others must not see."""
    named = key.lower() not in _PUBLIC_KEYS and _SECRET_KEY.search(key) is not None
    return named or _SECRET_VALUE.search(value) is not None


def read_side_channel(info: ServiceInfo, metrics: Mapping[str, float]) -> tuple[ServiceInfo, dict[str, float]]:
    """`info` with what the entries among `metrics` add to it, and the other metrics.

    Where two entries contradict each other, the one with the larger value wins, and among equals the one that
    sorts last: a map on the wire has no order. A value that is not above 0 takes its entry back.
    """
    numbers = {name: value for name, value in metrics.items() if not name.startswith(PREFIX)}
    if len(numbers) == len(metrics):
        return info, numbers
    told = [(value, name) for name, value in metrics.items() if _is_told(name, value)]
    facts = [_fact(name) for _, name in sorted(sorted(told, reverse=True)[:MAX_ENTRIES])]
    single = {kind: value for kind, key, value in facts if not key}
    metadata = {key: value for kind, key, value in facts if kind == "meta" and key}
    most = single.get("max_inflight", "")
    return replace(
        info,
        endpoint=_endpoint(single.get("endpoint", "")) or info.endpoint,
        input_event_types=_several("input", facts) or info.input_event_types,
        output_event_types=_several("output", facts) or info.output_event_types,
        max_inflight=int(most) if re.fullmatch(r"[0-9]{1,9}", most) else info.max_inflight,
        metadata={**info.metadata, **dict(list(metadata.items())[-MAX_OF_A_KIND:])},
        name=single.get("name", info.name),
        version=single.get("version", info.version),
        description=single.get("description", info.description),
    ), numbers


def _entries(info: ServiceInfo) -> Iterator[str]:
    single = {
        "endpoint": _endpoint(info.endpoint),
        "max_inflight": str(info.max_inflight) if info.max_inflight > 0 else "",
        "name": info.name,
        "version": info.version,
        "description": info.description,
    }
    yield from (f"{kind}={quote(text, safe=_SAFE)}" for kind, text in single.items() if _is_public(text))
    for kind, texts in (("input", info.input_event_types), ("output", info.output_event_types)):
        yield from (f"{kind}={quote(text, safe=_SAFE)}" for text in _first(texts))
    public = {key: value for key, value in info.metadata.items() if _is_public(value) and not is_secret(key, value)}
    yield from (f"meta/{quote(key, safe='')}={quote(public[key], safe=_SAFE)}" for key in _first(public))


def _first(texts: Iterable[str]) -> Sequence[str]:
    return sorted({text for text in texts if _is_public(text)})[:MAX_OF_A_KIND]


def _is_public(text: str) -> bool:
    return _is_telling(text) and _SECRET_VALUE.search(text) is None


def _is_telling(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT and text.isprintable()


def _is_told(name: str, value: float) -> bool:
    return name.startswith(PREFIX) and len(name) <= MAX_NAME and value > 0


def _fact(name: str) -> tuple[str, str, str]:
    """Kind, key (of metadata only) and value of an entry; all empty if it says nothing."""
    what, _, text = name.removeprefix(PREFIX).partition("=")
    kind, _, key = what.partition("/")
    try:
        key, value = unquote(key, errors="strict"), unquote(text, errors="strict")
    except UnicodeDecodeError:
        return "", "", ""
    if not _is_telling(value) or (key and not _is_telling(key)):
        return "", "", ""
    return kind, key, value


def _several(kind: str, facts: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
    return tuple(sorted({value for found, key, value in facts if found == kind and not key})[:MAX_OF_A_KIND])


def _endpoint(text: str) -> str:
    """The endpoint, if it is one that can be dialled and harms nobody who reads it."""
    try:
        parse_endpoint(text)
    except ConfigError:
        return ""
    return text if _is_public(text) else ""
