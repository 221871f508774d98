"""Token transfers as TTPEvents. What the older columns cannot tell is left null, never guessed.

A batch must hold whole ledgers: the fee of a transaction is the sum of its fee events, and events
are numbered within their operation. So filters come after, as an argument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from flowctl_aio import __version__
from flowctl_aio.components.stellar.transfers import SCHEMA as TRANSFERS
from flowctl_aio.components.stellar.transfers import TransferFilter
from flowctl_aio.errors import CodecError, ConfigError, SchemaMismatchError

from .schema import SCHEMA, SCHEMA_VERSION

_LEAST_INT64, _MOST_INT64 = -(2**63), 2**63 - 1
_STROOPS = 10_000_000
_ALPHANUM4 = 4  # characters
_NOTHING: tuple[None, ...] = (None,) * 5  # of what was sent, where something else arrived


def ttp_events(batch: Any, *, wanted: TransferFilter | None = None, processed_at: datetime | None = None) -> Any:
    """Returns the token transfers of whole ledgers as a `pa.RecordBatch` of `SCHEMA`, in their order.

    Args:
        batch: a `pa.RecordBatch` of token transfers.
        wanted: which of them; ids and fees are the same with a filter and without.
        processed_at: timezone-aware; now by default.

    Raises:
        SchemaMismatchError: if the columns are not those of token transfers.
        CodecError: if a wanted amount is beyond int64, which only `amount_str` could hold: want amounts
            up to 2**63 - 1 to leave it out. Or if the fee of a transaction is not in the batch.
        ConfigError: if the time has no timezone.
    """
    if not batch.schema.equals(TRANSFERS):
        raise SchemaMismatchError(expected="token_transfer@1", found=", ".join(batch.schema.names))
    moment = datetime.now(UTC) if processed_at is None else processed_at
    if moment.tzinfo is None:
        raise ConfigError("processed_at has no timezone")
    columns = {name: batch.column(name).to_pylist() for name in TRANSFERS.names if name != "closed_at"}
    places = zip(columns["ledger_sequence"], columns["tx_hash"], columns["operation_index"], strict=True)
    ids = _ids(places)
    fees = _fees(columns)
    keep = [True] * batch.num_rows if wanted is None else wanted.mask(batch).to_pylist()
    # As integers of microseconds, which pass through unread.
    closed = batch.column("closed_at").cast(pa.int64()).to_pylist()
    rows = []
    for row, is_kept in enumerate(keep):
        if is_kept:
            one = {name: values[row] for name, values in columns.items()}
            rows.append(_event(one, ids[row], closed[row], moment, fees))
    found = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    arrays = [pa.array(column, type=field.type) for column, field in zip(found, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _ids(places: Iterable[tuple[int, str, int | None]]) -> list[str]:
    """An id for each event; the number in it tells the events of one operation apart."""
    seen: Counter[tuple[int, str, int | None]] = Counter()
    ids = []
    for place in places:
        ledger, tx, operation = place
        ids.append(f"{ledger}:{tx}:{operation or 0}:{seen[place]}")
        seen[place] += 1
    return ids


def _fees(columns: dict[str, list[Any]]) -> dict[tuple[int, str], int]:
    """What each transaction paid: its charge less its refund, as in its result."""
    fees: dict[tuple[int, str], int] = {}
    names = ("ledger_sequence", "tx_hash", "kind", "amount")
    for ledger, tx, kind, amount in zip(*(columns[name] for name in names), strict=True):
        if kind == "fee":
            fees[ledger, tx] = fees.get((ledger, tx), 0) + int(amount)
    return fees


def _event(
    row: dict[str, Any], event_id: str, closed: int, moment: datetime, fees: dict[tuple[int, str], int]
) -> tuple[Any, ...]:
    amount = int(row["amount"])
    if not _LEAST_INT64 <= amount <= _MOST_INT64:
        raise CodecError(f"event {event_id} moves {amount}, which the int64 of a TTPEvent does not hold")
    fee = fees.get((row["ledger_sequence"], row["tx_hash"]))
    if fee is None:
        raise CodecError(f"event {event_id} comes without the fee of its transaction: filter after, not before")
    return (
        event_id,
        row["ledger_sequence"],
        bytes.fromhex(row["tx_hash"]),
        row["operation_index"] or 0,
        closed,
        moment,
        row["kind"],
        *_asset(row["asset"], row["contract_address"]),
        row["from_address"] or "",
        row["to_address"] or "",
        amount,
        str(amount) if row["asset"] is None else _units(amount),
        *_NOTHING,
        True,
        *_memo(row),
        fee,
        __version__,
        SCHEMA_VERSION,
    )


def _asset(text: str | None, contract: str) -> tuple[str, str | None, str | None]:
    """Type, code and issuer."""
    if text is None:
        return "contract", None, contract
    if text == "native":
        return "native", None, None
    code, _, issuer = text.rpartition(":")
    return "credit_alphanum4" if len(code) <= _ALPHANUM4 else "credit_alphanum12", code, issuer


def _memo(row: dict[str, Any]) -> tuple[str | None, str | None]:
    """Type and value of what tells the receiver's sub-account."""
    if row["to_muxed_id"] is not None:
        return "id", str(row["to_muxed_id"])
    if row["to_muxed_text"] is not None:
        return "text", row["to_muxed_text"]
    if row["to_muxed_hash"] is not None:
        return "hash", row["to_muxed_hash"].hex()
    return None, None


def _units(stroops: int) -> str:
    """Whole units with seven decimals, without a float on the way."""
    whole, part = divmod(abs(stroops), _STROOPS)
    return f"{'-' if stroops < 0 else ''}{whole}.{part:07}"
