"""The envelope by hand: put a long bytes field into a message, and take it out again, without copying it twice.

Going through the message object costs a copy to set the field, one to serialise it and one to
read it back. Protobuf allows fields in any order, so the long one is simply joined behind the
others; any parser reads the result as the ordinary message that it is.
"""

from __future__ import annotations

from typing import Any

from flowctl_aio.errors import FrameCorruptError

# Below this the copies cost less than walking the fields in Python.
SPLIT_ABOVE = 16 * 1024
# A message of more fields is left to the parser: walking millions of tiny ones would hold the loop for many seconds.
MAX_WALKED = 4096


def join_payload(rest: bytes, field: int, *parts: Any) -> bytes:
    """The message whose other fields are `rest` and whose bytes field number `field` is `parts`, one behind the other.

    Args:
        parts: anything with the buffer protocol, in bytes.
    """
    return b"".join((rest, payload_prefix(field, sum(map(len, parts))), *parts))


def payload_prefix(field: int, size: int) -> bytes:
    """What stands before a bytes field of `size` bytes: its number, which is below 16, and its length."""
    return bytes((field << 3 | 2,)) + _varint(size)


def split_payload(raw: bytes, field: int) -> tuple[memoryview, bytes] | None:
    """Take bytes field number `field` out of a message.

    Returns:
        The field's value, pointing into `raw` (empty if the message has none; the last one if it
        has several, as protobuf says), and the message without it. None if it has more fields than anybody
        should walk here.

    Raises:
        FrameCorruptError: if `raw` is not a protobuf message.
    """
    tag = field << 3 | 2
    view = memoryview(raw)
    payload = view[:0]
    rest: list[memoryview] = []
    at = kept = depth = walked = 0
    end = len(raw)
    while at < end:
        walked += 1
        if walked > MAX_WALKED:
            return None
        start = at
        # Most numbers are of one byte, and a call for each would take longer than all the rest of this.
        key, at = raw[at], at + 1
        if key > 0x7F:
            key, at = _read_varint(raw, start, 5)
        kind = key & 7
        if kind == 2:
            if at < end and raw[at] <= 0x7F:
                size, at = raw[at], at + 1
            else:
                size, at = _read_varint(raw, at, 5)
            at += size
            if at > end:
                raise FrameCorruptError(f"a message of {end} bytes is cut inside field {key >> 3}")
            if key == tag and depth == 0:
                payload = view[at - size : at]
                rest.append(view[kept:start])
                kept = at
        elif kind == 0:
            _, at = _read_varint(raw, at, 10)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 3 or kind == 4:
            depth += 1 if kind == 3 else -1  # a group: the parser of the rest checks that it is closed
        else:
            raise FrameCorruptError(f"a message of {end} bytes has a field of wire type {kind} at byte {start}")
    if at > end:
        raise FrameCorruptError(f"a message of {end} bytes is cut inside its last field")
    rest.append(view[kept:end])
    return payload, b"".join(rest)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(raw: bytes, at: int, longest: int) -> tuple[int, int]:
    """The number at `at`, which may take `longest` bytes, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(raw) or shift >= 7 * longest:
            raise FrameCorruptError(f"a message of {len(raw)} bytes has a broken number at byte {at}")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
