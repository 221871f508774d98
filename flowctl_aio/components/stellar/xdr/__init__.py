"""The skip walker: bytes of a LedgerCloseMeta in, word indexes out.

It finds where things are and decodes next to nothing, because most of a ledger is never looked at.
Whoever wants a value reads it at its index, with the functions of `words`.
It knows the shape of XDR and nothing of what a transaction means.
"""

from __future__ import annotations

from .ledger import Ledger, LedgerHeader, ledger_end, ledger_header, split_ledgers, walk_ledger

__all__ = ["Ledger", "LedgerHeader", "ledger_end", "ledger_header", "split_ledgers", "walk_ledger"]
