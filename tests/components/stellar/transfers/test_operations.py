"""Claims about operations that no real ledger at hand shows, on ledgers made by hand."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
import stellar_sdk as sdk
import stellar_sdk.xdr as sx

from flowctl_aio.components.stellar.strkey import balance_address
from flowctl_aio.errors import LedgerDecodeError

from .made_ledgers import (
    BALANCE,
    BALANCE_ID,
    GOLD,
    GOLD_TEXT,
    ISS,
    ISSUER,
    NATIVE,
    OTH,
    OTHER,
    POOL,
    POOL_ID,
    RICE,
    RICE_TEXT,
    SEQUENCE,
    SOURCE,
    SRC,
    balance,
    change,
    made_ledger,
    movements,
    pool,
    removed_balance,
)


def test_a_withdrawal_pays_out_both_reserves_and_carries_the_memo() -> None:
    operation = sdk.LiquidityPoolWithdraw(POOL_ID.hex(), "1", "0", "0")
    changes = [change("state", pool(50, 60)), change("updated", pool(45, 60))]
    memo = ("id", 0)
    assert movements(made_ledger(operation, None, changes, memo=sdk.IdMemo(0))) == [
        (memo, "transfer", GOLD_TEXT, POOL, SRC, 5),
        (memo, "transfer", RICE_TEXT, POOL, SRC, 0),
    ]


def test_a_withdrawal_by_the_issuer_burns_its_own_asset() -> None:
    operation = sdk.LiquidityPoolWithdraw(POOL_ID.hex(), "1", "0", "0", source=ISS)
    changes = [change("state", pool(50, 60)), change("updated", pool(45, 59))]
    assert movements(made_ledger(operation, None, changes, memo=sdk.TextMemo(b"\xffok"))) == [
        (None, "burn", GOLD_TEXT, POOL, None, 5),
        (("text", "\N{REPLACEMENT CHARACTER}ok"), "transfer", RICE_TEXT, POOL, ISS, 1),
    ]


def test_a_deposit_that_leaves_a_reserve_as_it_was_is_an_error() -> None:
    operation = sdk.LiquidityPoolDeposit(POOL_ID.hex(), "1", "1", "1", "1")
    changes = [change("state", pool(50, 60)), change("updated", pool(51, 60))]
    with pytest.raises(LedgerDecodeError, match=r"ledger 5 .*both reserves"):
        movements(made_ledger(operation, None, changes))


def test_a_balance_that_is_clawed_back_has_no_receiver() -> None:
    operation = sdk.ClawbackClaimableBalance("00000000" + BALANCE_ID.hex())
    changes = [change("state", balance(BALANCE_ID, GOLD, 12)), change("removed", removed_balance(BALANCE_ID))]
    assert movements(made_ledger(operation, None, changes)) == [(None, "clawback", GOLD_TEXT, BALANCE, None, 12)]


def test_a_claim_by_a_muxed_account_tells_its_id_and_not_the_memo() -> None:
    source = sdk.MuxedAccount(OTH, 0)
    operation = sdk.ClaimClaimableBalance("00000000" + BALANCE_ID.hex(), source=source)
    changes = [change("state", balance(BALANCE_ID, NATIVE, 12)), change("removed", removed_balance(BALANCE_ID))]
    found = movements(made_ledger(operation, None, changes, memo=sdk.TextMemo("memo")))
    assert found == [(("id", 0), "transfer", "native", BALANCE, OTH, 12)]


@pytest.mark.parametrize("removed", [[], [b"\1" * 32], [BALANCE_ID, b"\1" * 32]], ids=["none", "another", "two"])
def test_a_claim_that_does_not_remove_the_balance_it_names_is_an_error(removed: list[bytes]) -> None:
    changes = []
    for raw in removed:
        changes += [change("state", balance(raw, GOLD, 1)), change("removed", removed_balance(raw))]
    with pytest.raises(LedgerDecodeError, match="exactly the claimable balance"):
        movements(made_ledger(sdk.ClaimClaimableBalance("00000000" + BALANCE_ID.hex()), None, changes))


def test_inflation_mints_to_each_winner() -> None:
    def payouts(packer: Any) -> None:
        packer.pack_uint(2)
        for keypair, amount in ((OTHER, 70), (ISSUER, 30)):
            sx.InflationPayout(keypair.xdr_account_id(), sx.Int64(amount)).pack(packer)

    assert movements(made_ledger(sdk.Inflation(), payouts)) == [
        (None, "mint", "native", None, OTH, 70),
        (None, "mint", "native", None, ISS, 30),
    ]


def revoked_id(asset: sdk.Asset) -> bytes:
    preimage = sx.HashIDPreimage(
        sx.EnvelopeType.ENVELOPE_TYPE_POOL_REVOKE_OP_ID,
        revoke_id=sx.HashIDPreimageRevokeID(
            SOURCE.xdr_account_id(),
            sx.SequenceNumber(sx.Int64(SEQUENCE)),
            sx.Uint32(0),
            sx.PoolID(sx.Hash(POOL_ID)),
            asset.to_xdr_object(),
        ),
    )
    return sha256(preimage.to_xdr_bytes()).digest()


def revocation(created: list[tuple[bytes, sdk.Asset, int]]) -> bytes:
    operation = sdk.SetTrustLineFlags(OTH, GOLD, clear_flags=sdk.TrustLineFlags.AUTHORIZED_FLAG)
    changes = [change("created", balance(*each)) for each in created]
    changes += [change("state", pool(50, 60)), change("updated", pool(40, 48))]
    return made_ledger(operation, None, changes)


def test_a_revocation_moves_what_was_in_the_pool_into_claimable_balances() -> None:
    gold, rice = revoked_id(GOLD), revoked_id(RICE)
    assert movements(revocation([(rice, RICE, 12), (gold, GOLD, 10)])) == [
        (None, "transfer", GOLD_TEXT, POOL, balance_address(gold), 10),
        (None, "transfer", RICE_TEXT, POOL, balance_address(rice), 12),
    ]


def test_a_revoked_issuer_gets_no_balance_of_its_own_asset() -> None:
    rice = revoked_id(RICE)
    assert movements(revocation([(rice, RICE, 12)])) == [
        (None, "transfer", RICE_TEXT, POOL, balance_address(rice), 12),
        (None, "burn", GOLD_TEXT, POOL, None, 10),
    ]


def test_a_revocation_without_balances_of_its_own_moves_nothing() -> None:
    assert movements(revocation([])) == []
    assert movements(revocation([(BALANCE_ID, GOLD, 10)])) == []
