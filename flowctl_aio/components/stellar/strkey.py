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
    body += crc_hqx(body, 0).to_bytes(2, "little")
    return _encode_35(body) if len(body) == 35 else b32encode(body).rstrip(b"=").decode("ascii")


def _spread_steps() -> list[tuple[int, int, int]]:
    """Lower half, upper half and distance for each step that moves groups of five bits apart until each has a byte."""
    steps = []
    groups = 32  # in a half; 64 in all
    while groups:
        ones = (1 << 5 * groups) - 1
        lower = sum(ones << at for at in range(0, 8 * 64, 16 * groups))
        steps.append((lower, lower << 5 * groups, 3 * groups))
        groups //= 2
    return steps


_SPREAD = _spread_steps()
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".ljust(256, b"?")


def _encode_35(body: bytes) -> str:
    """Base32 of 35 bytes, which nearly all addresses are: all groups at once, three times as fast as `b32encode`."""
    bits = int.from_bytes(body, "big") << 40  # 56 groups and 8 empty ones
    for lower, upper, distance in _SPREAD:
        bits = bits & lower | (bits & upper) << distance
    return bits.to_bytes(64, "big").translate(_ALPHABET)[:56].decode("ascii")


def decode_strkey(text: str) -> tuple[Kind, bytes]:
    """Returns kind and payload of an address.

    Raises:
        CodecError: if it is none, or is not written in the one way in which its payload is written.
    """
    try:
        body = (_decode_56(text) if len(text) == 56 else b32decode(text + "=" * (-len(text) % 8)))[:-2]
    except ValueError as error:
        raise CodecError(f"{text!r} is not an address") from error
    for kind, (version, size) in _KINDS.items():
        if len(body) == size + 1 and body[0] == version:
            # Encoding again checks the sum and the unused bits at once.
            if encode_strkey(kind, body[1:]) == text:
                return kind, body[1:]
            break
    raise CodecError(f"{text!r} is not an address")


_NUMBERS = bytes(max(_ALPHABET[:32].find(byte), 0) for byte in range(256))


def _decode_56(text: str) -> bytes:
    """The opposite. A character that is none of base32 counts as 0, so the result must be encoded again to check it."""
    bits = int.from_bytes(text.encode("ascii").translate(_NUMBERS), "big") << 64
    for lower, upper, distance in reversed(_SPREAD):
        bits = bits & lower | bits >> distance & upper
    return (bits >> 40).to_bytes(35, "big")


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
