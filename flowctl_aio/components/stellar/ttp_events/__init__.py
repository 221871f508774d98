"""TTPEvent rows: token transfers in the 25 columns of the first implementation, as far as those can tell them.

Example:
    batch = ttp_events(rows_to_batch(token_transfers(lcm, passphrase=passphrase, mode="derived").rows))
"""

from __future__ import annotations

from .projection import ttp_events
from .schema import SCHEMA, SCHEMA_VERSION

__all__ = ["SCHEMA", "SCHEMA_VERSION", "ttp_events"]
