"""Claims about TTPEvents: every transfer is one, no two share an id, and nothing in them is invented."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio import __version__
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.strkey import encode_strkey
from flowctl_aio.components.stellar.transfers import Row, TransferFilter, rows_to_batch, token_transfers
from flowctl_aio.components.stellar.ttp_events import SCHEMA, ttp_events
from flowctl_aio.components.stellar.xdr import walk_ledger
from flowctl_aio.components.stellar.xdr.values import HASH
from flowctl_aio.components.stellar.xdr.words import read_int64
from flowctl_aio.errors import CodecError, ConfigError, SchemaMismatchError

NOW = datetime(2026, 7, 1, 12, 30, 15, 250_000, tzinfo=UTC)
PAYER, RECEIVER = (encode_strkey("G", bytes([n]) * 32) for n in (1, 2))
TOKEN = encode_strkey("C", bytes(32))
TX = "ab" * 32
COLUMNS = """event_id:string ledger_sequence:uint32 transaction_hash:fixed_size_binary[32] operation_index:uint32
    timestamp:timestamp[us,tz=UTC] processed_at:timestamp[us,tz=UTC] event_type:string asset_type:string
    asset_code:string? asset_issuer:string? from_account:string to_account:string amount_raw:int64 amount_str:string
    source_asset_type:string? source_asset_code:string? source_asset_issuer:string? source_amount_raw:int64?
    source_amount_str:string? successful:bool memo_type:string? memo_value:string? fee_charged:int64
    processor_version:string schema_version:string"""


def made(op: int | None, kind: str, amount: int, *, asset: str | None = "native", muxed: Any = None) -> Row:
    frm = None if kind == "mint" else PAYER
    to = RECEIVER if kind in ("transfer", "mint") else None
    return (7, 1_700_000_000, TX, 1, op, TOKEN, muxed, kind, asset, frm, to, amount)


FEE = made(None, "fee", 100)


def events_of(rows: list[Row], **more: Any) -> list[dict[str, Any]]:
    batch = ttp_events(rows_to_batch(rows), processed_at=NOW, **more)
    batch.validate(full=True)
    assert batch.schema.equals(SCHEMA, check_metadata=True)
    found: list[dict[str, Any]] = batch.to_pylist()
    return found


def test_columns_are_those_of_the_first_implementation() -> None:
    written = [f"{f.name}:{str(f.type).replace(' ', '')}{'?' if f.nullable else ''}" for f in SCHEMA]
    assert written == COLUMNS.split()
    metadata = {key.decode(): value.decode() for key, value in SCHEMA.metadata.items()}
    assert metadata["sort_key"] == "ledger_sequence,operation_index"
    assert (metadata["primary_key"], metadata["partition_key"]) == ("event_id", "timestamp")


def test_every_real_transfer_is_one_event_with_an_id_of_its_own(real: Any, golden: tuple[str, str]) -> None:
    name, mode = golden
    rows = []
    fees = {}
    for data in real.ledgers(name):
        found = token_transfers(data, passphrase=passphrase_of(name.split("-")[0]), mode=mode)  # type: ignore[arg-type]
        rows += found.rows
        ledger = walk_ledger(data)
        for number, transaction in enumerate(ledger.transactions, 1):
            fees[found.ledger, number] = read_int64(ledger.words, transaction.result.pair + HASH)
    events = events_of(rows)
    assert len(events) == len(rows) == len({event["event_id"] for event in events})
    for event, row in zip(events, rows, strict=True):
        ledger_, closed, tx, tx_index, op, contract, muxed, kind, asset, frm, to, amount = row
        assert event["event_id"].startswith(f"{ledger_}:{tx}:{op or 0}:")
        assert (event["ledger_sequence"], event["transaction_hash"].hex()) == (ledger_, tx)
        assert (event["operation_index"], event["event_type"]) == (op or 0, kind)
        assert event["timestamp"] == datetime.fromtimestamp(closed, UTC)
        assert (event["from_account"], event["to_account"]) == (frm or "", to or "")
        assert event["amount_raw"] == amount
        assert (event["memo_type"] is None) is (muxed is None)
        assert event["fee_charged"] == fees[ledger_, tx_index]
        if asset is None:
            assert (event["asset_type"], event["asset_issuer"], event["amount_str"]) == (
                *("contract", contract, str(amount)),
            )
        else:
            text = "native" if event["asset_code"] is None else f"{event['asset_code']}:{event['asset_issuer']}"
            assert text == asset
            assert Decimal(event["amount_str"]) * 10**7 == amount


def test_the_two_legs_of_a_trade_have_two_ids_with_and_without_a_filter() -> None:
    rows = [FEE, made(1, "transfer", 5), made(1, "mint", 6, asset=f"USDC:{PAYER}"), made(1, "transfer", 5)]
    ids = [event["event_id"] for event in events_of(rows)]
    assert ids == [f"7:{TX}:{place}" for place in ("0:0", "1:0", "1:1", "1:2")]
    (mint,) = events_of(rows, wanted=TransferFilter(kinds=["mint"]))
    assert (mint["event_id"], mint["fee_charged"]) == (ids[2], 100)
    assert (mint["asset_type"], mint["asset_code"], mint["asset_issuer"]) == ("credit_alphanum4", "USDC", PAYER)
    assert (mint["from_account"], mint["to_account"]) == ("", RECEIVER)


def test_a_row_tells_all_of_an_event() -> None:
    asset = f"LONGCODE:{PAYER}"
    rows = [FEE, made(2, "transfer", 123_4567891, asset=asset, muxed=("id", 0)), made(None, "fee", -30)]
    assert events_of(rows)[1] == {
        "event_id": f"7:{TX}:2:0",
        "ledger_sequence": 7,
        "transaction_hash": bytes.fromhex(TX),
        "operation_index": 2,
        "timestamp": datetime.fromtimestamp(1_700_000_000, UTC),
        "processed_at": NOW,
        "event_type": "transfer",
        "asset_type": "credit_alphanum12",
        "asset_code": "LONGCODE",
        "asset_issuer": PAYER,
        "from_account": PAYER,
        "to_account": RECEIVER,
        "amount_raw": 123_4567891,
        "amount_str": "123.4567891",
        "source_asset_type": None,
        "source_asset_code": None,
        "source_asset_issuer": None,
        "source_amount_raw": None,
        "source_amount_str": None,
        "successful": True,
        "memo_type": "id",
        "memo_value": "0",
        "fee_charged": 70,
        "processor_version": __version__,
        "schema_version": "1.0.0",
    }


@pytest.mark.parametrize(
    ("muxed", "memo"),
    [
        (("text", ""), ("text", "")),
        (("hash", b"\0\xff"), ("hash", "00ff")),
        (("id", 2**64 - 1), ("id", str(2**64 - 1))),
    ],
)
def test_a_sub_account_is_told_as_a_memo(muxed: Any, memo: tuple[str, str]) -> None:
    event = events_of([FEE, made(1, "transfer", 1, muxed=muxed)])[1]
    assert (event["memo_type"], event["memo_value"]) == memo


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_amount_in_units_is_exact(amount: int) -> None:
    event = events_of([FEE, made(1, "transfer", amount)])[1]
    assert event["amount_raw"] == amount
    assert int(event["amount_str"].replace(".", "")) == amount


@pytest.mark.parametrize("amount", [2**63, -(2**63) - 1, 2**127 - 1])
def test_an_amount_beyond_int64_is_an_error_that_names_it_and_a_filter_leaves_it_out(amount: int) -> None:
    rows = [FEE, made(1, "transfer", amount, asset=None), made(1, "transfer", 1, asset=None)]
    with pytest.raises(CodecError, match=f"event 7:{TX}:1:0 moves {amount}"):
        events_of(rows)
    fitting = TransferFilter(min_amount=-(2**63), max_amount=2**63 - 1)
    assert [event["event_id"][-4:] for event in events_of(rows, wanted=fitting)] == [":0:0", ":1:1"]


def test_a_batch_without_its_fees_other_columns_and_a_time_without_zone_are_refused() -> None:
    with pytest.raises(CodecError, match="filter after, not before"):
        events_of([made(1, "transfer", 1)])
    with pytest.raises(SchemaMismatchError, match="token_transfer@1"):
        ttp_events(pa.record_batch({"kind": ["fee"]}))
    with pytest.raises(ConfigError, match="timezone"):
        ttp_events(rows_to_batch([]), processed_at=NOW.replace(tzinfo=None))


def test_no_transfers_give_a_batch_without_rows() -> None:
    assert events_of([]) == []
