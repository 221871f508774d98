"""Transaction envelopes: where the sources, the memo, the operations and the signatures are."""

from __future__ import annotations

from re import Match
from typing import NamedTuple

from .operations import walk_operations
from .usual_envelopes import usual_envelope
from .values import HASH, MUXED_ACCOUNT, skip_ledger_keys, skip_signer_key
from .words import FLAG, OPTIONAL_INT64, VOID, Words, new_tuple, skip_opaque

TX_V0, TX_V1, FEE_BUMP = 0, 2, 5  # EnvelopeType
_INNER_TYPE = {TX_V1: 1}
_V0_TYPE = {TX_V0: 0}

_MEMO_TEXT = 1
_MEMO = {0: 1, 2: 3, 3: 9, 4: 9}
_TIME_BOUNDS = (0, 4)
_OPTIONAL_TWO_WORDS = (1, 3)
_OPTIONAL_TIME_BOUNDS = (1, 5)


class Envelope(NamedTuple):
    """Word indexes inside one envelope. For a fee bump all but the first three are those of the inner transaction.

    Attributes:
        kind: TX_V0, TX_V1 or FEE_BUMP.
        body: the transaction that is hashed; it ends where the signatures begin.
        signatures: the first word after the transaction.
        fee_source: the account that pays: a MuxedAccount, or the bare key if `kind` is TX_V0.
        source: the source account, in the same form as `fee_source`; fee (uint32) and sequence number (int64) follow.
        memo: the memo.
        operations: the array of operations.
        is_soroban: whether it carries Soroban data.
    """

    kind: int
    body: int
    signatures: int
    fee_source: int
    source: int
    memo: int
    operations: int
    is_soroban: bool


def walk_envelopes(w: Words[int], i: int, found: list[Envelope] | None) -> int:
    """Walks an array of envelopes, appends them to `found` unless it is None, and returns the position after it."""
    usual_at = usual_envelope()
    count, i = w[i], i + 1
    for _ in range(count):
        usual = usual_at(w, 4 * i)
        if usual is None:
            i, envelope = walk_envelope(w, i)
            if found is not None:
                found.append(envelope)
        else:
            if found is not None:
                found.append(_usual(i, usual))
            i = usual.end() >> 2
    return i


def _usual(i: int, usual: Match[bytes]) -> Envelope:
    """What the expression for a usual envelope found at `i`."""
    start = usual.start
    kind, source, signatures = TX_V1, i + 1, start("inner") >> 2
    if usual["bump"] is not None:
        kind, source, signatures = FEE_BUMP, start("source") >> 2, start("outer") >> 2
    memo, operations = start("memo") >> 2, start("operations") >> 2
    return new_tuple(Envelope, (kind, i + 1, signatures, i + 1, source, memo, operations, False))


def walk_envelope(w: Words[int], i: int) -> tuple[int, Envelope]:
    """Returns the position after the envelope, and what is inside."""
    kind, i = w[i], i + 1
    body = i
    if kind == TX_V1:
        i, source, memo, operations, is_soroban = _transaction(w, i)
        fee_source = source
    elif kind == FEE_BUMP:
        fee_source = i
        i += MUXED_ACCOUNT[w[i]] + 2
        i += _INNER_TYPE[w[i]]
        i, source, memo, operations, is_soroban = _transaction(w, i)
        i = _signatures(w, i)
        i += VOID[w[i]]
    else:
        i += _V0_TYPE[kind]
        fee_source = source = i
        i += HASH + 3  # key, fee, sequence number
        i += _OPTIONAL_TIME_BOUNDS[w[i]]
        memo, i = i, _skip_memo(w, i)
        operations = i
        i, _ = walk_operations(w, i)
        i += VOID[w[i]]
        is_soroban = False
    envelope = Envelope(kind, body, i, fee_source, source, memo, operations, is_soroban)
    return _signatures(w, i), envelope


def _transaction(w: Words[int], i: int) -> tuple[int, int, int, int, bool]:
    source = i
    i += MUXED_ACCOUNT[w[i]] + 3  # fee, sequence number
    i = _preconditions(w, i)
    memo, i = i, _skip_memo(w, i)
    operations = i
    i, _ = walk_operations(w, i)
    is_soroban = w[i] == 1
    i += FLAG[w[i]]
    return _soroban_data(w, i) if is_soroban else i, source, memo, operations, is_soroban


def _preconditions(w: Words[int], i: int) -> int:
    kind, i = w[i], i + 1
    if kind == 2:
        i += _OPTIONAL_TIME_BOUNDS[w[i]]
        i += _OPTIONAL_TWO_WORDS[w[i]]  # ledger bounds
        i += OPTIONAL_INT64[w[i]] + 3  # lowest sequence number; lowest age and gap
        count, i = w[i], i + 1
        for _ in range(count):
            i = skip_signer_key(w, i)
        return i
    return i + _TIME_BOUNDS[kind]


def _skip_memo(w: Words[int], i: int) -> int:
    if w[i] == _MEMO_TEXT:
        return skip_opaque(w, i + 1)
    return i + _MEMO[w[i]]


def _soroban_data(w: Words[int], i: int) -> int:
    has_archived, i = w[i], i + FLAG[w[i]]
    if has_archived:
        i += 1 + w[i]
    i = skip_ledger_keys(w, skip_ledger_keys(w, i))
    return i + 5  # instructions, bytes read and written, resource fee


def _signatures(w: Words[int], i: int) -> int:
    count, i = w[i], i + 1
    for _ in range(count):
        i += 2 + ((w[i + 1] + 3) >> 2)
    return i
