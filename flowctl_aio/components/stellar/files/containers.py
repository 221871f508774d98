"""The forms in which ledgers stand in a file, told apart by their first bytes, and read one ledger at a time.

| first bytes | form |
|---|---|
| high bit set | record marks: 0x80000000 + length, then so many bytes of ledger, to the end |
| 0, 1 or 2, then 0 or 1 | one LedgerCloseMeta: its version, and an extension or the like |
| `AAAA` | one LedgerCloseMeta a line, in base64 |
| `{` | an answer of a Stellar RPC server to `getLedgers` |
| else | a batch, as the objects of a lake hold it: start, end, count, and the ledgers |

Source: RFC 5531 for the marks, of which stellar-core writes one for each ledger; SEP-54 for batches.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterator
from typing import Literal

from flowctl_aio.components.stellar import xdr
from flowctl_aio.components.stellar.files.unpacking import Bytes
from flowctl_aio.components.stellar.lake.objects import StoredLedger
from flowctl_aio.components.stellar.lake.store import PassingError
from flowctl_aio.components.stellar.rpc.answers import RefusedError, read_page, read_result
from flowctl_aio.errors import CodecError, FrameCorruptError, FrameTooLargeError

Form = Literal["ledger", "batch", "marked", "base64", "answer"]

MAX_LEDGERS_BYTES = 256 << 20
"""What one ledger, one batch or one answer may take, unpacked."""

HEAD_BYTES = 8192
"""Enough of a file to know its form, and the header of its first ledger unless it is an answer."""

_BATCH_HEAD = struct.Struct(">III")
_LAST_FRAGMENT = 1 << 31


def form_of(head: bytes) -> Form | None:
    """Tells a file's form by its first bytes; None if it is none of ours."""
    if len(head) < 12:
        return None
    if head[:1] == b"{":
        return "answer"
    if head[:4] == b"AAAA":
        return "base64"
    first, second, third = _BATCH_HEAD.unpack_from(head)
    if first & _LAST_FRAGMENT:
        return "marked"
    # A batch cannot end before it starts, so one that starts at ledger 2 is not taken for a ledger of version 2.
    if first <= 2 and (first == 0 or second <= 1):
        return "ledger"
    return "batch" if first <= second and third == second - first + 1 else None


def first_sequence(head: bytes, form: Form) -> int:
    """Reads the number of the first ledger out of the first bytes, for each form but an answer.

    Raises:
        CodecError: if there is no ledger.
    """
    if form == "batch":
        return int(_BATCH_HEAD.unpack_from(head)[0])
    if form == "base64":
        line = head.split(b"\n", 1)[0].strip()
        head = _from_base64(line if len(line) < HEAD_BYTES else line[: HEAD_BYTES & ~3])
    return xdr.ledger_header(head[4:] if form == "marked" else head).sequence


def read_ledgers(data: Bytes, form: Form) -> Iterator[StoredLedger]:
    """Reads the ledgers of a file from its start, each when it is asked for. Blocks.

    A ledger is walked to its last byte, so that a cut one is found here.

    Raises:
        CodecError: if something in it is not what the form says; the file is named.
    """
    before = 0
    where = str(data.path)
    try:
        for whole in _READERS[form](data):
            stored, before = data.stored - before, data.stored
            for nth, ledger in enumerate(whole):
                # What was read for several is counted with the first one.
                yield StoredLedger.of(ledger, stored_bytes=0 if nth else stored)
    except FrameTooLargeError:
        raise
    except (CodecError, PassingError) as error:
        raise error if where in str(error) else FrameCorruptError(f"{where}: {error}") from error


def _one(data: Bytes) -> Iterator[list[bytes]]:
    yield xdr.split_ledgers(_all_of(data), 1)


def _batch(data: Bytes) -> Iterator[list[bytes]]:
    batch = _all_of(data)
    start, end, count = _BATCH_HEAD.unpack_from(batch)
    if count != end - start + 1:
        raise FrameCorruptError(f"it says it holds ledgers {start} to {end}, but counts {count}")
    ledgers = xdr.split_ledgers(batch[_BATCH_HEAD.size :], count)
    for sequence, ledger in enumerate(ledgers, start):
        if (found := xdr.ledger_header(ledger).sequence) != sequence:
            raise FrameCorruptError(f"it should have ledger {sequence} where it has ledger {found}")
    yield ledgers


def _marked(data: Bytes) -> Iterator[list[bytes]]:
    nth = 0
    while mark := data.read(4):
        nth += 1
        size = int.from_bytes(mark, "big")
        if len(mark) < 4 or not size & _LAST_FRAGMENT:
            raise FrameCorruptError(f"record {nth} has no mark that ends it")
        size -= _LAST_FRAGMENT
        if size > MAX_LEDGERS_BYTES:
            raise FrameTooLargeError(f"record {nth} of {data.path}", size=size, limit=MAX_LEDGERS_BYTES)
        ledger = data.read(size)
        if len(ledger) < size:
            raise FrameCorruptError(f"record {nth} is cut: {len(ledger)} of its {size} bytes are there")
        yield xdr.split_ledgers(ledger, 1)


def _base64(data: Bytes) -> Iterator[list[bytes]]:
    nth = 0
    while line := data.read_line(MAX_LEDGERS_BYTES + 1):
        nth += 1
        if len(line) > MAX_LEDGERS_BYTES:
            raise FrameTooLargeError(f"line {nth} of {data.path}", size=len(line), limit=MAX_LEDGERS_BYTES)
        if line := line.strip():
            yield xdr.split_ledgers(_from_base64(line), 1)


def _answer(data: Bytes) -> Iterator[list[bytes]]:
    try:
        page = read_page(read_result(_all_of(data), None), first=None)
    except RefusedError as error:
        raise FrameCorruptError(f"it is an answer without ledgers: {error}") from error
    yield [ledger.xdr for ledger in page.ledgers]
    if page.fault is not None:
        raise FrameCorruptError(page.fault)


_READERS: dict[Form, Callable[[Bytes], Iterator[list[bytes]]]] = {
    "ledger": _one,
    "batch": _batch,
    "marked": _marked,
    "base64": _base64,
    "answer": _answer,
}


def _all_of(data: Bytes) -> bytes:
    found = data.read(MAX_LEDGERS_BYTES + 1)
    if len(found) > MAX_LEDGERS_BYTES:
        raise FrameTooLargeError(str(data.path), size=len(found), limit=MAX_LEDGERS_BYTES)
    return found


def _from_base64(line: bytes) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FrameCorruptError(f"a line is not base64: {error}") from error
