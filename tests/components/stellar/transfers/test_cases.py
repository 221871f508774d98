"""Claims about derived transfers, one rule of the table each, on ledgers made by hand.

What is rare or absent in real ledgers stands in `test_operations.py` and `test_derived.py`; here is the rest.
"""

from __future__ import annotations

from typing import Any

import pytest
import stellar_sdk as sdk
import stellar_sdk.xdr as sx

from flowctl_aio.components.stellar.strkey import balance_address
from flowctl_aio.components.stellar.transfers import token_transfers
from flowctl_aio.errors import LedgerDecodeError

from .made_ledgers import (
    BALANCE_ID,
    GOLD,
    GOLD_TEXT,
    ISS,
    NATIVE,
    OTH,
    OTHER,
    PASSPHRASE,
    POOL,
    POOL_ID,
    RICE,
    RICE_TEXT,
    SOURCE,
    SRC,
    account,
    balance_id,
    change,
    made_ledger,
    movements,
    pool,
)

ONE = 10_000_000
MEMOS = [
    (None, None),
    (sdk.TextMemo("rent"), ("text", "rent")),
    (sdk.TextMemo(b"\xfe"), ("text", "\N{REPLACEMENT CHARACTER}")),
    (sdk.IdMemo(0), ("id", 0)),
    (sdk.IdMemo(2**64 - 1), ("id", 2**64 - 1)),
    (sdk.HashMemo(b"\6" * 32), ("hash", b"\6" * 32)),
    (sdk.ReturnHashMemo(b"\7" * 32), ("hash", b"\7" * 32)),
]


@pytest.mark.parametrize(("memo", "told"), MEMOS)
def test_every_kind_of_memo_tells_the_receiver_of_a_payment(memo: sdk.Memo | None, told: Any) -> None:
    paid = sdk.Payment(OTH, GOLD, "1")
    assert movements(made_ledger(paid, memo=memo)) == [(told, "transfer", GOLD_TEXT, SRC, OTH, ONE)]


@pytest.mark.parametrize("muxed_id", [0, 7, 2**64 - 1])
def test_a_muxed_receiver_wins_over_the_memo(muxed_id: int) -> None:
    paid = sdk.Payment(sdk.MuxedAccount(OTH, muxed_id), NATIVE, "1")
    found = movements(made_ledger(paid, memo=sdk.TextMemo("rent")))
    assert found == [(("id", muxed_id), "transfer", "native", SRC, OTH, ONE)]


@pytest.mark.parametrize(
    ("source", "to", "expected"),
    [
        (None, OTH, ("transfer", GOLD_TEXT, SRC, OTH)),
        (ISS, OTH, ("mint", GOLD_TEXT, None, OTH)),
        (None, ISS, ("burn", GOLD_TEXT, SRC, None)),
        (ISS, ISS, ("transfer", GOLD_TEXT, ISS, ISS)),
    ],
)
def test_an_issuer_mints_and_burns_and_transfers_only_to_itself(source: str | None, to: str, expected: Any) -> None:
    found = movements(made_ledger(sdk.Payment(to, GOLD, "1", source=source), memo=sdk.IdMemo(5)))
    # A burn has no receiver to inform.
    assert found == [(None if expected[0] == "burn" else ("id", 5), *expected, ONE)]


def test_a_new_account_gets_its_balance_and_the_memo() -> None:
    found = movements(made_ledger(sdk.CreateAccount(OTH, "1"), memo=sdk.IdMemo(5)))
    assert found == [(("id", 5), "transfer", "native", SRC, OTH, ONE)]


def test_a_merge_moves_what_its_result_says() -> None:
    def left(packer: Any) -> None:
        packer.pack_hyper(123)

    merged = sdk.AccountMerge(sdk.MuxedAccount(OTH, 3))
    assert movements(made_ledger(merged, left)) == [(("id", 3), "transfer", "native", SRC, OTH, 123)]


def offer_result(claims: list[sx.ClaimAtom]) -> Any:
    def pack(packer: Any) -> None:
        packer.pack_uint(len(claims))
        for claim in claims:
            claim.pack(packer)
        packer.pack_int(2)  # no offer is left

    return pack


def claim(version: int, sold: tuple[sdk.Asset, int], bought: tuple[sdk.Asset, int]) -> sx.ClaimAtom:
    """A claimed offer of the other account: in its old form, in its new one, or of the pool."""
    what = (sold[0].to_xdr_object(), sx.Int64(sold[1]), bought[0].to_xdr_object(), sx.Int64(bought[1]))
    kinds = sx.ClaimAtomType
    if version == 0:
        old = sx.ClaimOfferAtomV0(sx.Uint256(OTHER.raw_public_key()), sx.Int64(1), *what)
        return sx.ClaimAtom(kinds.CLAIM_ATOM_TYPE_V0, v0=old)
    if version == 1:
        new = sx.ClaimOfferAtom(OTHER.xdr_account_id(), sx.Int64(1), *what)
        return sx.ClaimAtom(kinds.CLAIM_ATOM_TYPE_ORDER_BOOK, order_book=new)
    of_pool = sx.ClaimLiquidityAtom(sx.PoolID(sx.Hash(POOL_ID)), *what)
    return sx.ClaimAtom(kinds.CLAIM_ATOM_TYPE_LIQUIDITY_POOL, liquidity_pool=of_pool)


SELL = sdk.ManageSellOffer(NATIVE, GOLD, "1", "1")
BUY = sdk.ManageBuyOffer(NATIVE, GOLD, "1", "1")
PASSIVE = sdk.CreatePassiveSellOffer(NATIVE, GOLD, "1", "1")


@pytest.mark.parametrize("operation", [SELL, BUY, PASSIVE], ids=["sell", "buy", "passive"])
@pytest.mark.parametrize(("version", "seller"), [(0, OTH), (1, OTH), (2, POOL)])
def test_an_offer_that_trades_moves_both_legs_the_sellers_first(operation: Any, version: int, seller: str) -> None:
    claims = [claim(version, (GOLD, 5), (NATIVE, 0))]
    # No memo, and a rounding remainder of nothing is a movement.
    assert movements(made_ledger(operation, offer_result(claims), memo=sdk.IdMemo(1))) == [
        (None, "transfer", GOLD_TEXT, seller, SRC, 5),
        (None, "transfer", "native", SRC, seller, 0),
    ]


def test_the_issuer_rule_holds_for_each_leg_on_its_own() -> None:
    sell = sdk.ManageSellOffer(GOLD, RICE, "1", "1", source=ISS)
    assert movements(made_ledger(sell, offer_result([claim(1, (RICE, 5), (GOLD, 6))]))) == [
        (None, "transfer", RICE_TEXT, OTH, ISS, 5),
        (None, "mint", GOLD_TEXT, None, OTH, 6),
    ]


def path_result(claims: list[sx.ClaimAtom], amount: int) -> Any:
    def pack(packer: Any) -> None:
        packer.pack_uint(len(claims))
        for each in claims:
            each.pack(packer)
        sx.SimplePaymentResult(OTHER.xdr_account_id(), GOLD.to_xdr_object(), sx.Int64(amount)).pack(packer)

    return pack


@pytest.mark.parametrize("trades", [0, 2])
def test_a_path_payment_receives_what_was_asked_and_sends_what_its_result_says(trades: int) -> None:
    claims = [claim(1, (GOLD, 5), (NATIVE, 6))] * trades
    legs = [(None, "transfer", GOLD_TEXT, OTH, SRC, 5), (None, "transfer", "native", SRC, OTH, 6)] * trades
    receive = sdk.PathPaymentStrictReceive(OTH, NATIVE, "9", GOLD, "1", [])
    send = sdk.PathPaymentStrictSend(sdk.MuxedAccount(OTH, 4), NATIVE, "9", GOLD, "1", [])
    memo = sdk.TextMemo("m")
    found = movements(made_ledger(receive, path_result(claims, 777), memo=memo))
    assert found == [*legs, (("text", "m"), "transfer", GOLD_TEXT, SRC, OTH, ONE)]
    found = movements(made_ledger(send, path_result(claims, 777), memo=memo))
    assert found == [*legs, (("id", 4), "transfer", GOLD_TEXT, SRC, OTH, 777)]


@pytest.mark.parametrize("source", [None, ISS])
def test_a_claimable_balance_is_named_by_its_result_and_has_no_memo(source: str | None) -> None:
    def made_id(packer: Any) -> None:
        balance_id(BALANCE_ID).pack(packer)

    create = sdk.CreateClaimableBalance(GOLD, "1", [sdk.Claimant(OTH)], source=source)
    head = ("mint", GOLD_TEXT, None) if source else ("transfer", GOLD_TEXT, SRC)
    assert movements(made_ledger(create, made_id, memo=sdk.IdMemo(1))) == [
        (None, *head, balance_address(BALANCE_ID), ONE)
    ]


def test_a_clawback_takes_from_the_account_it_names() -> None:
    clawback = sdk.Clawback(GOLD, sdk.MuxedAccount(OTH, 9), "1", source=ISS)
    assert movements(made_ledger(clawback, memo=sdk.IdMemo(1))) == [(None, "clawback", GOLD_TEXT, OTH, None, ONE)]


@pytest.mark.parametrize("source", [None, ISS])
def test_a_deposit_gives_both_assets_to_the_pool_without_a_memo(source: str | None) -> None:
    deposit = sdk.LiquidityPoolDeposit(POOL_ID.hex(), "9", "9", "1", "1", source=source)
    changes = [change("state", pool(50, 60)), change("updated", pool(55, 67))]
    first = ("mint", GOLD_TEXT, None, POOL, 5) if source else ("transfer", GOLD_TEXT, SRC, POOL, 5)
    assert movements(made_ledger(deposit, None, changes, memo=sdk.IdMemo(1))) == [
        (None, *first),
        (None, "transfer", RICE_TEXT, source or SRC, POOL, 7),
    ]


@pytest.mark.parametrize(
    "operation",
    [
        sdk.SetOptions(home_domain="example.org"),
        sdk.ChangeTrust(GOLD),
        sdk.ManageData("name", "value"),
        sdk.BumpSequence(99),
        sdk.BeginSponsoringFutureReserves(OTH),
        sdk.EndSponsoringFutureReserves(),
    ],
    ids=lambda operation: type(operation).__name__,
)
@pytest.mark.parametrize("protocol", [7, 22])
def test_the_others_move_nothing_not_even_balance_from_nowhere(operation: sdk.Operation, protocol: int) -> None:
    changes = [change("state", account(SOURCE, 50)), change("updated", account(SOURCE, 53))]
    assert movements(made_ledger(operation, None, changes, protocol=protocol, meta=1)) == []


def test_before_protocol_8_a_merge_that_made_balance_mints_it_first() -> None:
    def left(packer: Any) -> None:
        packer.pack_hyper(40)

    key = sx.LedgerKey(sx.LedgerEntryType.ACCOUNT, account=sx.LedgerKeyAccount(SOURCE.xdr_account_id()))
    # It says that it moved 40, and the account that it removed had 30.
    changes = [change("state", account(SOURCE, 30)), change("removed", key)]
    assert movements(made_ledger(sdk.AccountMerge(OTH), left, changes, protocol=7, meta=1)) == [
        (None, "mint", "native", None, SRC, 10),
        (None, "transfer", "native", SRC, OTH, 40),
    ]


def test_meta_version_0_is_an_error() -> None:
    data = made_ledger(sdk.Payment(OTH, NATIVE, "1"), meta=1)
    # Version, an empty list of changes, one operation without changes: the last words but those behind them.
    place = data.rindex(bytes.fromhex("00000001000000000000000100000000"))
    older = data[:place] + bytes(4) + data[place + 4 :]
    with pytest.raises(LedgerDecodeError, match=r"ledger 5 .*meta has version 0; versions 1 to 4 are known"):
        token_transfers(older, passphrase=PASSPHRASE, mode="derived")
