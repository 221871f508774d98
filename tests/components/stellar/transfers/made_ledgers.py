"""Ledgers of one transaction with one operation, made with another XDR library than ours."""

from __future__ import annotations

from typing import Any

import stellar_sdk as sdk
import stellar_sdk.xdr as sx
from stellar_sdk import scval

from flowctl_aio.components.stellar.networks import network_id, passphrase_of
from flowctl_aio.components.stellar.strkey import balance_address, contract_address, pool_address
from flowctl_aio.components.stellar.transfers import token_transfers

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
A, B, ADMIN = (scval.to_address(address) for address in (SRC, OTH, CONTRACT))
TEN = scval.to_int128(10)
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
