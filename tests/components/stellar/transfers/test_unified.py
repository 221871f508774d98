"""Claims about fee events, of which every transaction of unified mode has one or two."""

from __future__ import annotations

from typing import Any

import pytest
import stellar_sdk as sdk
import stellar_sdk.xdr as sx
from stellar_sdk import scval

from flowctl_aio.components.stellar.assets import asset_contract_id, asset_xdr
from flowctl_aio.components.stellar.transfers import token_transfers
from flowctl_aio.errors import LedgerDecodeError

from .made_ledgers import ADMIN, CONTRACT, NATIVE, NETWORK, OTH, PASSPHRASE, SRC, TEN, A, B, event, made_ledger

NATIVE_ID = asset_contract_id(asset_xdr("native"), NETWORK)
FEE = event(["fee", A], TEN, contract=NATIVE_ID)
REFUND = event(["fee", A], scval.to_int128(-4), contract=NATIVE_ID)


def unified(*fees: sx.ContractEvent, protocol: int = 22) -> list[tuple[Any, ...]]:
    """Operation index, kind, sender and amount of a payment and of its fee events."""
    paid = event(["transfer", A, B, scval.to_string("native")], TEN, contract=NATIVE_ID)
    data = made_ledger(sdk.Payment(OTH, NATIVE, "1"), meta=4, events=[paid], fees=list(fees), protocol=protocol)
    rows = token_transfers(data, passphrase=PASSPHRASE, mode="unified").rows
    assert {row[8] for row in rows} == {"native"}
    return [(row[4], row[7], row[9], row[11]) for row in rows]


@pytest.mark.parametrize("protocol", [22, 23])
def test_a_refund_is_the_second_fee_event_and_comes_after_the_operations(protocol: int) -> None:
    found = unified(FEE, REFUND, protocol=protocol)
    assert found == [(None, "fee", SRC, 10), (1, "transfer", SRC, 10), (None, "fee", SRC, -4)]


def test_other_transaction_events_are_passed_over() -> None:
    others = [event(["fees", A], TEN), event([A, "fee"], TEN), event([], TEN), event(["core"], TEN, contract=None)]
    assert unified(*others, FEE, *others) == [(None, "fee", SRC, 10), (1, "transfer", SRC, 10)]


def test_the_payer_of_a_fee_is_whatever_address_the_event_has() -> None:
    assert unified(event(["fee", ADMIN], TEN, contract=NATIVE_ID))[0] == (None, "fee", CONTRACT, 10)


@pytest.mark.parametrize(
    ("fees", "why"),
    [
        ([], "no fee event"),
        ([FEE, FEE, FEE], "3 fee events"),
        ([event(["fee", A], TEN)], "this network's native asset contract"),
        ([event(["fee", A], TEN, contract=None)], "this network's native asset contract"),
        ([event(["fee", A], TEN, contract=NATIVE_ID, kind="SYSTEM")], "this network's native asset contract"),
        ([event(["fee"], TEN, contract=NATIVE_ID)], "topics of a fee event"),
        ([event(["fee", A, A], TEN, contract=NATIVE_ID)], "topics of a fee event"),
        ([event(["fee", "me"], TEN, contract=NATIVE_ID)], "topics of a fee event"),
        ([event(["fee", A], scval.to_uint32(10), contract=NATIVE_ID)], "not an i128"),
        ([event(["fee", ADMIN], scval.to_uint32(10), contract=NATIVE_ID)], "not an i128"),
    ],
)
def test_a_fee_event_that_breaks_the_rules_is_an_error(fees: list[sx.ContractEvent], why: str) -> None:
    with pytest.raises(LedgerDecodeError, match=why):
        unified(*fees)
