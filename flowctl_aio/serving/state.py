"""What a served source keeps for its clients, by key: in memory, or in a file that outlives it. Bounded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from flowctl_aio.durable import read_bounded, write_durably
from flowctl_aio.transport.status import Refused

MAX_KEYS = 256
MAX_KEY_BYTES = 256
MAX_ENTRIES = 64
MAX_STATE_BYTES = 16 * 1024
# Text in JSON may take six characters where UTF-8 takes one byte.
MAX_FILE_BYTES = 8 * MAX_KEYS * (MAX_KEY_BYTES + MAX_STATE_BYTES)


@dataclass(frozen=True, slots=True)
class KeptState:
    """The state under one key; `updated` is in seconds since 1970, 0 where nothing was saved."""

    values: Mapping[str, str]
    updated: int


NONE = KeptState({}, 0)


class StateStore:
    """States by key.

    Args:
        path: of the file, which belongs to one process at a time; empty for memory only.
        clock: seconds since 1970.
    """

    def __init__(self, path: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = Path(path) if path else None, clock
        self._states: dict[str, KeptState] | None = None if path else {}
        self._lock = anyio.Lock()

    async def get(self, key: str) -> KeptState:
        """What is kept under `key`.

        Raises:
            Refused: if no such key can be, or the file cannot be read.

        Cancellation: safe at any point.
        """
        _check_key(key)
        async with self._lock:
            return (await self._loaded()).get(key, NONE)

    async def save(self, key: str, values: Mapping[str, str]) -> None:
        """Keep `values` under `key`, in place of what is there; durable when this returns if there is a file.

        Raises:
            Refused: if the state is too large or there are too many keys, or the file cannot be read or written.

        Cancellation: the state is either kept or not.
        """
        _check_key(key)
        _check_values(values)
        async with self._lock:
            states = dict(await self._loaded())
            if key not in states and len(states) >= MAX_KEYS:
                raise Refused("RESOURCE_EXHAUSTED", f"this source keeps states under {MAX_KEYS} keys, and has them")
            states[key] = KeptState(dict(values), int(self._clock()))
            if self._path is not None:
                try:
                    await write_durably(self._path, _encode(states))
                except OSError as error:
                    raise Refused("INTERNAL", "the state file cannot be written") from error
            self._states = states

    async def _loaded(self) -> dict[str, KeptState]:
        if self._states is None and self._path is not None:
            try:
                self._states = _decode(await read_bounded(self._path, MAX_FILE_BYTES))
            except (OSError, ValueError) as error:
                # Beginning anew would forget where everybody is.
                raise Refused("FAILED_PRECONDITION", "the state file cannot be read") from error
        return self._states or {}


def _check_key(key: str) -> None:
    if not key or len(key.encode()) > MAX_KEY_BYTES:
        raise Refused(
            "INVALID_ARGUMENT", f"the key {key[:40]!r} has {len(key.encode())} bytes, not 1 to {MAX_KEY_BYTES}"
        )


def _check_values(values: Mapping[str, str]) -> None:
    if len(values) > MAX_ENTRIES:
        raise Refused("INVALID_ARGUMENT", f"the state has {len(values)} entries, above the limit of {MAX_ENTRIES}")
    size = sum(len(name.encode()) + len(text.encode()) for name, text in values.items())
    if size > MAX_STATE_BYTES:
        largest = max(values, key=lambda name: len(values[name]))
        raise Refused(
            "INVALID_ARGUMENT",
            f"the state has {size} bytes, above the limit of {MAX_STATE_BYTES}; most of it is {largest[:40]!r}",
        )


def _encode(states: Mapping[str, KeptState]) -> bytes:
    return json.dumps(
        {key: {"state": dict(kept.values), "updated": kept.updated} for key, kept in states.items()}
    ).encode()


def _decode(content: bytes | None) -> dict[str, KeptState]:
    """Raises ValueError: if it is not what `_encode` writes."""
    if content is None:
        return {}
    if len(content) > MAX_FILE_BYTES:
        raise ValueError("too large")
    found: Any = json.loads(content)
    try:
        states = {str(key): KeptState(dict(kept["state"]), int(kept["updated"])) for key, kept in found.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("not a state file") from error
    if not all(isinstance(text, str) for kept in states.values() for text in kept.values.values()):
        raise ValueError("not a state file")
    return states
