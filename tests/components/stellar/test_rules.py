"""Claims about rules that no real ledger at hand shows, on ledgers made with another XDR library."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
import stellar_sdk as sdk
import stellar_sdk.xdr as sx
from stellar_sdk import scval

from flowctl_aio.components.stellar.assets import asset_contract_id, asset_xdr
from flowctl_aio.components.stellar.networks import network_id, passphrase_of
from flowctl_aio.components.stellar.strkey import balance_address, contract_address, pool_address
from flowctl_aio.components.stellar.transfers import token_transfers
from flowctl_aio.errors import LedgerDecodeError

PASSPHRASE = passphrase_of("coretest")
NETWORK = network_id(PASSPHRASE)
SOURCE, ISSUER, OTHER, THIRD = (sdk.Keypair.from_raw_ed25519_seed(bytes([n]) * 32) for n in range(1, 5))
SRC, ISS, OTH = SOURCE.public_key, ISSUER.public_key, OTHER.public_key
GOLD, RICE = sdk.Asset("GOLD", ISS), sdk.Asset("RICELONGNAME", THIRD.public_key)
NATIVE = sdk.Asset.native()
POOL_ID, BALANCE_ID, CONTRACT_ID = b"\7" * 32, b"\x08" * 32, b"\x09" * 32
POOL, BALANCE, CONTRACT = pool_address(POOL_ID), balance_address(BALANCE_ID), contract_address(CONTRACT_ID)
GOLD_TEXT, RICE_TEXT = f"GOLD:{ISS}", f"RICELONGNAME:{THIRD.public_key}"
SEQUENCE = 41

Changes = list[sx.LedgerEntryChange]


def made_ledger(
    operation: sdk.Operation,
    payload: Any = None,
    changes: Changes | None = None,
    *,
    protocol: int = 22,
    memo: sdk.Memo | None = None,
    meta: int = 2,
    events: list[sx.ContractEvent] | None = None,
    fees: list[sx.ContractEvent] | None = None,
) -> bytes:
    """A ledger of one transaction with one operation, which succeeded with `payload` in its result."""
    builder = sdk.TransactionBuilder(sdk.Account(SRC, SEQUENCE - 1), PASSPHRASE).append_operation(operation)
    envelope = (builder.add_memo(memo) if memo else builder).set_timeout(0).build()
    kind = envelope.transaction.operations[0].to_xdr_object().body.type
    result = sx.TransactionResultPair(
        sx.Hash(envelope.hash()),
        sx.TransactionResult(
            sx.Int64(100),
            sx.TransactionResultResult(
                sx.TransactionResultCode.txSUCCESS,
                results=[sx.OperationResult(sx.OperationResultCode.opINNER, tr=succeeded(kind, payload))],
            ),
            sx.TransactionResultExt(0),
        ),
    )
    body = sx.LedgerCloseMetaV0(
        header(protocol),
        sx.TransactionSet(sx.Hash(bytes(32)), [envelope.to_xdr_object()]),
        [sx.TransactionResultMeta(result, none(), transaction_meta(meta, changes or [], events or [], fees or []))],
        [],
        [],
    )
    return sx.LedgerCloseMeta(0, v0=body).to_xdr_bytes()


def succeeded(kind: sx.OperationType, payload: Any) -> Any:
    """The result of a successful operation: every code of success is 0, and some say more."""

    class Result:
        def __init__(self) -> None:
            self.more = payload

        def pack(self, packer: Any) -> None:
            packer.pack_int(kind.value)
            packer.pack_int(0)
            if self.more is not None:
                self.more(packer)

    return Result()


def none() -> sx.LedgerEntryChanges:
    return sx.LedgerEntryChanges([])


def transaction_meta(
    version: int, changes: Changes, events: list[sx.ContractEvent], fees: list[sx.ContractEvent]
) -> sx.TransactionMeta:
    zero, own = sx.ExtensionPoint(0), sx.LedgerEntryChanges(changes)
    if version == 1:
        return sx.TransactionMeta(1, v1=sx.TransactionMetaV1(none(), [sx.OperationMeta(own)]))
    if version == 2:
        return sx.TransactionMeta(2, v2=sx.TransactionMetaV2(none(), [sx.OperationMeta(own)], none()))
    if version == 3:
        soroban = sx.SorobanTransactionMeta(sx.SorobanTransactionMetaExt(0), events, scval.to_void(), [])
        return sx.TransactionMeta(3, v3=sx.TransactionMetaV3(zero, none(), [sx.OperationMeta(own)], none(), soroban))
    operations = [sx.OperationMetaV2(zero, own, events)]
    staged = [sx.TransactionEvent(sx.TransactionEventStage.TRANSACTION_EVENT_STAGE_AFTER_TX, fee) for fee in fees]
    return sx.TransactionMeta(4, v4=sx.TransactionMetaV4(zero, none(), operations, none(), None, staged, []))


def header(protocol: int) -> sx.LedgerHeaderHistoryEntry:
    zero = sx.Hash(bytes(32))
    value = sx.StellarValue(
        zero, sx.TimePoint(sx.Uint64(1_700_000_000)), [], sx.StellarValueExt(sx.StellarValueType.STELLAR_VALUE_BASIC)
    )
    numbers = [sx.Int64(0), sx.Int64(0), sx.Uint32(0), sx.Uint64(0), sx.Uint32(100), sx.Uint32(5), sx.Uint32(50)]
    inner = sx.LedgerHeader(
        sx.Uint32(protocol), zero, value, zero, zero, sx.Uint32(5), *numbers, [zero] * 4, sx.LedgerHeaderExt(0)
    )
    return sx.LedgerHeaderHistoryEntry(zero, inner, sx.LedgerHeaderHistoryEntryExt(0))


def entry(kind: str, value: Any) -> sx.LedgerEntry:
    data = sx.LedgerEntryData(sx.LedgerEntryType[kind.upper()], **{kind: value})
    return sx.LedgerEntry(sx.Uint32(4), data, sx.LedgerEntryExt(0))


def change(kind: str, value: Any) -> sx.LedgerEntryChange:
    return sx.LedgerEntryChange(sx.LedgerEntryChangeType["LEDGER_ENTRY_" + kind.upper()], **{kind: value})


def pool(a: int, b: int, assets: tuple[sdk.Asset, sdk.Asset] = (GOLD, RICE)) -> sx.LedgerEntry:
    first, second = (asset.to_xdr_object() for asset in assets)
    body = sx.LiquidityPoolEntryConstantProduct(
        sx.LiquidityPoolConstantProductParameters(first, second, sx.Int32(30)),
        *(sx.Int64(n) for n in (a, b, 10, 1)),
    )
    kind = sx.LiquidityPoolType.LIQUIDITY_POOL_CONSTANT_PRODUCT
    value = sx.LiquidityPoolEntry(sx.PoolID(sx.Hash(POOL_ID)), sx.LiquidityPoolEntryBody(kind, constant_product=body))
    return entry("liquidity_pool", value)


def balance_id(raw: bytes) -> sx.ClaimableBalanceID:
    return sx.ClaimableBalanceID(sx.ClaimableBalanceIDType.CLAIMABLE_BALANCE_ID_TYPE_V0, v0=sx.Hash(raw))


def balance(raw: bytes, asset: sdk.Asset, amount: int) -> sx.LedgerEntry:
    predicate = sdk.ClaimPredicate.predicate_not(
        sdk.ClaimPredicate.predicate_or(
            sdk.ClaimPredicate.predicate_before_relative_time(5),
            sdk.ClaimPredicate.predicate_and(
                sdk.ClaimPredicate.predicate_unconditional(), sdk.ClaimPredicate.predicate_before_absolute_time(7)
            ),
        )
    )
    claimants = [sdk.Claimant(OTH, predicate).to_xdr_object(), sdk.Claimant(SRC).to_xdr_object()]
    value = sx.ClaimableBalanceEntry(
        balance_id(raw), claimants, asset.to_xdr_object(), sx.Int64(amount), sx.ClaimableBalanceEntryExt(0)
    )
    return entry("claimable_balance", value)


def removed_balance(raw: bytes) -> sx.LedgerKey:
    key = sx.LedgerKeyClaimableBalance(balance_id(raw))
    return sx.LedgerKey(sx.LedgerEntryType.CLAIMABLE_BALANCE, claimable_balance=key)


def account(keypair: sdk.Keypair, native: int) -> sx.LedgerEntry:
    value = sx.AccountEntry(
        keypair.xdr_account_id(),
        sx.Int64(native),
        sx.SequenceNumber(sx.Int64(1)),
        sx.Uint32(0),
        None,
        sx.Uint32(0),
        sx.String32(b""),
        sx.Thresholds(bytes(4)),
        [],
        sx.AccountEntryExt(0),
    )
    return entry("account", value)


def event(topics: list[Any], data: Any, contract: bytes | None = CONTRACT_ID, kind: str = "CONTRACT") -> Any:
    values = [scval.to_symbol(topic) if isinstance(topic, str) else topic for topic in topics]
    body = sx.ContractEventBody(0, v0=sx.ContractEventV0(values, data))
    emitter = None if contract is None else sx.ContractID(sx.Hash(contract))
    return sx.ContractEvent(sx.ExtensionPoint(0), emitter, sx.ContractEventType[kind], body)


def movements(data: bytes) -> list[tuple[Any, ...]]:
    """Muxed, kind, asset, from, to, amount of what the one operation moved."""
    found = token_transfers(data, passphrase=PASSPHRASE, mode="derived")
    assert not found.uncovered
    assert found.rows[0][7:] == ("fee", "native", SRC, None, 100)
    assert all(row[4] == 1 for row in found.rows[1:])
    return [row[6:] for row in found.rows[1:]]


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


def test_a_return_memo_is_a_hash() -> None:
    memo = sdk.ReturnHashMemo(b"\5" * 32)
    found = movements(made_ledger(sdk.Payment(OTH, NATIVE, "1"), memo=memo))
    assert found == [(("hash", b"\5" * 32), "transfer", "native", SRC, OTH, 10_000_000)]


@pytest.mark.parametrize("meta", [1, 2, 3, 4])
def test_every_version_of_meta_gives_the_same_payment(meta: int) -> None:
    found = movements(made_ledger(sdk.Payment(OTH, GOLD, "1"), meta=meta))
    assert found == [(None, "transfer", GOLD_TEXT, SRC, OTH, 10_000_000)]


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


def native_payment(protocol: int, before: int, after: int) -> list[tuple[Any, ...]]:
    changes = [change("state", account(SOURCE, before)), change("updated", account(SOURCE, after))]
    return movements(made_ledger(sdk.Payment(OTH, NATIVE, "1"), None, changes, protocol=protocol, meta=1))


def test_before_protocol_8_balance_from_nowhere_is_minted_first() -> None:
    paid = (None, "transfer", "native", SRC, OTH, 10_000_000)
    assert native_payment(7, 50_000_000, 40_000_003) == [(None, "mint", "native", None, SRC, 3), paid]
    assert native_payment(7, 50_000_000, 39_999_996) == [paid, (None, "burn", "native", SRC, None, 4)]
    assert native_payment(7, 50_000_000, 40_000_000) == [paid]
    assert native_payment(8, 50_000_000, 40_000_003) == [paid]


INVOCATION = sdk.InvokeHostFunction(
    sx.HostFunction(sx.HostFunctionType.HOST_FUNCTION_TYPE_UPLOAD_CONTRACT_WASM, wasm=b"\0asm!")
)
A, B, ADMIN = (scval.to_address(address) for address in (SRC, OTH, CONTRACT))
TEN = scval.to_int128(10)


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
