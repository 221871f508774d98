"""One movement of a token, and the issuer rule that names it.

A movement is the part of a row that an operation or an event decides; the ledger, the transaction
and the operation come from where it was found. Plain tuples, since a ledger makes thousands.
"""

from __future__ import annotations

from typing import NamedTuple

from flowctl_aio.components.stellar.assets import Asset

# None, ("id", int), ("text", str) or ("hash", bytes)
Muxed = tuple[str, int | str | bytes] | None

# contract, to_muxed, kind, asset, frm, to, amount
Movement = tuple[str, Muxed, str, str | None, str | None, str | None, int]

# ledger, closed, tx, tx_index, op_index, and then a movement
Row = tuple[int, int, str, int, int | None, str, Muxed, str, str | None, str | None, str | None, int]


def move(asset: Asset, frm: str, to: str, amount: int, muxed: Muxed = None) -> Movement:
    """A movement between two holders, named by the issuer rule.

    What an issuer gives out is minted, what comes back to it is burned.
    Between two issuers, which is an issuer and itself, it stays a transfer. A burn has no receiver to inform.
    """
    text, contract, issuer = asset
    if issuer is None or (frm == issuer) is (to == issuer):
        return contract, muxed, "transfer", text, frm, to, amount
    if frm == issuer:
        return contract, muxed, "mint", text, None, to, amount
    return contract, None, "burn", text, frm, None, amount


def mint(asset: Asset, to: str, amount: int) -> Movement:
    return asset.contract, None, "mint", asset.text, None, to, amount


def burn(asset: Asset, frm: str, amount: int) -> Movement:
    return asset.contract, None, "burn", asset.text, frm, None, amount


def clawback(asset: Asset, frm: str, amount: int) -> Movement:
    return asset.contract, None, "clawback", asset.text, frm, None, amount


def fee(native: Asset, frm: str, amount: int) -> Movement:
    return native.contract, None, "fee", native.text, frm, None, amount


class TransactionMovements(NamedTuple):
    """What one transaction moved.

    Attributes:
        fees: the charge, and the refund if there was one, as a negative fee.
        operations: the movements of each operation that took effect; empty for a failed transaction.
    """

    fees: list[Movement]
    operations: list[list[Movement]]
