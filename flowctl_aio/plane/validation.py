"""What a plane refuses before it looks any closer: requests that are malformed, or too big to keep.

The bounds hold for every field of every request, found by walking the message, so a field that
the protocol gains later is bounded from its first day. Names here are those of the wire.
"""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from flowctl_aio.transport.status import Refused

MAX_ID_CHARS = 256
MAX_TEXT_BYTES = 4 * 1024
MAX_LONG_TEXT_BYTES = 1024 * 1024
MAX_ENTRIES = 256

_IDS = frozenset({"id", "service_id", "component_id", "component_ids", "run_id"})
_LONG_TEXTS = frozenset({"config_yaml", "error"})
# Every other list or map may have MAX_ENTRIES.
_ENTRIES = {
    "input_event_types": 1000,
    "output_event_types": 1000,
    "event_types": 1000,
    "component_ids": 1000,
    "metrics": 1024,
    "component_metrics": 1024,
}


def check(message: Message, *required: str) -> None:
    """Refuse a request that lacks one of the `required` fields, or breaks a bound.

    Bounds: ids 256 printable characters; texts 4 KiB, configurations and errors 1 MiB (UTF-8); metadata
    256 entries, event types 1000, metrics 1024; no negative integers; no enum numbers without a name.

    Raises:
        Refused: INVALID_ARGUMENT, with a text that names the field.
    """
    for name in required:
        value = getattr(message, name)
        if isinstance(value, Message):
            if not message.HasField(name):
                raise _invalid(name, "is missing")
        elif not value:
            raise _invalid(name, "is empty")
    _check_fields(message, "")


def _check_fields(message: Message, prefix: str) -> None:
    for field, value in message.ListFields():  # those that are not at their default, which is always good
        path = prefix + field.name
        if isinstance(value, MutableMapping | MutableSequence):
            limit = _ENTRIES.get(field.name, MAX_ENTRIES)
            if len(value) > limit:
                raise _invalid(path, f"has {len(value)} entries, above the limit of {limit}")
        if isinstance(value, MutableMapping):
            assert field.message_type is not None  # a map is a list of key and value on the wire
            values = field.message_type.fields_by_name["value"]
            for key in value:
                _check_text(key, f"a key of {path}", MAX_TEXT_BYTES)
                _check_value(values, value[key], f"a value of {path}")
        elif isinstance(value, MutableSequence):
            for item in value:
                _check_value(field, item, f"an item of {path}")
        else:
            _check_value(field, value, path)


def _check_value(field: FieldDescriptor, value: Any, path: str) -> None:
    if isinstance(value, Message):
        # The well-known types have a meaning of their own: a time before 1970 is negative.
        if not value.DESCRIPTOR.full_name.startswith("google.protobuf."):
            _check_fields(value, f"{path}.")
    elif isinstance(value, str):
        if field.name in _IDS:
            _check_id(value, path)
        else:
            _check_text(value, path, MAX_LONG_TEXT_BYTES if field.name in _LONG_TEXTS else MAX_TEXT_BYTES)
    elif field.enum_type is not None:
        if value not in field.enum_type.values_by_number:
            raise _invalid(path, f"is {value}, which {field.enum_type.full_name} does not have")
    elif isinstance(value, int) and value < 0:
        raise _invalid(path, f"is negative ({value})")


def _check_id(text: str, path: str) -> None:
    if len(text) > MAX_ID_CHARS:
        raise _invalid(path, f"has {len(text)} characters, above the limit of {MAX_ID_CHARS}")
    if not text.isprintable():  # ids end up in logs and terminals
        raise _invalid(path, "has a control character, or one that cannot be seen")


def _check_text(text: str, path: str, limit: int) -> None:
    size = len(text.encode())
    if size > limit:
        raise _invalid(path, f"has {size} bytes, above the limit of {limit}")


def _invalid(path: str, why: str) -> Refused:
    return Refused("INVALID_ARGUMENT", f"{path} {why}")
