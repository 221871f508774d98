"""Pieces of regular expressions over words: one for each form that XDR knows. Their sum is what `usual` modules match.

The words lie in memory in the machine's own order, and so do the numbers in an expression.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from .words import Words

# Matches an expression from a position in bytes.
Matching: TypeAlias = "Callable[[Words[int], int], re.Match[bytes] | None]"

# A possessive repetition saves a twentieth of all instructions. Releases before 3.11.5 match too much with one that has
# choices inside, and later ones may fail if there are groups inside as well, which is why no item has any.
_NO_WAY_BACK = b"+" if sys.version_info >= (3, 11, 5) else b""


def word(value: int) -> bytes:
    return re.escape(value.to_bytes(4, sys.byteorder))


def words(count: int) -> bytes:
    """So many words of any value."""
    return b".{%d}+" % (4 * count) if count > 2 else b"." * 4 * count


def one_of(low: int, high: int) -> bytes:
    """One word of this range, up to 255."""
    byte = b"[" + re.escape(bytes((low,))) + b"-" + re.escape(bytes((high,))) + b"]"
    return byte + bytes(3) if sys.byteorder == "little" else bytes(3) + byte


def any_of(values: Iterable[int]) -> bytes:
    """One word of these, up to 255: one look at it, where a choice would try each."""
    byte = b"[" + b"".join(re.escape(bytes((value,))) for value in values) + b"]"
    return byte + bytes(3) if sys.byteorder == "little" else bytes(3) + byte


def negative(low: int, high: int) -> bytes:
    """One word of this range of negative numbers, from -256 on."""
    byte = b"[" + re.escape(bytes((256 + low,))) + b"-" + re.escape(bytes((256 + high,))) + b"]"
    return byte + b"\xff" * 3 if sys.byteorder == "little" else b"\xff" * 3 + byte


def choice(arms: Mapping[int, bytes]) -> bytes:
    """A union: each discriminant, tried in this order, with what belongs to it."""
    return b"(?:" + b"|".join(word(value) + arm for value, arm in arms.items()) + b")"


def sized(sizes: tuple[int, ...]) -> bytes:
    """A union by a table of sizes in words, the discriminant counted too."""
    return choice({value: words(size - 1) for value, size in enumerate(sizes)})


def several(item: bytes, most: int) -> bytes:
    """An array of at most so many."""
    return choice({count: repeated(item, count) for count in range(most + 1)})


def counted(item: bytes, bits: int, name: str, *, often: Iterable[int] = ()) -> bytes:
    """An array of less than `2**bits`, with an expression that grows with `bits` only. Not for use inside a repetition.

    Each bit of the count that is set gives a group, and each group that was found asks for so many items.

    Args:
        item: an element.
        bits: how many bits of the count are known.
        name: of the groups; no other array of the same expression has it.
        often: counts that are tried before, since to look at bits takes as long as two items.
    """
    looks, parts = b"", b""
    for bit in range(bits):
        is_set = any_of(value for value in range(1 << bits) if value >> bit & 1)
        group = b"%b%d" % (name.encode(), bit)
        looks += b"(?=(?P<%b>%b)?)" % (group, is_set)
        parts += b"(?(%b)%b)" % (group, repeated(item, 1 << bit))
    arms = [word(count) + repeated(item, count) for count in often]
    return b"(?:" + b"|".join([*arms, looks + one_of(0, (1 << bits) - 1) + parts]) + b")"


def repeated(item: bytes, count: int) -> bytes:
    """So many of these, one after the other."""
    return item * count if count < 2 else b"(?:%b){%d}%b" % (item, count, _NO_WAY_BACK)


def text(most: int = 32) -> bytes:
    """A string of at most so many bytes, a multiple of four."""
    arms = [one_of(length - 3, length) + words(length // 4) for length in range(4, most + 1, 4)]
    return b"(?:" + b"|".join([word(0), *arms]) + b")"
