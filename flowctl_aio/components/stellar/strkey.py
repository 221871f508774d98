"""Addresses as people read them: G for accounts, M muxed, C contracts, B claimable balances, L liquidity pools.

Base32 over a version byte, the payload and a CRC-16/XMODEM of both, low byte first; no padding.
The short functions at the end remember what they encoded, since a ledger names the same few accounts over and over.

Source: SEP-23.
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from binascii import crc_hqx
from functools import lru_cache
from struct import Struct
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
    """Lower half, upper half and distance for each step that moves groups of five bits apart until each has a byte.

    Eight groups are five bytes, which were given eight; seven times that is an address.
    """
    steps = []
    groups = 4  # in a half
    while groups:
        ones = (1 << 5 * groups) - 1
        lower = sum(ones << at for at in range(0, 8 * 56, 16 * groups))
        steps.append((lower, lower << 5 * groups, 3 * groups))
        groups //= 2
    return steps


(_LOWER_4, _UPPER_4, _), (_LOWER_2, _UPPER_2, _), (_LOWER_1, _UPPER_1, _) = _SPREAD = _spread_steps()
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".ljust(256, b"?")
_FIVES, _EIGHTS = Struct("5s5s5s5s5s5s5s").unpack, Struct("3x5s3x5s3x5s3x5s3x5s3x5s3x5s")
_THREE = bytes(3)


def _encode_35(body: bytes) -> str:
    """Base32 of 35 bytes, which nearly all addresses are: all groups at once, four times as fast as `b32encode`."""
    bits = int.from_bytes(_THREE.join(_FIVES(body)), "big")
    # The steps of `_SPREAD`, written out: the loop would take a third of the time.
    bits = bits & _LOWER_4 | (bits & _UPPER_4) << 12
    bits = bits & _LOWER_2 | (bits & _UPPER_2) << 6
    bits = bits & _LOWER_1 | (bits & _UPPER_1) << 3
    return bits.to_bytes(56, "big").translate(_ALPHABET).decode("ascii")


def decode_strkey(text: str) -> tuple[Kind, bytes]:
    """Returns kind and payload of an address.

    Raises:
        CodecError: if it is none, or is not written in the one way in which its payload is written.
    """
    try:
        body = _decode_56(text) if len(text) == 56 else b32decode(text + "=" * (-len(text) % 8))
    except ValueError as error:
        raise CodecError(f"{text!r} is not an address") from error
    for kind, (version, size) in _KINDS.items():
        if len(body) == size + 3 and body[0] == version:
            payload = body[1:-2]
            # All 35 bytes are in the 56 letters, so the sum is what is left to check. Where bits are unused, encoding
            # again checks them as well.
            if _has_sum(body) if len(text) == 56 else encode_strkey(kind, payload) == text:
                return kind, payload
            break
    raise CodecError(f"{text!r} is not an address")


def _has_sum(body: bytes) -> bool:
    return crc_hqx(body[:-2], 0).to_bytes(2, "little") == body[-2:]


_LETTERS = _ALPHABET[:32]
_NUMBERS = bytes(max(_LETTERS.find(byte), 0) for byte in range(256))


def _decode_56(text: str) -> bytes:
    """The opposite.

    Raises:
        ValueError: if a character is none of base32.
    """
    letters = text.encode("ascii")
    if letters.strip(_LETTERS):
        raise ValueError("a character is none of base32")
    bits = int.from_bytes(letters.translate(_NUMBERS), "big")
    for lower, upper, distance in reversed(_SPREAD):
        bits = bits & lower | bits >> distance & upper
    return b"".join(_EIGHTS.unpack(bits.to_bytes(56, "big")))


_VERSION_G, _VERSION_C, _VERSION_L = (bytes((_KINDS[kind][0],)) for kind in ("G", "C", "L"))
_VERSION_B = bytes((_KINDS["B"][0], 0))  # and the type of the id
_BYTES = [bytes((value,)) for value in range(256)]
_LAST_LETTERS = [b32encode(byte).rstrip(b"=").decode("ascii") for byte in _BYTES]


def _encode_32(version: bytes, payload: bytes) -> str:
    """The address of a payload that must have 32 bytes."""
    if len(payload) != 32:
        raise CodecError(f"an address has 32 bytes of payload, not {len(payload)}")
    body = version + payload
    return _encode_35(body + crc_hqx(body, 0).to_bytes(2, "little"))


@lru_cache(maxsize=_REMEMBERED)
def account_address(key: bytes) -> str:
    """The G address of a public key of 32 bytes."""
    return _encode_32(_VERSION_G, key)


@lru_cache(maxsize=_REMEMBERED)
def contract_address(contract_id: bytes) -> str:
    """The C address of a contract id of 32 bytes."""
    return _encode_32(_VERSION_C, contract_id)


@lru_cache(maxsize=_REMEMBERED)
def pool_address(pool_id: bytes) -> str:
    """The L address of a liquidity pool id of 32 bytes."""
    return _encode_32(_VERSION_L, pool_id)


def balance_address(balance_id: bytes) -> str:
    """The B address of a claimable balance id of 32 bytes. Not remembered: a balance is made once and claimed once."""
    if len(balance_id) != 32:
        raise CodecError(f"the id of a claimable balance has 32 bytes, not {len(balance_id)}")
    body = _VERSION_B + balance_id
    low, high = crc_hqx(body, 0).to_bytes(2, "little")
    # All but the last byte of the sum, which has two letters of its own.
    return _encode_35(body + _BYTES[low]) + _LAST_LETTERS[high]
