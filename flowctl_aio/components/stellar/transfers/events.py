"""Contract events that move tokens: transfer, mint, burn and clawback, as contracts emit them.

What does not fit the shape is no token event and is left out silently: a contract may emit what it likes.
The older shape (meta version 3) names an admin in mint and clawback and calls everything else a transfer;
the newer one (meta version 4) is taken as it stands, and may carry a muxed id.

Source: SEP-41, CAP-46-06 (older shape), CAP-67 (newer shape).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from flowctl_aio.components.stellar.assets import Asset, proven_asset
from flowctl_aio.components.stellar.strkey import (
    account_address,
    balance_address,
    contract_address,
    encode_strkey,
    pool_address,
)
from flowctl_aio.components.stellar.xdr.values import (
    ADDRESS,
    SCV_ADDRESS,
    SCV_BYTES,
    SCV_I128,
    SCV_MAP,
    SCV_STRING,
    SCV_SYMBOL,
    SCV_U64,
    SCV_VOID,
    skip_scvals,
)
from flowctl_aio.components.stellar.xdr.words import StrangeValueError, Words, read_opaque, read_uint64

from .movements import Movement, Muxed, move

CONTRACT_EVENT = 1

# Words from the start of an event that has a contract id: extension, flag, id; type, body version, number of topics.
_FLAG, _ID, _TYPE, _COUNT, _TOPICS = 1, 2, 10, 12, 13


class _Shape(NamedTuple):
    """Where an event has its addresses, by number of topic, and how many topics it has if it names an asset."""

    kind: str
    frm: int | None
    to: int | None
    addresses: int
    with_asset: int


_OLDER = {
    b"transfer": _Shape("transfer", 1, 2, 2, 4),
    b"mint": _Shape("mint", None, 2, 2, 4),
    b"clawback": _Shape("clawback", 2, None, 2, 4),
    b"burn": _Shape("burn", 1, None, 1, 3),
}
_NEWER = {
    b"transfer": _Shape("transfer", 1, 2, 2, 4),
    b"mint": _Shape("mint", None, 1, 1, 3),
    b"clawback": _Shape("clawback", 1, None, 1, 3),
    b"burn": _Shape("burn", 1, None, 1, 3),
}
# Almost every event that moves a token, from its first byte to its last: a transfer between two addresses that names an
# asset. Groups: the contract, both addresses, length and text of the name with its padding, the amount.
_AN_ADDRESS = rb"((?:\x00{8}|\x00{3}[\x01\x04]|\x00{3}\x03\x00{4}).{32})"
_USUAL_TRANSFER = re.compile(
    rb"\x00{7}\x01(.{32})\x00{3}\x01\x00{7}\x04\x00{3}\x0f\x00{3}\x08transfer\x00{3}\x12%b\x00{3}\x12%b\x00{3}\x0e\x00{3}"
    rb"(\x06native\x00\x00|[\x39-\x3c].{60}|[\x3d-\x40].{64}|[\x41-\x44].{68}|\x45.{72})\x00{3}\x0a(.{16})"
    % (_AN_ADDRESS, _AN_ADDRESS),
    re.DOTALL,
)
_REMEMBERED = 1 << 16
_TEXTS = (SCV_SYMBOL, SCV_STRING)
_ONCE_WITH_ADMIN = ("mint", "clawback")


def read_events(data: bytes, w: Words[int], starts: list[int], *, older: bool, network: bytes) -> list[Movement]:
    """The token movements among some contract events.

    Args:
        data: the ledger's bytes.
        w: the same as words.
        starts: where each event begins.
        older: whether the events have the shape of meta version 3.
        network: the network's id.
    """
    shapes = _OLDER if older else _NEWER
    movements: list[Movement] = []
    usual_at = _USUAL_TRANSFER.match
    for i in starts:
        usual = usual_at(data, 4 * i)
        if usual is not None:
            emitter, frm, to, name, amount = usual.groups()
            text, contract, issuer = _named(name, emitter, network)
            units = int.from_bytes(amount, "big", signed=True)
            if older and text is not None:
                movements.append(move(Asset(text, contract, issuer), _address(frm), _address(to), units))
            else:
                movements.append((contract, None, "transfer", text, _address(frm), _address(to), units))
            continue
        topic = i + _TOPICS
        # Without a contract id these positions mean something else, but then the event is out anyway.
        if w[i + _FLAG] and w[i + _TYPE] == CONTRACT_EVENT and w[i + _COUNT] > 1 and w[topic] == SCV_SYMBOL:
            shape = shapes.get(data[4 * topic + 8 : 4 * topic + 8 + w[topic + 1]])
            if shape is not None:
                movement = _movement(data, w, i, shape, older, network)
                if movement is not None:
                    movements.append(movement)
    return movements


@lru_cache(maxsize=_REMEMBERED)
def _named(name: bytes, emitter: bytes, network: bytes) -> tuple[str | None, str, str | None]:
    """Text, contract and issuer of the asset that a usual transfer names; of a custom token only the contract.

    Args:
        name: the length of the text, one byte, and the text with its padding.
        emitter: the id of the contract.
        network: the network's id.
    """
    asset = proven_asset(name[1 : 1 + name[0]], emitter, network)
    return (None, contract_address(emitter), None) if asset is None else asset


def read_topics(w: Words[int], i: int) -> list[int]:
    """The positions of the topics of an event that has a contract id, and then of its data."""
    count, i = w[i + _COUNT], i + _TOPICS
    topics = [i]
    for _ in range(count):
        kind = w[i]
        if kind == SCV_ADDRESS:
            i += 1 + ADDRESS[w[i + 1]]
        elif kind in _TEXTS:
            i += 2 + ((w[i + 1] + 3) >> 2)
        else:
            i = skip_scvals(w, i, 1)
        topics.append(i)
    return topics


def contract_id(data: bytes, i: int) -> bytes:
    """The id, 32 bytes, of the contract that emitted the event at `i`, which has one."""
    start = 4 * (i + _ID)
    return data[start : start + 32]


def _movement(data: bytes, w: Words[int], i: int, shape: _Shape, older: bool, network: bytes) -> Movement | None:
    kind, frm_at, to_at, addresses, with_asset = shape
    topics = read_topics(w, i)
    count = len(topics) - 1
    if count <= addresses or w[topics[1]] != SCV_ADDRESS or w[topics[addresses]] != SCV_ADDRESS:
        return None
    if not older and count > 2 and kind in _ONCE_WITH_ADMIN and w[topics[2]] != SCV_STRING:
        return None  # the older shape: its second address is the holder
    value = _value(data, w, topics[-1], older)
    if value is None:
        return None
    amount, muxed = value
    emitter = contract_id(data, i)
    asset = None
    if count == with_asset and w[topics[-2]] == SCV_STRING:
        asset = proven_asset(read_opaque(data, w, topics[-2] + 1), emitter, network)
    frm = None if frm_at is None else read_address(data, topics, frm_at)
    if to_at is None:
        to = muxed = None
    else:
        to = read_address(data, topics, to_at)
    if asset is None:
        return contract_address(emitter), muxed, kind, None, frm, to, amount
    if older and frm is not None and to is not None:
        return move(asset, frm, to, amount)
    return asset.contract, muxed, kind, asset.text, frm, to, amount


def read_address(data: bytes, topics: list[int], nth: int) -> str:
    """The address in topic `nth`, which is one."""
    return _address(data[4 * topics[nth] + 4 : 4 * topics[nth + 1]])


@lru_cache(maxsize=_REMEMBERED)
def _address(xdr: bytes) -> str:
    """An SCAddress as text, by its kind."""
    kind, body = xdr[3], xdr[4:]
    if kind == 1:
        return contract_address(body)
    if kind == 2:
        return encode_strkey("M", body[8:] + body[:8])
    if kind == 4:
        return pool_address(body)
    if body[:4] != bytes(4):
        raise StrangeValueError("unknown type of a key or of a claimable balance's id")
    return account_address(body[4:]) if kind == 0 else balance_address(body[4:])


def read_int128(data: bytes, w: Words[int], i: int) -> int | None:
    """The value at `i` if it is an i128."""
    if w[i] != SCV_I128:
        return None
    return int.from_bytes(data[4 * i + 4 : 4 * i + 20], "big", signed=True)


def _value(data: bytes, w: Words[int], i: int, older: bool) -> tuple[int, Muxed] | None:
    """Amount and muxed information in the data of an event, None if it is no such data."""
    if older or w[i] != SCV_MAP:
        amount = read_int128(data, w, i)
        return None if amount is None else (amount, None)
    if not w[i + 1]:
        return None
    amount, muxed = None, None
    count, i = w[i + 2], i + 3
    for _ in range(count):
        if w[i] != SCV_SYMBOL:
            return None
        key = read_opaque(data, w, i + 1)
        i = skip_scvals(w, i, 1)
        if key == b"amount":
            amount = read_int128(data, w, i)
            if amount is None:
                return None
        elif key == b"to_muxed_id" and w[i] != SCV_VOID:
            muxed = _muxed(data, w, i)
            if muxed is None:
                return None
        i = skip_scvals(w, i, 1)
    return None if amount is None else (amount, muxed)


def _muxed(data: bytes, w: Words[int], i: int) -> Muxed:
    if w[i] == SCV_U64:
        return "id", read_uint64(w, i + 1)
    if w[i] == SCV_BYTES:
        return "hash", read_opaque(data, w, i + 1)
    if w[i] == SCV_STRING:
        return "text", read_opaque(data, w, i + 1).decode("utf-8", "replace")
    return None
