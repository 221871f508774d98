"""Rows of token transfers as Arrow columns, and back as the JSON lines of the published expectations.

An amount is a string in Arrow as it is in JSON: it has the range of a signed 128-bit integer,
which a decimal128 of 38 digits does not hold.

Source: TokenTransferEvent of the Stellar Development Foundation's token-transfer processor, flattened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from .movements import Muxed, Row

SCHEMA_NAME = "token_transfer@1"


def _field(name: str, kind: Any, description: str, *, nullable: bool = False) -> Any:
    return pa.field(name, kind, nullable=nullable, metadata={b"description": description.encode()})


SCHEMA: Any = pa.schema(
    [
        _field("ledger_sequence", pa.uint32(), "Number of the ledger; LedgerHeader.ledgerSeq."),
        _field(
            "closed_at",
            pa.timestamp("us", tz="UTC"),
            "Close time of the ledger, whole seconds; LedgerHeader.scpValue.closeTime.",
        ),
        _field("tx_hash", pa.utf8(), "Transaction hash, 64 lower-case hex digits; of a fee bump the outer one."),
        _field("transaction_index", pa.uint32(), "Position of the transaction in the ledger in apply order, from 1."),
        _field(
            "operation_index",
            pa.uint32(),
            "Position of the operation in the transaction, from 1; null for fees.",
            nullable=True,
        ),
        _field(
            "contract_address",
            pa.utf8(),
            "C address (SEP-23): the asset's contract, deployed or not (CAP-46-06); of a custom token the emitter.",
        ),
        _field(
            "to_muxed_id",
            pa.uint64(),
            "Sub-account of the receiver as a number: muxed account id, or transaction memo (CAP-67).",
            nullable=True,
        ),
        _field(
            "to_muxed_text",
            pa.utf8(),
            "Sub-account of the receiver as text, from the transaction memo or the event; U+FFFD where it is no UTF-8.",
            nullable=True,
        ),
        _field(
            "to_muxed_hash",
            pa.binary(),
            "Sub-account of the receiver as bytes: a hash or return memo, or bytes of the event.",
            nullable=True,
        ),
        _field("kind", pa.utf8(), "transfer, mint, burn, clawback or fee (CAP-67)."),
        _field("asset", pa.utf8(), "native or CODE:ISSUER (SEP-11); null for a custom token.", nullable=True),
        _field("from_address", pa.utf8(), "Sender, an address of SEP-23; null for a mint.", nullable=True),
        _field(
            "to_address",
            pa.utf8(),
            "Receiver, an address of SEP-23; null for a burn, a clawback and a fee.",
            nullable=True,
        ),
        _field(
            "amount",
            pa.utf8(),
            "Signed decimal integer of the smallest unit, for classic assets 10^-7; negative only for a fee's refund.",
        ),
    ],
    metadata={b"flowctl.schema": SCHEMA_NAME.encode()},
)

_MUXED = ("id", "text", "hash")
_MICROSECONDS = 1_000_000
_SECONDS = pa.timestamp("s", tz="UTC")


def rows_to_batch(rows: Iterable[Row]) -> Any:
    """Returns the rows of one or more ledgers as a `pa.RecordBatch` of `SCHEMA`, in their order."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * 12
    ledger, closed, tx, tx_index, op_index, contract, muxed, kind, asset, frm, to, amount = columns
    values = [
        ledger,
        pa.array(closed, type=_SECONDS).cast(SCHEMA.field("closed_at").type),
        tx,
        tx_index,
        op_index,
        contract,
        *_muxed_columns(muxed),
        kind,
        asset,
        frm,
        to,
        _decimals(amount),
    ]
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, type=type_)
        for column, type_ in zip(values, SCHEMA.types, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _decimals(amounts: Sequence[int]) -> Any:
    """Amounts as text. Arrow writes them, in a third of the time, where all fit into its integers, as most do."""
    try:
        return pa.array(amounts, type=pa.int64()).cast(pa.utf8())
    except OverflowError:
        return pa.array(list(map(str, amounts)), type=pa.utf8())


def _muxed_columns(muxed: Sequence[Muxed]) -> list[list[Any]]:
    """One column for each kind of muxed information, of which a row has at most one."""
    columns: list[list[Any]] = [[None] * len(muxed) for _ in _MUXED]
    # Most rows have none.
    for row, pair in enumerate(muxed):
        if pair is not None:
            columns[_MUXED.index(pair[0])][row] = pair[1]
    return columns


def batch_to_golden(batch: Any) -> Iterator[dict[str, Any]]:
    """Yields each row of a `pa.RecordBatch` of `SCHEMA` as the JSON object that `golden_dict` makes of its tuple."""
    seconds = batch.column("closed_at").cast(pa.int64()).to_pylist()
    names = [name for name in SCHEMA.names if name != "closed_at"]
    columns = [batch.column(name).to_pylist() for name in names]
    for closed, ledger, tx, tx_index, op_index, contract, *rest in zip(seconds, *columns, strict=True):
        *muxed, kind, asset, frm, to, amount = rest
        pair: Muxed = next(((k, v) for k, v in zip(_MUXED, muxed, strict=True) if v is not None), None)
        row = (ledger, closed // _MICROSECONDS, tx, tx_index, op_index, contract, pair, kind, asset, frm, to)
        yield golden_dict((*row, int(amount)))


_GOLDEN = [
    *("ledger", "closed", "tx", "tx_index", "op_index", "contract"),
    *("to_muxed", "kind", "asset", "frm", "to", "amount"),
]


def golden_dict(row: Row) -> dict[str, Any]:
    """Returns a row as a JSON object: the amount as a string, a hash as hex, muxed information as a list."""
    fields: dict[str, Any] = dict(zip(_GOLDEN, row, strict=True))
    if row[6] is not None:
        kind, value = row[6]
        fields["to_muxed"] = [kind, value.hex() if isinstance(value, bytes) else value]
    fields["amount"] = str(row[11])
    return fields


def golden_line(row: Row | dict[str, Any]) -> str:
    """Returns a row, or what `golden_dict` made of it, as a line of JSON without its end."""
    fields = row if isinstance(row, dict) else golden_dict(row)
    return json.dumps(fields, separators=(",", ":"))
