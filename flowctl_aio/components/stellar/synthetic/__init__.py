"""Ledgers of a network that does not exist, made from a seed: for tests, demos and load."""

from __future__ import annotations

from flowctl_aio.components.stellar.synthetic.ledgers import SyntheticLedgers

__all__ = ["SyntheticLedgers"]
