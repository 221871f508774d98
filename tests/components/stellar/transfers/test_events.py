"""Claims about contract events: which shapes move tokens in which version of meta."""

from __future__ import annotations

from typing import Any

import pytest
import stellar_sdk as sdk
import stellar_sdk.xdr as sx
from stellar_sdk import scval

from flowctl_aio.components.stellar.assets import asset_contract_id, asset_xdr

from .made_ledgers import ADMIN, GOLD_TEXT, ISS, NETWORK, OTH, SRC, TEN, A, B, event, made_ledger, movements

INVOCATION = sdk.InvokeHostFunction(
    sx.HostFunction(sx.HostFunctionType.HOST_FUNCTION_TYPE_UPLOAD_CONTRACT_WASM, wasm=b"\0asm!")
)


def invoked(meta: int, *events: sx.ContractEvent) -> list[tuple[Any, ...]]:
    def return_hash(packer: Any) -> None:
        packer.pack_fopaque(32, bytes(32))

    return movements(made_ledger(INVOCATION, return_hash, meta=meta, events=list(events)))


@pytest.mark.parametrize(
    ("meta", "topics", "expected"),
    [
        (3, ["transfer", A, B], ("transfer", None, SRC, OTH, 10)),
        (3, ["mint", ADMIN, B], ("mint", None, None, OTH, 10)),
        (3, ["clawback", ADMIN, A], ("clawback", None, SRC, None, 10)),
        (3, ["burn", A], ("burn", None, SRC, None, 10)),
        (4, ["transfer", A, B], ("transfer", None, SRC, OTH, 10)),
        (4, ["mint", B], ("mint", None, None, OTH, 10)),
        (4, ["clawback", A], ("clawback", None, SRC, None, 10)),
        (4, ["burn", A], ("burn", None, SRC, None, 10)),
        (4, ["transfer", A, B, scval.to_uint32(5), TEN], ("transfer", None, SRC, OTH, 10)),
        (4, ["mint", B, scval.to_string(GOLD_TEXT)], ("mint", None, None, OTH, 10)),
    ],
)
def test_a_custom_token_has_no_asset(meta: int, topics: list[Any], expected: tuple[Any, ...]) -> None:
    assert invoked(meta, event(topics, TEN)) == [(None, *expected)]


@pytest.mark.parametrize("meta", [3, 4])
@pytest.mark.parametrize(
    "stray",
    [
        event(["transfer", A], TEN),
        event(["transfer", A, scval.to_uint32(1)], TEN),
        event(["transfer", A, B], scval.to_uint32(10)),
        event(["transfer", A, B], scval.to_map({scval.to_symbol("to_muxed_id"): scval.to_uint64(1)})),
        event(["transfer", A, B], scval.to_map({scval.to_uint32(1): TEN, scval.to_symbol("amount"): TEN})),
        event(["transfer", A, B], TEN, contract=None),
        event(["transfer", A, B], TEN, kind="SYSTEM"),
        event(["approve", A, B], TEN),
        event([scval.to_string("transfer"), A, B], TEN),
        event(["mint"], TEN),
        event([], TEN),
        event([], scval.to_symbol("transfer")),
    ],
)
def test_an_event_of_another_shape_is_left_out_silently(meta: int, stray: sx.ContractEvent) -> None:
    good = event(["burn", A], TEN)
    assert invoked(meta, stray, good, stray) == [(None, "burn", None, SRC, None, 10)]


@pytest.mark.parametrize("kind", ["mint", "clawback"])
def test_the_older_shape_does_not_count_in_newer_meta(kind: str) -> None:
    assert invoked(4, event([kind, ADMIN, B], TEN)) == []


def gold_event(topics: list[Any], data: Any = TEN) -> sx.ContractEvent:
    own = asset_contract_id(asset_xdr(GOLD_TEXT), NETWORK)
    return event([*topics, scval.to_string(GOLD_TEXT)], data, contract=own)


def test_older_meta_calls_minting_a_transfer_and_newer_meta_is_taken_as_it_stands() -> None:
    issued = gold_event(["transfer", scval.to_address(ISS), B])
    returned = gold_event(["transfer", B, scval.to_address(ISS)])
    assert invoked(3, issued, returned) == [
        (None, "mint", GOLD_TEXT, None, OTH, 10),
        (None, "burn", GOLD_TEXT, OTH, None, 10),
    ]
    assert invoked(4, issued) == [(None, "transfer", GOLD_TEXT, ISS, OTH, 10)]


@pytest.mark.parametrize(
    ("value", "muxed"),
    [
        (scval.to_uint64(0), ("id", 0)),
        (scval.to_uint64(2**64 - 1), ("id", 2**64 - 1)),
        (scval.to_bytes(b"\1\2\3"), ("hash", b"\1\2\3")),
        (scval.to_string(b"a\xff"), ("text", "a\N{REPLACEMENT CHARACTER}")),
        (scval.to_void(), None),
    ],
)
def test_the_muxed_receiver_of_an_event_is_in_its_map(value: sx.SCVal, muxed: Any) -> None:
    data = scval.to_map(
        {
            scval.to_symbol("amount"): scval.to_int128(2**127 - 1),
            scval.to_symbol("other"): scval.to_vec([TEN]),
            scval.to_symbol("to_muxed_id"): value,
        }
    )
    assert invoked(4, gold_event(["transfer", A, B], data)) == [(muxed, "transfer", GOLD_TEXT, SRC, OTH, 2**127 - 1)]
    assert invoked(3, gold_event(["transfer", A, B], data)) == []


def test_a_muxed_receiver_of_another_type_leaves_the_event_out() -> None:
    data = scval.to_map({scval.to_symbol("amount"): TEN, scval.to_symbol("to_muxed_id"): scval.to_uint32(1)})
    assert invoked(4, gold_event(["transfer", A, B], data)) == []
