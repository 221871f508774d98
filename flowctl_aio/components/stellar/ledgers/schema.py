"""The 20 columns of a ledger row, as the first implementation named and typed them.

Names, types, nulls and metadata are its own, so that what was stored with it can be read beside what is made here.
The values are not: its hashes, network ids and counts were wrong.

Source: schema `stellar_ledger`, version 1.0.0.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

SCHEMA_VERSION = "1.0.0"
SCHEMA_NAME = "stellar_ledger@1"

_TIME = pa.timestamp("us", tz="UTC")
_HASH = pa.binary(32)
_HEX = {"encoding": "hex"}
_STROOPS = {"unit": "stroops"}


def _field(
    name: str, kind: Any, description: str, more: dict[str, str] | None = None, *, nullable: bool = False
) -> Any:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description, **(more or {})})


SCHEMA: Any = pa.schema(
    [
        _field("sequence", pa.uint32(), "Number of the ledger; LedgerHeader.ledgerSeq.", {"index": "true"}),
        _field("hash", _HASH, "The ledger's own hash, sha256 of its header; LedgerHeaderHistoryEntry.hash.", _HEX),
        _field("previous_hash", _HASH, "Hash of the ledger before; LedgerHeader.previousLedgerHash.", _HEX),
        _field(
            "close_time",
            _TIME,
            "When it closed, whole seconds; LedgerHeader.scpValue.closeTime.",
            {"timezone": "UTC", "index": "true"},
        ),
        _field("ingestion_time", _TIME, "When this row was made.", {"timezone": "UTC"}),
        _field("protocol_version", pa.uint32(), "Protocol that closed it; LedgerHeader.ledgerVersion."),
        _field("network_id", _HASH, "Its network: sha256 of the passphrase.", _HEX),
        _field("transaction_count", pa.uint32(), "Transactions that were applied, failed ones too."),
        _field("successful_transaction_count", pa.uint32(), "Transactions that took effect."),
        _field("failed_transaction_count", pa.uint32(), "Transactions that paid a fee and did nothing else."),
        _field("operation_count", pa.uint32(), "Operations of the transactions that took effect, as Horizon counts."),
        _field(
            "total_fees",
            pa.int64(),
            "Sum of TransactionResult.feeCharged over all transactions, failed ones too.",
            _STROOPS,
        ),
        _field("fee_pool", pa.int64(), "All fees ever charged and not paid out; LedgerHeader.feePool.", _STROOPS),
        _field("base_fee", pa.uint32(), "Least fee of an operation; LedgerHeader.baseFee.", _STROOPS),
        _field("base_reserve", pa.uint32(), "Reserve for each ledger entry; LedgerHeader.baseReserve.", _STROOPS),
        _field(
            "max_tx_set_size",
            pa.uint32(),
            "Most operations a ledger takes (transactions before protocol 11); LedgerHeader.maxTxSetSize.",
        ),
        _field(
            "ledger_xdr",
            pa.binary(),
            "The LedgerCloseMeta as raw, uncompressed XDR; empty unless it was asked for.",
            {"encoding": "base64", "compress": "true"},
        ),
        _field("source_type", pa.utf8(), "What sort of source it came from.", {"enum": "rpc,datalake,archive"}),
        _field("source_url", pa.utf8(), "Where it came from.", nullable=True),
        _field("schema_version", pa.utf8(), "Version of these columns."),
    ],
    metadata={
        "version": SCHEMA_VERSION,
        "description": "Stellar ledger data optimized for analytics",
        "primary_key": "sequence",
        "partition_key": "close_time",
        "flowctl.schema": SCHEMA_NAME,
    },
)
