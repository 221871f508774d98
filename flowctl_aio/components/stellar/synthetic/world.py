"""The accounts and assets of a synthetic network, and what they hold while a ledger closes.

Everything follows from a seed. What repeats in a ledger is encoded once, here: an account's id, an asset's contract,
the heads of the events that name them.

Source: CAP-67 for the events; Stellar-ledger-entries.x for the entries.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256

from flowctl_aio.components.stellar.assets import asset_contract_id
from flowctl_aio.components.stellar.strkey import account_address

NATIVE_BALANCE = 10**13
"""Stroops that every account begins each ledger with, a million whole ones."""

_ENTRY_STATE = struct.Struct(">II")
_ACCOUNT_STATE = struct.Struct(">qq")
_TRUST_STATE = struct.Struct(">qqIII")

_CREATED, _UPDATED, _STATE = 0, 1, 3
_ACCOUNT, _TRUSTLINE = b"\0\0\0\0", b"\0\0\0\1"
# numSubEntries, no inflation destination, flags, empty home domain, thresholds 1-0-0-0, no signers, two ext.
_ACCOUNT_TAIL = bytes(16) + b"\1\0\0\0" + bytes(12)
_LIMIT = 2**63 - 1
_AUTHORIZED = 1

_KINDS = ("transfer", "mint", "burn", "fee")
_SC_STRING, _SC_SYMBOL, _SC_ADDRESS = b"\0\0\0\x0e", b"\0\0\0\x0f", b"\0\0\0\x12"


def opaque(data: bytes) -> bytes:
    """Encodes bytes of variable length as XDR: length, bytes, padding."""
    return len(data).to_bytes(4, "big") + data + bytes(-len(data) % 4)


def symbol(text: str) -> bytes:
    """Encodes an SCVal of kind symbol."""
    return _SC_SYMBOL + opaque(text.encode())


class Account:
    """One account, with its id in the forms in which a ledger shows it.

    Attributes:
        key: its public key.
        account_id: as AccountID, and as MuxedAccount without an id.
        address: as SCVal.
        entry: type and id, as an account entry begins.
    """

    __slots__ = ("account_id", "address", "entry", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.account_id = bytes(4) + key
        self.address = _SC_ADDRESS + bytes(4) + self.account_id
        self.entry = _ACCOUNT + self.account_id

    def muxed(self, sub_id: int) -> bytes:
        """Encodes the account as MuxedAccount with an id."""
        return b"\0\0\1\0" + sub_id.to_bytes(8, "big") + self.key


class Asset:
    """An asset and its contract.

    Attributes:
        xdr: as Asset, and as TrustLineAsset.
        issuer: None for native.
        topic: the name as events carry it, an SCVal of kind string.
        heads: per kind of event, all that comes before its topics' addresses.
    """

    __slots__ = ("heads", "issuer", "topic", "xdr")

    def __init__(self, code: str, issuer: Account | None, *, network_id: bytes) -> None:
        self.issuer = issuer
        if issuer is None:
            self.xdr, name = bytes(4), code
        else:
            width, kind = (4, b"\0\0\0\1") if len(code) <= 4 else (12, b"\0\0\0\2")
            self.xdr = kind + code.encode().ljust(width, b"\0") + issuer.account_id
            name = f"{code}:{account_address(issuer.key)}"
        self.topic = _SC_STRING + opaque(name.encode())
        contract = asset_contract_id(self.xdr, network_id)
        # ext, a contract id, type contract, body version 0, number of topics, topic 0
        counts = {"transfer": 4, "mint": 3, "burn": 3, "fee": 2}
        self.heads = {
            kind: b"\0\0\0\0\0\0\0\1" + contract + b"\0\0\0\1\0\0\0\0" + counts[kind].to_bytes(4, "big") + symbol(kind)
            for kind in _KINDS
        }


@dataclass(frozen=True, slots=True)
class World:
    """All accounts and assets of one seed and network."""

    seed: bytes
    network_id: bytes
    users: tuple[Account, ...]
    native: Asset
    assets: tuple[Asset, ...]

    @classmethod
    def of(cls, seed: int, network_id: bytes, *, users: int = 500) -> World:
        """Makes the world of a seed."""
        root = sha256(b"synthetic world %d " % seed + network_id).digest()
        codes = ("USDX", "EURX", "AU", "SILVERCOIN", "TESTTOKEN12")
        issuers = [Account(sha256(root + b"issuer" + code.encode()).digest()) for code in codes]
        return cls(
            seed=root,
            network_id=network_id,
            users=tuple(Account(sha256(root + b"user%d" % number).digest()) for number in range(users)),
            native=Asset("native", None, network_id=network_id),
            assets=tuple(
                Asset(code, issuer, network_id=network_id) for code, issuer in zip(codes, issuers, strict=True)
            ),
        )


class Balances:
    """Who has how much while one ledger closes; each change is told as ledger entry changes.

    A ledger must follow from its number alone, so balances begin anew in each. Within a ledger they run on.
    """

    def __init__(self, sequence: int) -> None:
        self._sequence = sequence
        # Numbers of earlier ledgers stay below, whatever was spent there.
        self._first = (NATIVE_BALANCE, sequence << 24, sequence - 1)
        self._accounts: dict[bytes, tuple[int, int, int]] = {}
        self._lines: dict[tuple[bytes, bytes], tuple[int, int]] = {}

    def change_account(self, account: Account, *, amount: int = 0, steps: int = 0) -> bytes:
        """Adds stroops to a balance and steps to a sequence number; gives the two changes, before and after."""
        balance, number, modified = self._accounts.get(account.key, self._first)
        entry = account.entry
        state = _ENTRY_STATE.pack(_STATE, modified) + entry + _ACCOUNT_STATE.pack(balance, number) + _ACCOUNT_TAIL
        balance += amount
        number += steps
        self._accounts[account.key] = (balance, number, self._sequence)
        return b"".join(
            (
                state,
                _ENTRY_STATE.pack(_UPDATED, self._sequence),
                entry,
                _ACCOUNT_STATE.pack(balance, number),
                _ACCOUNT_TAIL,
            )
        )

    def create_account(self, account: Account, *, amount: int) -> bytes:
        """Makes an account; gives the one change."""
        number = self._sequence << 32
        self._accounts[account.key] = (amount, number, self._sequence)
        head = _ENTRY_STATE.pack(_CREATED, self._sequence)
        return head + account.entry + _ACCOUNT_STATE.pack(amount, number) + _ACCOUNT_TAIL

    def change_line(self, account: Account, asset: Asset, *, amount: int) -> bytes:
        """Adds to what an account holds of an asset; gives the two changes, before and after."""
        key = (account.key, asset.xdr)
        balance, modified = self._lines.get(key, (NATIVE_BALANCE, self._sequence - 1))
        entry = _TRUSTLINE + account.account_id + asset.xdr
        after = balance + amount
        self._lines[key] = (after, self._sequence)
        return b"".join(
            (
                _ENTRY_STATE.pack(_STATE, modified),
                entry,
                _TRUST_STATE.pack(balance, _LIMIT, _AUTHORIZED, 0, 0),
                _ENTRY_STATE.pack(_UPDATED, self._sequence),
                entry,
                _TRUST_STATE.pack(after, _LIMIT, _AUTHORIZED, 0, 0),
            )
        )

    def next_number(self, account: Account) -> int:
        """Gives the sequence number that the account's next transaction must have."""
        return self._accounts.get(account.key, self._first)[1] + 1
