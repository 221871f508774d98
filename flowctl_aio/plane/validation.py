"""What a plane refuses before it looks any closer: requests that are malformed, or too big to keep.

The bounds hold for every field of every request, found by walking the message, so a field that
the protocol gains later is bounded from its first day. Names here are those of the wire.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, MutableSequence, Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from flowctl_aio.transport.status import Refused

MAX_ID_CHARS = 256
MAX_CHUNK_ID_CHARS = 1024  # it is made of two other ids
MAX_TEXT_BYTES = 4 * 1024
MAX_LONG_TEXT_BYTES = 1024 * 1024
MAX_ENTRIES = 256

_IDS = {
    "id": MAX_ID_CHARS,
    "service_id": MAX_ID_CHARS,
    "component_id": MAX_ID_CHARS,
    "component_ids": MAX_ID_CHARS,
    "run_id": MAX_ID_CHARS,
    "pipeline_run_id": MAX_ID_CHARS,
    "chunk_id": MAX_CHUNK_ID_CHARS,
}
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

    Bounds: ids 256 printable characters, those of chunks 1024; texts 4 KiB, configurations and errors 1 MiB (UTF-8);
    metadata 256 entries, event types 1000, metrics 1024; no negative integers; no enum numbers without a name.

    Raises:
        Refused: INVALID_ARGUMENT, with a text that names the field.
    """
    for name in required:
        if not is_given(message, name):
            is_message = isinstance(getattr(message, name), Message)
            raise _invalid(name, "is missing" if is_message else "is empty")
    # Most requests are small enough that no text in them can be too long.
    if message.ByteSize() > MAX_TEXT_BYTES or not _is_plainly_good(message):
        _check_fields(message, "")


def is_given(message: Message, name: str) -> bool:
    """Whether a field is there, and not empty."""
    value = getattr(message, name)
    return message.HasField(name) if isinstance(value, Message) else bool(value)


def _is_plainly_good(message: Message) -> bool:
    """Whether a message of `MAX_TEXT_BYTES` at most breaks no bound; false if only a closer look can tell."""
    for name, judge in _plan(message.DESCRIPTOR):  # noqa: SIM110 - for each beat: a generator takes twice as long
        if not judge(getattr(message, name)):
            return False
    return True


@cache
def _plan(descriptor: Descriptor) -> Sequence[tuple[str, Callable[[Any], bool]]]:
    """The fields of a small message that can break a bound, and what tells of each that it does not."""
    return [(field.name, judge) for field in descriptor.fields if (judge := _judge(field)) is not None]


def _judge(field: FieldDescriptor) -> Callable[[Any], bool] | None:
    if field.is_repeated:
        limit = _ENTRIES.get(field.name, MAX_ENTRIES)
        kind = field.message_type
        items = kind.fields_by_name["value"] if kind is not None and kind.GetOptions().map_entry else field
        if items.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_DOUBLE) and items.name not in _IDS:
            return lambda entries: len(entries) <= limit
        return lambda entries: not entries
    if field.type == FieldDescriptor.TYPE_STRING:
        longest = _IDS.get(field.name)
        return None if longest is None else lambda text: len(text) <= longest and text.isprintable()
    if field.enum_type is not None:
        numbers = frozenset(field.enum_type.values_by_number)
        return numbers.__contains__
    if field.message_type is not None:
        return None if _is_well_known(field.message_type.full_name) else _is_plainly_good
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64):
        return lambda number: number >= 0
    return None


def _is_well_known(full_name: str) -> bool:
    """Those types have a meaning of their own: a time before 1970 is negative."""
    return full_name.startswith("google.protobuf.")


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
        if not _is_well_known(value.DESCRIPTOR.full_name):
            _check_fields(value, f"{path}.")
    elif isinstance(value, str):
        if field.name in _IDS:
            _check_id(value, path, _IDS[field.name])
        else:
            _check_text(value, path, MAX_LONG_TEXT_BYTES if field.name in _LONG_TEXTS else MAX_TEXT_BYTES)
    elif field.enum_type is not None:
        if value not in field.enum_type.values_by_number:
            raise _invalid(path, f"is {value}, which {field.enum_type.full_name} does not have")
    elif isinstance(value, int) and value < 0:
        raise _invalid(path, f"is negative ({value})")


def _check_id(text: str, path: str, limit: int) -> None:
    if len(text) > limit:
        raise _invalid(path, f"has {len(text)} characters, above the limit of {limit}")
    if not text.isprintable():  # ids end up in logs and terminals
        raise _invalid(path, "has a control character, or one that cannot be seen")


def _check_text(text: str, path: str, limit: int) -> None:
    size = len(text.encode())
    if size > limit:
        raise _invalid(path, f"has {size} bytes, above the limit of {limit}")


def _invalid(path: str, why: str) -> Refused:
    return Refused("INVALID_ARGUMENT", f"{path} {why}")
