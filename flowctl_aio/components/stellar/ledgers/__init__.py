"""Ledger rows: what each ledger is and how much is in it, one row of 20 Arrow columns per ledger.

Example:
    batch = ledger_rows([lcm], passphrase=passphrase_of("pubnet"), source_type="datalake")
"""

from __future__ import annotations

from .rows import ledger_rows
from .schema import SCHEMA, SCHEMA_VERSION

__all__ = ["SCHEMA", "SCHEMA_VERSION", "ledger_rows"]
