"""Claims about addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stellar_sdk import StrKey

from flowctl_aio.components.stellar.strkey import (
    Kind,
    account_address,
    balance_address,
    contract_address,
    decode_strkey,
    encode_strkey,
    pool_address,
)
from flowctl_aio.errors import CodecError

SIZES: dict[Kind, int] = {"G": 32, "M": 40, "C": 32, "B": 33, "L": 32}
PAYLOADS = st.sampled_from(list(SIZES)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.binary(min_size=SIZES[kind], max_size=SIZES[kind]))
)


@given(PAYLOADS)
def test_decoding_undoes_encoding(pair: tuple[Kind, bytes]) -> None:
    kind, payload = pair
    text = encode_strkey(kind, payload)
    assert text.startswith(kind)
    assert decode_strkey(text) == (kind, payload)


@given(st.binary(min_size=32, max_size=32), st.integers(min_value=0, max_value=2**64 - 1))
def test_addresses_are_those_of_another_library(key: bytes, muxed_id: int) -> None:
    assert account_address(key) == StrKey.encode_ed25519_public_key(key)
    assert contract_address(key) == StrKey.encode_contract(key)
    assert pool_address(key) == StrKey.encode_liquidity_pool(key)
    assert balance_address(key) == StrKey.encode_claimable_balance(b"\0" + key)
    muxed = key + muxed_id.to_bytes(8, "big")
    assert encode_strkey("M", muxed) == StrKey.encode_med25519_public_key(muxed)


@given(PAYLOADS, st.data())
def test_one_changed_letter_is_noticed(pair: tuple[Kind, bytes], data: st.DataObject) -> None:
    text = encode_strkey(*pair)
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").filter(lambda new: new != text[at]))
    with pytest.raises(CodecError):
        decode_strkey(text[:at] + letter + text[at + 1 :])


@given(st.text(max_size=70))
def test_arbitrary_text_never_fails_in_another_way(text: str) -> None:
    with pytest.raises(CodecError):
        decode_strkey(text)


@pytest.mark.parametrize(("kind", "size"), [("G", 31), ("B", 32), ("M", 32), ("L", 33)])
def test_a_payload_of_another_length_is_refused(kind: Kind, size: int) -> None:
    with pytest.raises(CodecError, match="bytes of payload"):
        encode_strkey(kind, bytes(size))
