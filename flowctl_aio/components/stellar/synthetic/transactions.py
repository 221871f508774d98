"""One synthetic transaction: its envelope, its result, and the meta of applying it, all telling the same story.

The story is drawn first, as a plan; what is written then follows from the plan and the balances.
Payments of native and issued assets (issuing and redeeming too), new accounts, transactions of several operations
and failed ones; muxed accounts and every kind of memo.

Source: Stellar-transaction.x; CAP-67 for the events.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256

from flowctl_aio.components.stellar.synthetic.world import Account, Asset, Balances, World, opaque, symbol

DRAW_BYTES = 128
"""Random bytes that one transaction takes: sixteen numbers and a signature."""

BASE_FEE = 100
"""Stroops per operation."""

_NUMBERS = struct.Struct(">16I")
_I128_TYPE = b"\0\0\0\x0a"
_MAP_HEAD = b"\0\0\0\x11\0\0\0\1\0\0\0\2" + symbol("amount")
_MUXED_KEY = symbol("to_muxed_id")
_UNDERFUNDED = b"\0\0\0\0\0\0\0\1\xff\xff\xff\xfe"
_PAYMENT, _CREATE_ACCOUNT = b"\0\0\0\1", b"\0\0\0\0"


@dataclass(slots=True)
class Step:
    """One operation to come: who gives what to whom. `source` is None where it is the transaction's."""

    asset: Asset
    giver: Account
    taker: Account
    amount: int
    creates: bool = False
    taker_id: int | None = None
    source: Account | None = None


@dataclass(slots=True)
class Plan:
    """A transaction to come.

    Attributes:
        source: who pays the fee.
        steps: its operations.
        fails: whether its last operation lacks funds, and so the whole of it does nothing.
        memo: as Memo.
        memo_value: as the SCVal that an event shows it as, None without a memo.
        source_id: of a muxed source.
        signature: sixty-four bytes that no key made.
        fee_changes: entry changes of taking the fee, filled in when it is taken.
    """

    source: Account
    steps: list[Step]
    fails: bool
    memo: bytes
    memo_value: bytes | None
    source_id: int | None
    signature: bytes
    fee_changes: bytes = b""

    @property
    def fee(self) -> int:
        """What it costs, stroops."""
        return BASE_FEE * len(self.steps)


def plan_transaction(world: World, draw: bytes) -> Plan:
    """Makes a plan of `DRAW_BYTES` random bytes."""
    n = _NUMBERS.unpack_from(draw)
    users = world.users
    here = n[0] % len(users)
    user = users[here]
    other = users[(here + 1 + n[1] % (len(users) - 1)) % len(users)]
    asset = world.assets[n[2] % len(world.assets)]
    assert asset.issuer is not None
    amount = 1 + n[3] % 1_000_000_000
    sub_id = n[4] << 32 | n[5] if n[6] % 8 == 0 else None
    choice = n[7] % 100
    source, fails = user, False
    if choice < 35:
        steps = [Step(world.native, user, other, amount, taker_id=sub_id)]
    elif choice < 60:
        steps = [Step(asset, user, other, amount, taker_id=sub_id)]
    elif choice < 68:
        source = asset.issuer
        steps = [Step(asset, asset.issuer, user, amount, taker_id=sub_id)]
    elif choice < 76:
        steps = [Step(asset, user, asset.issuer, amount, taker_id=sub_id)]
    elif choice < 82:
        newcomer = Account(sha256(world.seed + draw).digest())
        steps = [Step(world.native, user, newcomer, 10_000_000 + amount, creates=True)]
    else:
        # Several at once; the second is somebody else's, to whom the first pays.
        steps = [
            Step(world.native, user, other, amount),
            Step(asset, other, user, amount + 1, source=other, taker_id=sub_id),
            Step(asset, user, asset.issuer, amount),
        ][: 2 + n[8] % 2]
        fails = choice >= 90
    memo, memo_value = _memo(n[9] % 10, draw)
    return Plan(
        source=source,
        steps=steps,
        fails=fails,
        memo=memo,
        memo_value=memo_value,
        source_id=n[10] if n[11] % 16 == 0 else None,
        signature=draw[64:128],
    )


def write_envelope(plan: Plan, *, number: int, closed_at: int) -> tuple[bytes, bytes]:
    """Encodes a plan as TransactionEnvelope.

    Args:
        plan: what to encode.
        number: the sequence number that it consumes.
        closed_at: when its ledger closes, unix seconds; it would have been valid for a minute more.

    Returns:
        The envelope, and the Transaction inside it, which is what its hash covers.
    """
    source = plan.source.account_id if plan.source_id is None else plan.source.muxed(plan.source_id)
    parts = [
        source,
        # fee offered, sequence number, time bounds
        struct.pack(">IqIQQ", 2 * plan.fee, number, 1, 0, closed_at + 60),
        plan.memo,
        len(plan.steps).to_bytes(4, "big"),
    ]
    for step in plan.steps:
        parts.append(bytes(4) if step.source is None else b"\0\0\0\1" + step.source.account_id)
        if step.creates:
            parts.append(_CREATE_ACCOUNT + step.taker.account_id)
        else:
            taker = step.taker.account_id if step.taker_id is None else step.taker.muxed(step.taker_id)
            parts.append(_PAYMENT + taker + step.asset.xdr)
        parts.append(step.amount.to_bytes(8, "big"))
    parts.append(bytes(4))
    body = b"".join(parts)
    return b"\0\0\0\2" + body + b"\0\0\0\1" + plan.source.key[-4:] + b"\0\0\0\x40" + plan.signature, body


def write_result(plan: Plan, transaction_hash: bytes) -> bytes:
    """Encodes the outcome as TransactionResultPair."""
    results = [b"\0\0\0\0" + (_CREATE_ACCOUNT if step.creates else _PAYMENT) + bytes(4) for step in plan.steps]
    if plan.fails:
        results[-1] = _UNDERFUNDED
    head = struct.pack(">qiI", plan.fee, -1 if plan.fails else 0, len(results))
    return b"".join((transaction_hash, head, *results, bytes(4)))


def write_meta(plan: Plan, world: World, balances: Balances) -> bytes:
    """Applies a plan to the balances and encodes what that did as TransactionMeta, version 4."""
    parts = [b"\0\0\0\4\0\0\0\0\0\0\0\2", balances.change_account(plan.source, steps=1)]
    if plan.fails:
        parts.append(bytes(4))
    else:
        parts.append(len(plan.steps).to_bytes(4, "big"))
        parts.extend(_write_operation(step, plan, balances) for step in plan.steps)
    # no changes after, no Soroban meta; one event, from before all transactions: the fee
    parts.append(b"\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0")
    parts.append(world.native.heads["fee"] + plan.source.address + _i128(plan.fee))
    parts.append(bytes(4))
    return b"".join(parts)


def _write_operation(step: Step, plan: Plan, balances: Balances) -> bytes:
    """Encodes the OperationMetaV2 of one step: two to four entry changes, and one event."""
    asset, giver, taker, amount = step.asset, step.giver, step.taker, step.amount
    changes = []
    if asset.issuer is None:
        changes.append(balances.change_account(giver, amount=-amount))
        if step.creates:
            changes.append(balances.create_account(taker, amount=amount))
        else:
            changes.append(balances.change_account(taker, amount=amount))
    else:
        # An issuer has no line of its own asset: paying out makes it, taking back unmakes it.
        if giver is not asset.issuer:
            changes.append(balances.change_line(giver, asset, amount=-amount))
        if taker is not asset.issuer:
            changes.append(balances.change_line(taker, asset, amount=amount))
    count = 3 if step.creates else 2 * len(changes)
    return b"".join((bytes(4), count.to_bytes(4, "big"), *changes, b"\0\0\0\1", _write_movement(step, plan.memo_value)))


def _write_movement(step: Step, memo_value: bytes | None) -> bytes:
    asset = step.asset
    if step.giver is asset.issuer:
        head = asset.heads["mint"] + step.taker.address
    elif step.taker is asset.issuer:
        return asset.heads["burn"] + step.giver.address + asset.topic + _i128(step.amount)
    else:
        head = asset.heads["transfer"] + step.giver.address + step.taker.address
    # A muxed receiver outdoes the memo.
    muxed = memo_value if step.taker_id is None else b"\0\0\0\5" + step.taker_id.to_bytes(8, "big")
    if muxed is None:
        return head + asset.topic + _i128(step.amount)
    return b"".join((head, asset.topic, _MAP_HEAD, _i128(step.amount), _MUXED_KEY, muxed))


def _i128(amount: int) -> bytes:
    return _I128_TYPE + amount.to_bytes(16, "big")


def _memo(kind: int, draw: bytes) -> tuple[bytes, bytes | None]:
    """Gives a memo as Memo and as the SCVal of an event; of ten kinds five are none."""
    if kind < 5:
        return bytes(4), None
    if kind < 7:
        text = opaque(b"invoice " + draw[:6].hex().encode()[: draw[6] % 13])
        return b"\0\0\0\1" + text, b"\0\0\0\x0e" + text
    if kind == 7:
        return b"\0\0\0\2" + draw[8:16], b"\0\0\0\5" + draw[8:16]
    value = sha256(draw).digest()
    return (b"\0\0\0\3" if kind == 8 else b"\0\0\0\4") + value, b"\0\0\0\x0d" + opaque(value)
