"""What stands in a ledger beside its transactions: the header, upgrades, and the messages of consensus (SCP)."""

from __future__ import annotations

from typing import NamedTuple

from .entries import skip_changes
from .values import ACCOUNT, HASH
from .words import VOID, StrangeValueError, Words, read_uint64, skip_opaque, skip_opaques

_LAST_SECOND = 253402300799  # of the year 9999: the last that a datetime can hold
_LCM_EXT = (1, 4)  # version 1: extension point, int64
_HEADER_EXT = (1, 3)  # version 1: flags, extension point
_UPGRADE = {1: 2, 2: 2, 3: 2, 4: 2, 5: 2, 6: 17, 7: 2}
_PREPARE, _CONFIRM, _EXTERNALIZE, _NOMINATE = range(4)


class Header(NamedTuple):
    """What is read of a header.

    Attributes:
        lcm_version: 0, 1 or 2, of the LedgerCloseMeta around it.
        hash: word index of the ledger's hash.
        protocol: the protocol version.
        previous_hash: word index of the hash of the ledger before.
        closed_at: close time, unix seconds.
        sequence: the ledger's number.
        content: word index of the LedgerHeader, whose bytes are what the ledger's hash is taken over.
        sequence_at: word index of the ledger's number; totals, fees and limits follow.
        content_end: the word after the LedgerHeader.
    """

    lcm_version: int
    hash: int
    protocol: int
    previous_hash: int
    closed_at: int
    sequence: int
    content: int
    sequence_at: int
    content_end: int


def walk_header(w: Words[int], i: int) -> tuple[int, Header]:
    """Walks the start of a LedgerCloseMeta, from its version to the end of the LedgerHeaderHistoryEntry."""
    version, i = w[i], i + 1
    if version > 2:
        raise StrangeValueError(f"its LedgerCloseMeta has version {version}; versions 0 to 2 are known")
    if version:
        i += _LCM_EXT[w[i]]
    hash_at = i
    i += HASH
    protocol, previous_hash = w[i], i + 1
    i += 1 + 2 * HASH  # previous ledger, transaction set
    closed_at = read_uint64(w, i)
    if closed_at > _LAST_SECOND:
        raise StrangeValueError("its close time is after the year 9999")
    i = skip_opaques(w, i + 2)  # upgrades that were voted for
    i = _value_ext(w, i) + 2 * HASH  # hashes of results and of the bucket list
    sequence, sequence_at = w[i], i
    # Sequence, total coins, fee pool, inflation, id pool, base fee, base reserve, size of a set, four older hashes.
    i += 1 + 2 + 2 + 1 + 2 + 1 + 1 + 1 + 4 * HASH
    i += _HEADER_EXT[w[i]]
    content_end = i
    i += VOID[w[i]]
    facts = (protocol, previous_hash, closed_at, sequence, hash_at + HASH, sequence_at, content_end)
    return i, Header(version, hash_at, *facts)


def _value_ext(w: Words[int], i: int) -> int:
    kind, i = w[i], i + 1
    if kind == 0:
        return i
    if kind == 2:  # the value that was proposed in place of an empty set: two hashes, protocol
        i += 2 * HASH + 1
    elif kind != 1:
        raise StrangeValueError("unknown form of a consensus value")
    return skip_opaque(w, i + ACCOUNT)  # node, signature


def skip_upgrades(w: Words[int], i: int) -> int:
    count, i = w[i], i + 1
    for _ in range(count):
        i = skip_changes(w, i + _UPGRADE[w[i]])
    return i


def skip_scp(w: Words[int], i: int) -> int:
    count, i = w[i], i + 1
    for _ in range(count):
        i += VOID[w[i]]
        sets, i = w[i], i + 1
        while sets:  # threshold, validators, then the sets inside this one
            i += 2 + ACCOUNT * w[i + 1]
            sets, i = sets - 1 + w[i], i + 1
        messages, i = w[i + 1], i + 2  # after the ledger's number
        for _ in range(messages):
            i = skip_opaque(w, _statement(w, i))
    return i


def _statement(w: Words[int], i: int) -> int:
    i += ACCOUNT + 2
    kind, i = w[i], i + 1
    if kind == _NOMINATE:  # quorum set, votes, accepted values
        return skip_opaques(w, skip_opaques(w, i + HASH))
    if kind == _PREPARE:
        i = _ballot(w, i + HASH)
        for _ in range(2):
            i = _ballot(w, i + 1) if w[i] else i + 1
        return i + 2
    if kind == _CONFIRM:
        return _ballot(w, i) + 3 + HASH
    if kind == _EXTERNALIZE:
        return _ballot(w, i) + 1 + HASH
    raise StrangeValueError("unknown kind of SCP statement")


def _ballot(w: Words[int], i: int) -> int:
    return skip_opaque(w, i + 1)
