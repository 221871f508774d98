"""The 25 columns of a TTPEvent, as the first implementation named and typed them.

Names, types and nulls are its own. Three descriptions had to grow: `event_id` has a fourth part, since three
did not tell events apart, `event_type` lists the kinds of CAP-67, and `asset_type` has a word for custom tokens.

Source: schema `ttp_event`, version 1.0.0.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

SCHEMA_VERSION = "1.0.0"
SCHEMA_NAME = "ttp_event@1"

_TIME = pa.timestamp("us", tz="UTC")
_INDEX = {"index": "true"}
_STROOPS = {"unit": "stroops"}
_ASSET_TYPES = {"enum": "native,credit_alphanum4,credit_alphanum12,contract"}


def _field(
    name: str, kind: Any, description: str, more: dict[str, str] | None = None, *, nullable: bool = False
) -> Any:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description, **(more or {})})


SCHEMA: Any = pa.schema(
    [
        _field(
            "event_id",
            pa.utf8(),
            "Unique: ledger, transaction hash, operation (0 for fees), number within the operation from 0.",
            {"format": "ledger:tx:op:number"},
        ),
        _field("ledger_sequence", pa.uint32(), "Number of the ledger.", _INDEX),
        _field("transaction_hash", pa.binary(32), "Transaction; of a fee bump the outer one.", {"encoding": "hex"}),
        _field("operation_index", pa.uint32(), "Position of the operation, from 1; 0 for fees."),
        _field("timestamp", _TIME, "When the ledger closed, whole seconds.", {"timezone": "UTC", **_INDEX}),
        _field("processed_at", _TIME, "When this row was made.", {"timezone": "UTC"}),
        _field(
            "event_type",
            pa.utf8(),
            "What moved, by CAP-67; the operation that moved it is not told.",
            {"enum": "transfer,mint,burn,clawback,fee", **_INDEX},
        ),
        _field("asset_type", pa.utf8(), "native, a credit by the length of its code, or a custom token.", _ASSET_TYPES),
        _field("asset_code", pa.utf8(), "Code; null for native and for a custom token.", _INDEX, nullable=True),
        _field(
            "asset_issuer",
            pa.utf8(),
            "G address of the issuer, C address of a custom token; null for native.",
            _INDEX,
            nullable=True,
        ),
        _field("from_account", pa.utf8(), "Sender: G, C, B or L address; empty for a mint.", _INDEX),
        _field("to_account", pa.utf8(), "Receiver: likewise; empty for a burn, a clawback and a fee.", _INDEX),
        _field("amount_raw", pa.int64(), "What moved, in the smallest unit; negative for a refund of a fee.", _STROOPS),
        _field("amount_str", pa.utf8(), "In whole units with seven decimals; of a custom token in its smallest unit."),
        _field("source_asset_type", pa.utf8(), "Null: see docs/transfers.md.", _ASSET_TYPES, nullable=True),
        _field("source_asset_code", pa.utf8(), "Null.", nullable=True),
        _field("source_asset_issuer", pa.utf8(), "Null.", nullable=True),
        _field("source_amount_raw", pa.int64(), "Null.", _STROOPS, nullable=True),
        _field("source_amount_str", pa.utf8(), "Null.", nullable=True),
        _field("successful", pa.bool_(), "Whether it took effect: always true, also for the fee of a failure.", _INDEX),
        _field(
            "memo_type",
            pa.utf8(),
            "What the sub-account of the receiver is told by; null if by nothing.",
            {"enum": "none,text,id,hash,return"},
            nullable=True,
        ),
        _field("memo_value", pa.utf8(), "That sub-account: text, decimal id, or hex digits.", nullable=True),
        _field("fee_charged", pa.int64(), "Fee of the whole transaction, after refunds.", _STROOPS),
        _field("processor_version", pa.utf8(), "Version of what made this row."),
        _field("schema_version", pa.utf8(), "Version of these columns."),
    ],
    metadata={
        "version": SCHEMA_VERSION,
        "description": "Token Transfer Protocol events optimized for analytics",
        "primary_key": "event_id",
        "partition_key": "timestamp",
        "sort_key": "ledger_sequence,operation_index",
        "flowctl.schema": SCHEMA_NAME,
    },
)
