"""A whole LedgerCloseMeta, versions 0, 1 and 2: walks it from its first word to its last.

The walk proves the shape and no more. It finds a cut or misread ledger, since it must end exactly on the last word,
but a flipped bit inside a number passes: the checksum of the container and the hashes of the header are for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flowctl_aio.errors import LedgerDecodeError

from .consensus import Header, skip_scp, skip_upgrades, walk_header
from .entries import skip_entry
from .envelopes import Envelope, walk_envelopes
from .transactions import Transaction, walk_transactions
from .values import HASH, skip_ledger_keys
from .words import FLAG, OPTIONAL_INT64, VOID, StrangeValueError, Words, decoding, words_of

# The most that can precede the end of a header: six upgrades and a signature of odd size, hashes and numbers.
_HEADER_BYTES = 4096


class LedgerHeader(NamedTuple):
    """The facts of a header.

    Attributes:
        sequence: the ledger's number.
        closed_at: close time, unix seconds.
        hash: 32 bytes.
        previous_hash: 32 bytes, of the ledger before.
        protocol: the protocol version.
    """

    sequence: int
    closed_at: int
    hash: bytes
    previous_hash: bytes
    protocol: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger that was walked to its end.

    Attributes:
        data: its bytes.
        words: the same as words; every index counts in these.
        header: sequence, times, hashes.
        envelopes: the transactions as they were submitted, in the order of the set, which is not the order of applying.
        transactions: in apply order.
    """

    data: bytes
    words: Words[int]
    header: LedgerHeader
    envelopes: list[Envelope]
    transactions: list[Transaction]


def ledger_header(data: bytes) -> LedgerHeader:
    """Reads the header at the start of a LedgerCloseMeta, and nothing after it.

    Raises:
        LedgerDecodeError: if no header of a known version is there.
    """
    head = bytes(data[:_HEADER_BYTES])
    w = words_of(head[: len(head) & ~3])
    with decoding(w):
        _, header = walk_header(w, 0)
        return _facts(head, header)


def walk_ledger(data: bytes, *, with_envelopes: bool = True) -> Ledger:
    """Walks one LedgerCloseMeta that fills `data`.

    Args:
        data: its bytes.
        with_envelopes: whether the envelopes are wanted; without, they are passed faster, and none is given.

    Raises:
        LedgerDecodeError: if it is cut, holds what no known version has, or does not end on the last word.
    """
    w = words_of(data)
    envelopes: list[Envelope] | None = [] if with_envelopes else None
    transactions: list[Transaction] = []
    with decoding(w):
        i, header = walk_header(w, 0)
    with decoding(w, ledger=header.sequence):
        i = _walk_body(w, i, header.lcm_version, envelopes, transactions)
    if i != len(w):
        what = f"{4 * (len(w) - i)} bytes follow its end" if i < len(w) else "the bytes end inside a value"
        raise LedgerDecodeError(what, ledger=header.sequence, offset=4 * min(i, len(w)))
    return Ledger(data, w, _facts(data, header), envelopes or [], transactions)


def ledger_end(w: Words[int], start: int) -> int:
    """Walks the LedgerCloseMeta that begins at word `start` and returns the word after it.

    Raises:
        LedgerDecodeError: if there is no whole ledger; its offset counts from the ledger's own start.
    """
    with decoding(w, start=start):
        i, header = walk_header(w, start)
    with decoding(w, ledger=header.sequence, start=start):
        i = _walk_body(w, i, header.lcm_version, None, [])
    if i > len(w):
        raise LedgerDecodeError("the bytes end inside a value", ledger=header.sequence, offset=4 * (len(w) - start))
    return i


def split_ledgers(data: bytes, count: int) -> list[bytes]:
    """Cuts `count` LedgerCloseMetas that stand back to back, as in an object of a data lake (SEP-54).

    Nothing between them says where one ends, so each is walked.

    Raises:
        LedgerDecodeError: if the bytes are not exactly `count` ledgers.
    """
    w = words_of(data)
    ledgers = []
    i = 0
    for nth in range(1, count + 1):
        if i >= len(w):
            raise LedgerDecodeError(f"the bytes end before number {nth} of {count}", offset=4 * i)
        start, i = i, ledger_end(w, i)
        ledgers.append(data[4 * start : 4 * i])
    if i != len(w):
        raise LedgerDecodeError(f"{4 * (len(w) - i)} bytes follow the last of {count}", offset=4 * i)
    return ledgers


def _facts(data: bytes, header: Header) -> LedgerHeader:
    own, previous = 4 * header.hash, 4 * header.previous_hash
    hashes = data[own : own + 32], data[previous : previous + 32]
    return LedgerHeader(header.sequence, header.closed_at, *hashes, header.protocol)


def _walk_body(w: Words[int], i: int, version: int, envelopes: list[Envelope] | None, found: list[Transaction]) -> int:
    """From the end of the header to the end of the ledger."""
    i = _walk_generalized_set(w, i, envelopes) if version else walk_envelopes(w, i + HASH, envelopes)
    i = walk_transactions(w, i, version, found)
    i = skip_scp(w, skip_upgrades(w, i))
    if version:
        i = skip_ledger_keys(w, i + 2)  # after the size of the live Soroban state: evicted keys
    if version == 1:  # an array of entries that was never used
        count, i = w[i], i + 1
        for _ in range(count):
            i = skip_entry(w, i)
    return i


def _walk_generalized_set(w: Words[int], i: int, envelopes: list[Envelope] | None) -> int:
    if w[i] != 1:
        raise StrangeValueError(f"its transaction set has version {w[i]}; version 1 is known")
    phases, i = w[i + 1 + HASH], i + 2 + HASH
    for _ in range(phases):
        is_parallel, i = w[i], i + FLAG[w[i]]
        if is_parallel:
            i += OPTIONAL_INT64[w[i]]
            stages, i = w[i], i + 1
            for _ in range(stages):
                clusters, i = w[i], i + 1
                for _ in range(clusters):
                    i = walk_envelopes(w, i, envelopes)
        else:
            components, i = w[i], i + 1
            for _ in range(components):
                i += VOID[w[i]]
                i += OPTIONAL_INT64[w[i]]
                i = walk_envelopes(w, i, envelopes)
    return i
