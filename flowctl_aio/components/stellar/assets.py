"""Classic assets: their text, their issuer, and the contract id that each of them has on a network.

An asset comes as the XDR of the type `Asset` or as the text `native` or `CODE:ISSUER`.
Its contract id is that of the Stellar Asset Contract (SAC), whether or not that contract was ever deployed.

Source: CAP-46-06 (contract id of an asset), SEP-11 (text).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from flowctl_aio.errors import CodecError

from .strkey import account_address, contract_address, decode_strkey

NATIVE_XDR = bytes(4)
_ALPHANUM4, _ALPHANUM12 = b"\0\0\0\1", b"\0\0\0\2"
_ED25519 = bytes(4)
_CONTRACT_ID_PREIMAGE, _FROM_ASSET = b"\0\0\0\x08", b"\0\0\0\1"
_ADDRESS = 56  # letters
_REMEMBERED = 1 << 15


class Asset(NamedTuple):
    """A classic asset on one network.

    Attributes:
        text: `native` or `CODE:ISSUER`.
        contract: the C address of its contract.
        issuer: the G address of its issuer, None for native.
    """

    text: str
    contract: str
    issuer: str | None


@lru_cache(maxsize=_REMEMBERED)
def asset_of(xdr: bytes, network: bytes) -> Asset:
    """Returns the asset that `xdr` encodes, on the network with this id (32 bytes).

    Raises:
        CodecError: if its issuer is no account as we know them.
    """
    contract = contract_address(asset_contract_id(xdr, network))
    if xdr == NATIVE_XDR:
        return Asset("native", contract, None)
    if xdr[-36:-32] != _ED25519:
        raise CodecError("the issuer of an asset has an unknown type of key")
    issuer = account_address(xdr[-32:])
    return Asset(f"{_code(xdr)}:{issuer}", contract, issuer)


def _code(xdr: bytes) -> str:
    """The code of an asset with an issuer. Only trailing NULs are padding."""
    return xdr[4:-36].rstrip(b"\0").decode("utf-8", "replace")


def asset_contract_id(xdr: bytes, network: bytes) -> bytes:
    """Returns the contract id, 32 bytes, of the asset that `xdr` encodes."""
    return sha256(_CONTRACT_ID_PREIMAGE + network + _FROM_ASSET + xdr).digest()


def asset_xdr(text: str) -> bytes:
    """Returns the XDR of `native` or `CODE:ISSUER`.

    Raises:
        CodecError: if the text is neither.
    """
    if text == "native":
        return NATIVE_XDR
    code, colon, issuer = text.partition(":")
    raw = code.encode()
    if not colon or not 1 <= len(raw) <= 12:
        raise CodecError(f"{text!r} is not an asset: neither native nor CODE:ISSUER")
    kind, key = decode_strkey(issuer)
    if kind != "G":
        raise CodecError(f"{text!r} is not an asset: its issuer is no account")
    tag, size = (_ALPHANUM4, 4) if len(raw) <= 4 else (_ALPHANUM12, 12)
    return tag + raw.ljust(size, b"\0") + _ED25519 + key


@lru_cache(maxsize=_REMEMBERED)
def proven_asset(text: bytes, contract_id: bytes, network: bytes) -> Asset | None:
    """Returns the asset that a contract names, if the contract is that asset's own; else None.

    Any contract can emit an event that says USDC. Only its id proves it.
    """
    try:
        words = text.decode("ascii")
        xdr = asset_xdr(words)
    except ValueError:
        return None
    if asset_contract_id(xdr, network) != contract_id:
        return None
    contract = contract_address(contract_id)
    if xdr == NATIVE_XDR:
        return Asset("native", contract, None)
    issuer = words[-_ADDRESS:]  # as the text has it: there is one way to write it
    return Asset(f"{_code(xdr)}:{issuer}", contract, issuer)
