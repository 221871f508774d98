"""Bytes as an array of 32-bit words, the few ways to read one, and the seam where a bad ledger becomes one error.

XDR (RFC 4506) is big-endian and aligned to four bytes, so a field is `w[i]`,
which costs a third of `struct.unpack_from`.
Every function of this package takes the words `w` and a position `i` in words,
and a `skip_*` function returns the position after its value.

How an unknown value fails: sizes stand in tuples indexed by the discriminant, and a discriminant that is not
in the table raises IndexError (KeyError where the numbers are sparse). A count that is too large runs off the end
of the array, which is an IndexError as well. `decoding` turns them all into LedgerDecodeError.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from flowctl_aio.errors import LedgerDecodeError

Words = array  # of "I": four bytes each, checked in words_of

# Words that a choice between little and nothing takes, its flag included.
VOID = (1,)  # an extension point: only version 0 exists
FLAG = (1, 1)  # a bool, or the flag of an optional whose value is looked at next
OPTIONAL_HASH = (1, 9)
OPTIONAL_ACCOUNT = (1, 10)
OPTIONAL_INT64 = (1, 3)

# Makes a named tuple of a tuple in half the time that calling its class takes; for the few that a ledger makes by
# thousands. The number of fields is not checked.
new_tuple = tuple.__new__

_TWO_63, _TWO_64 = 1 << 63, 1 << 64


class StrangeValueError(LookupError):
    """A value that was seen to be wrong; the sentence it carries becomes the reason of the LedgerDecodeError."""


def words_of(data: bytes) -> Words[int]:
    """Returns the big-endian words of `data` as native integers.

    Raises:
        LedgerDecodeError: if the length is no multiple of four.
    """
    if len(data) % 4:
        raise LedgerDecodeError(f"{len(data)} bytes are no whole number of XDR words", offset=len(data) & ~3)
    words = array("I", data)
    if words.itemsize != 4:  # pragma: no cover
        raise LedgerDecodeError("this platform has no unsigned integer of four bytes")
    if sys.byteorder == "little":
        words.byteswap()
    return words


def skip_opaque(w: Words[int], i: int) -> int:
    """Variable-length opaque or string: length, bytes, padding."""
    return i + 1 + ((w[i] + 3) >> 2)


def skip_opaques(w: Words[int], i: int) -> int:
    """An array of variable-length opaques."""
    count, i = w[i], i + 1
    for _ in range(count):
        i += 1 + ((w[i] + 3) >> 2)
    return i


def read_uint64(w: Words[int], i: int) -> int:
    return w[i] << 32 | w[i + 1]


def read_int64(w: Words[int], i: int) -> int:
    value = w[i] << 32 | w[i + 1]
    return value if value < _TWO_63 else value - _TWO_64


def read_opaque(data: bytes, w: Words[int], i: int) -> bytes:
    """The bytes of a variable-length opaque or string, without padding."""
    start = 4 * i + 4
    return data[start : start + w[i]]


@contextmanager
def decoding(w: Words[int] | None = None, *, ledger: int | None = None, start: int = 0) -> Iterator[None]:
    """Turns every way in which untrusted words can fail into LedgerDecodeError.

    Args:
        w: the words that are read, to tell a cut ledger from a strange one.
        ledger: its sequence, if known.
        start: the word at which the ledger begins.

    Raises:
        LedgerDecodeError: if the body raised one of the lookup or value errors that bad input causes.
    """
    try:
        yield
    except LedgerDecodeError as error:
        if ledger is None or error.ledger is not None:
            raise
        raise LedgerDecodeError(error.reason, ledger=ledger, offset=error.offset) from error
    except (LookupError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        i = _position(error.__traceback__)
        if i is not None and w is not None:
            i = min(i, len(w))  # a length from bad bytes may point far behind them
        offset = None if i is None else 4 * (i - start)
        raise LedgerDecodeError(_reason(error, i, w), ledger=ledger, offset=offset) from error


def _position(traceback: TracebackType | None) -> int | None:
    """The `i` of the innermost frame that has one: an exact offset that costs nothing while all goes well."""
    found = None
    while traceback is not None:
        i = traceback.tb_frame.f_locals.get("i")
        if isinstance(i, int):
            found = i
        traceback = traceback.tb_next
    return found


def _reason(error: Exception, i: int | None, w: Words[int] | None) -> str:
    if isinstance(error, StrangeValueError):
        return str(error)
    if isinstance(error, RecursionError | MemoryError):
        return "values are nested too deep, or too large"
    if "array index" in str(error) or (i is not None and w is not None and i >= len(w)):
        return "the bytes end inside a value"
    return "a discriminant or a value that no known version of the protocol has"
