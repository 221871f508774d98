"""From the bytes of ledgers to ledger rows: every number is read in the ledger, none is worked out from another's.

Counts and fees come from the results in apply order, which say what happened; the set of envelopes,
which is in another order, is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pyarrow as pa

from flowctl_aio.components.stellar.networks import network_id
from flowctl_aio.components.stellar.xdr import Ledger, walk_ledger
from flowctl_aio.components.stellar.xdr.consensus import walk_header
from flowctl_aio.components.stellar.xdr.values import HASH
from flowctl_aio.components.stellar.xdr.words import read_int64
from flowctl_aio.errors import ConfigError, LedgerDecodeError

from .schema import SCHEMA, SCHEMA_VERSION

# Words from a ledger's number in its header: total coins, two words, stand between.
_FEE_POOL, _BASE_FEE, _BASE_RESERVE, _MAX_TX_SET_SIZE = 3, 8, 9, 10
_MICROSECONDS = 1_000_000
_MOST_INT64 = 2**63 - 1
_MOST_XDR = 2**31 - 1  # what a column of Arrow's type binary holds


def ledger_rows(
    xdrs: Iterable[bytes],
    *,
    passphrase: str,
    source_type: str,
    source_url: str | None = None,
    ingested_at: datetime | None = None,
    with_xdr: bool = False,
    verify: bool = False,
) -> Any:
    """Returns one row for each ledger as a `pa.RecordBatch` of `SCHEMA`, in their order.

    Args:
        xdrs: LedgerCloseMetas, without container or compression.
        passphrase: of their network, which no ledger names.
        source_type: rpc, datalake, archive, or the word of a source that is none of these.
        source_url: where they came from, without secrets.
        ingested_at: timezone-aware; now by default.
        with_xdr: whether the rows carry the ledgers themselves.
        verify: whether each header must have the hash that stands beside it. Synthetic ledgers have not.

    Raises:
        LedgerDecodeError: if a ledger cannot be read, or must have its header's hash and has not.
        ConfigError: if the time has no timezone, no source is named, or the ledgers are more than a batch can carry.
    """
    if not source_type:
        raise ConfigError("ledger rows need a source_type, such as datalake or rpc")
    moment = datetime.now(UTC) if ingested_at is None else ingested_at
    if moment.tzinfo is None:
        raise ConfigError("ingested_at has no timezone")
    network = network_id(passphrase)
    rows, size = [], 0
    for xdr in xdrs:
        ledger = walk_ledger(bytes(xdr))
        size += len(ledger.data)
        if with_xdr and size > _MOST_XDR:
            raise ConfigError("the ledgers of one batch are over 2 GiB of XDR: take fewer at a time")
        facts = _facts(ledger, must_verify=verify)
        raw = ledger.data if with_xdr else b""
        rows.append((*facts[:4], moment, facts[4], network, *facts[5:], raw, source_type, source_url, SCHEMA_VERSION))
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _facts(ledger: Ledger, *, must_verify: bool) -> tuple[Any, ...]:
    """What a ledger says of itself, in the order of the columns."""
    data, w, header = ledger.data, ledger.words, ledger.header
    _, places = walk_header(w, 0)
    if must_verify and sha256(data[4 * places.content : 4 * places.content_end]).digest() != header.hash:
        raise LedgerDecodeError("its hash is not that of its header", ledger=header.sequence, offset=4 * places.hash)
    results = [transaction.result for transaction in ledger.transactions]
    succeeded = [result for result in results if result.success]
    fees = sum(read_int64(w, result.pair + HASH) for result in results)
    if abs(fees) > _MOST_INT64:
        raise LedgerDecodeError("its fees are more than there is", ledger=header.sequence)
    at = places.sequence_at
    return (
        header.sequence,
        header.hash,
        header.previous_hash,
        header.closed_at * _MICROSECONDS,
        header.protocol,
        len(results),
        len(succeeded),
        len(results) - len(succeeded),
        sum(w[result.operations] for result in succeeded),
        fees,
        read_int64(w, at + _FEE_POOL),
        w[at + _BASE_FEE],
        w[at + _BASE_RESERVE],
        w[at + _MAX_TX_SET_SIZE],
    )
