"""Token transfers: every movement of every token in a ledger, as rows, as Arrow columns and as JSON lines.

Example:
    transfers = token_transfers(lcm, passphrase=passphrase_of("pubnet"), mode="unified")
    batch = rows_to_batch(transfers.rows)
"""

from __future__ import annotations

from .balances import Imbalance, find_imbalances
from .filters import KINDS, TransferFilter
from .movements import Row
from .schema import SCHEMA, batch_to_golden, golden_dict, golden_line, rows_to_batch
from .transfers import LedgerTransfers, Mode, token_transfers

__all__ = [
    "KINDS",
    "SCHEMA",
    "Imbalance",
    "LedgerTransfers",
    "Mode",
    "Row",
    "TransferFilter",
    "batch_to_golden",
    "find_imbalances",
    "golden_dict",
    "golden_line",
    "rows_to_batch",
    "token_transfers",
]
