"""Addresses as people read them: G for accounts, M muxed, C contracts, B claimable balances, L liquidity pools.

Base32 over a version byte, the payload and a CRC-16/XMODEM of both, low byte first; no padding.
The short functions at the end remember what they encoded, since a ledger names the same few accounts over and over.

Source: SEP-23.
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from binascii import crc_hqx
from functools import lru_cache
from typing import Literal

from flowctl_aio.errors import CodecError

Kind = Literal["G", "M", "C", "B", "L"]

# Version byte, and bytes of the payload.
_KINDS: dict[Kind, tuple[int, int]] = {
    "G": (6 << 3, 32),
    "M": (12 << 3, 40),  # the key, then the id
    "C": (2 << 3, 32),
    "B": (1 << 3, 33),  # the type of the id, then the id
    "L": (11 << 3, 32),
}
_REMEMBERED = 1 << 16


def encode_strkey(kind: Kind, payload: bytes) -> str:
    """Returns the address of a payload.

    Args:
        kind: its first letter.
        payload: 32 bytes; for M 40, for B 33.

    Raises:
        CodecError: if the payload has another length.
    """
    version, size = _KINDS[kind]
    if len(payload) != size:
        raise CodecError(f"an address that begins with {kind} has {size} bytes of payload, not {len(payload)}")
    body = bytes((version,)) + payload
    return b32encode(body + crc_hqx(body, 0).to_bytes(2, "little")).rstrip(b"=").decode("ascii")


def decode_strkey(text: str) -> tuple[Kind, bytes]:
    """Returns kind and payload of an address.

    Raises:
        CodecError: if it is none, or is not written in the one way in which its payload is written.
    """
    try:
        body = b32decode(text + "=" * (-len(text) % 8))[:-2]
    except ValueError as error:
        raise CodecError(f"{text!r} is not an address") from error
    for kind, (version, size) in _KINDS.items():
        if len(body) == size + 1 and body[0] == version:
            # Encoding again checks the sum and the unused bits at once.
            if encode_strkey(kind, body[1:]) == text:
                return kind, body[1:]
            break
    raise CodecError(f"{text!r} is not an address")


@lru_cache(maxsize=_REMEMBERED)
def account_address(key: bytes) -> str:
    """The G address of a public key of 32 bytes."""
    return encode_strkey("G", key)


@lru_cache(maxsize=_REMEMBERED)
def contract_address(contract_id: bytes) -> str:
    """The C address of a contract id of 32 bytes."""
    return encode_strkey("C", contract_id)


@lru_cache(maxsize=_REMEMBERED)
def pool_address(pool_id: bytes) -> str:
    """The L address of a liquidity pool id of 32 bytes."""
    return encode_strkey("L", pool_id)


def balance_address(balance_id: bytes) -> str:
    """The B address of a claimable balance id of 32 bytes. Not remembered: a balance is made once and claimed once."""
    return encode_strkey("B", b"\0" + balance_id)
