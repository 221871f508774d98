"""Claims about assets and their contracts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.components.stellar.assets import asset_contract_id, asset_of, asset_xdr, proven_asset
from flowctl_aio.components.stellar.networks import network_id, passphrase_of
from flowctl_aio.components.stellar.strkey import account_address
from flowctl_aio.errors import CodecError

PUBNET, TESTNET = (network_id(passphrase_of(name)) for name in ("pubnet", "testnet"))
USDC = "USDC:GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN"
CODES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "network", "contract"),
    [
        ("native", PUBNET, "CAS3J7GYLGXMF6TDJBBYYSE3HQ6BBSMLNUQ34T6TZMYMW2EVH34XOWMA"),
        ("native", TESTNET, "CDLZFC3SYJYDZT7K67VZ75HPJVIEUVNIXF47ZG2FB2RMQQVU2HHGCYSC"),
        (USDC, PUBNET, "CCW67TSZV3SSS2HXMBQ5JFGCKJNXKZM7UQUWUZPUTHXSTZLEO7SJMI75"),
    ],
)
def test_contract_ids_are_the_published_ones(text: str, network: bytes, contract: str) -> None:
    asset = asset_of(asset_xdr(text), network)
    assert (asset.text, asset.contract) == (text, contract)


@given(CODES, st.binary(min_size=32, max_size=32))
def test_text_and_xdr_of_an_asset_stand_for_each_other(code: str, issuer: bytes) -> None:
    text = f"{code}:{account_address(issuer)}"
    asset = asset_of(asset_xdr(text), PUBNET)
    assert (asset.text, asset.issuer) == (text, account_address(issuer))


@pytest.mark.parametrize("text", ["", "USDC", ":" + USDC[5:], "THIRTEENCHARS" + USDC[4:], "USDC:nobody", "Native"])
def test_what_is_no_asset_is_refused(text: str) -> None:
    with pytest.raises(CodecError):
        asset_xdr(text)


def test_only_its_own_contract_proves_an_asset() -> None:
    own = asset_contract_id(asset_xdr(USDC), PUBNET)
    proven = proven_asset(USDC.encode(), own, PUBNET)
    assert proven is not None
    assert proven.text == USDC
    assert proven_asset(USDC.encode(), own, TESTNET) is None
    assert proven_asset(USDC.encode(), bytes(32), PUBNET) is None
    assert proven_asset(b"\xff:\xfe", own, PUBNET) is None
