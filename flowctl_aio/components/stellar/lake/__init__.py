"""Data lakes of Stellar ledgers, as Galexie writes them: reading, and writing small ones for tests and demos."""

from __future__ import annotations

from flowctl_aio.components.stellar.lake.keys import LakeLayout
from flowctl_aio.components.stellar.lake.lake import Lake
from flowctl_aio.components.stellar.lake.manifest import Manifest
from flowctl_aio.components.stellar.lake.objects import StoredLedger, write_manifest, write_object
from flowctl_aio.components.stellar.lake.reader import LedgerStream

__all__ = ["Lake", "LakeLayout", "LedgerStream", "Manifest", "StoredLedger", "write_manifest", "write_object"]
