"""Bytes → damaged bytes: blindly, by the fields of protobuf, or by the words of Arrow's flatbuffers.

All chance comes from the caller; no decoder is known here.
"""

from __future__ import annotations

import struct
from random import Random

# Numbers at which lengths and offsets break.
EDGES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)
CONTINUATION = b"\xff\xff\xff\xff"
# Fixed-width kinds of field; of the others the length is read.
WIDTHS = {1: 8, 5: 4}
MOST_FIELDS = 200


def mutated(data: bytes, chance: Random) -> bytes:
    """Cut, flipped, with a number at an edge, or with a piece of itself elsewhere."""
    broken = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(broken))
        match chance.randrange(8):
            case 0:
                del broken[max(at, 1) :]
            case 1 | 2 | 3:
                broken[at] ^= 1 << chance.randrange(8)
            case 4 | 5:
                _put(broken, at, _edge(chance))
            case _:
                start = chance.randrange(len(broken))
                broken[at:at] = broken[start : start + 16]
    return bytes(broken)


def refielded(message: bytes, chance: Random) -> bytes:
    """A protobuf message whose fields were dropped, doubled, moved, relabelled, nested, or given another length."""
    parts = fields(message)
    for _ in range(chance.randint(1, 3)):
        if not parts:
            break
        at = chance.randrange(len(parts))
        tag, body = parts[at]
        match chance.randrange(8):
            case 0:
                del parts[at]
            case 1:
                parts.insert(chance.randrange(len(parts) + 1), (tag, body))
            case 2:
                parts.insert(chance.randrange(len(parts)), parts.pop(at))
            case 3:
                parts[at] = ((tag & ~7) | chance.randrange(8), body)
            case 4:
                parts[at] = (max(8, chance.choice((1, 2, 3, 4, 5, 19, 2**20)) << 3 | tag & 7), body)
            case 5:
                parts[at] = (tag, varint(chance.choice(EDGES), longest=chance.choice((0, 5, 10, 11))) + body[1:])
            case 6:
                group = chance.choice((1, 2, 3, 9)) << 3
                parts[at : at + 1] = [(group | 3, b""), (tag, body), (group | chance.choice((3, 4)), b"")]
            case _:
                parts[at] = (tag, mutated(body, chance) if body else body)
    return b"".join(varint(tag) + body for tag, body in parts)


def rewired(frame: bytes, chance: Random) -> bytes:
    """An Arrow frame with words of its messages' metadata changed: offsets, lengths, counts, kinds.

    More often in the record batch than in the schema, so that a reader which knows the schema gets to read on.
    """
    broken = bytearray(frame)
    spans = metadata_spans(frame)
    if not spans:
        return mutated(frame, chance)
    start, end = spans[0] if chance.random() < 0.3 else spans[-1]
    words = range(start, end - 3, 4)
    for _ in range(chance.randint(1, 3)):
        at = chance.choice(words)
        match chance.randrange(6):
            case 0:
                _put(broken, at, _edge(chance)[:8])
            case 1:
                broken[at : at + 4] = broken[(other := chance.choice(words)) : other + 4]
            case 2 | 3:
                (word,) = struct.unpack_from("<I", broken, at)
                struct.pack_into("<I", broken, at, (word + chance.choice((-16, -8, -4, -1, 1, 4, 8, 16))) % 2**32)
            case 4:
                half = at + 2 * chance.randrange(2)
                struct.pack_into("<H", broken, half, chance.randrange(64))
            case _:
                broken[at + chance.randrange(4)] ^= 1 << chance.randrange(8)
    return bytes(broken)


def fields(message: bytes) -> list[tuple[int, bytes]]:
    """Tag and rest of each field, as far as it can be read; what is behind is one field more."""
    found: list[tuple[int, bytes]] = []
    at = 0
    try:
        while at < len(message) and len(found) < MOST_FIELDS:
            start = at
            tag, at = _read_varint(message, at)
            body = at
            if tag & 7 == 2:
                size, at = _read_varint(message, at)
                at += size
            elif tag & 7 == 0:
                _, at = _read_varint(message, at)
            else:
                at += WIDTHS.get(tag & 7, 0)
            if at > len(message):
                at = start
                break
            found.append((tag, message[body:at]))
    except IndexError:
        at = start
    return found if at >= len(message) else [*found, (message[at] or 8, message[at + 1 :])]


def metadata_spans(frame: bytes) -> list[tuple[int, int]]:
    """Where the metadata of the first two messages of an IPC stream lies, as far as that can be told."""
    spans: list[tuple[int, int]] = []
    at = 0
    while len(spans) < 2 and frame[at : at + 4] == CONTINUATION and len(frame) >= at + 8:
        (length,) = struct.unpack_from("<i", frame, at + 4)
        if length < 4 or at + 8 + length > len(frame):
            break
        spans.append((at + 8, at + 8 + length))
        at += 8 + length  # a schema has no body behind it
    return spans


def varint(value: int, *, longest: int = 0) -> bytes:
    """A number as protobuf writes it; made longer than it has to be, up to `longest` bytes."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    while len(out) + 1 < longest:
        out.append(value | 0x80)
        value = 0
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift >= 70:
            return value, at


def _edge(chance: Random) -> bytes:
    return struct.pack("<Q", chance.choice(EDGES))[: chance.choice((1, 2, 4, 8))]


def _put(broken: bytearray, at: int, piece: bytes) -> None:
    broken[at : at + len(piece)] = piece
