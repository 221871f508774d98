"""Ledgers in plain files, in every form in which they travel."""

from __future__ import annotations

from flowctl_aio.components.stellar.files.files import LedgerFiles

__all__ = ["LedgerFiles"]
