"""Claims about ledger rows: what a full decoder reads is in them, and the network's own hashes agree."""

from __future__ import annotations

import gc
import random
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from stellar_sdk.xdr import LedgerCloseMeta

from flowctl_aio.components.stellar.ledgers import SCHEMA, ledger_rows
from flowctl_aio.components.stellar.networks import PASSPHRASES, passphrase_of
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.xdr import walk_ledger
from flowctl_aio.errors import ConfigError, LedgerDecodeError

NOW = datetime(2026, 7, 1, 12, 30, 15, 250_000, tzinfo=UTC)
HEADER_FIELDS = ("fee_pool", "base_fee", "base_reserve", "max_tx_set_size")
COLUMNS = """sequence:uint32 hash:fixed_size_binary[32] previous_hash:fixed_size_binary[32]
    close_time:timestamp[us,tz=UTC] ingestion_time:timestamp[us,tz=UTC] protocol_version:uint32
    network_id:fixed_size_binary[32] transaction_count:uint32 successful_transaction_count:uint32
    failed_transaction_count:uint32 operation_count:uint32 total_fees:int64 fee_pool:int64 base_fee:uint32
    base_reserve:uint32 max_tx_set_size:uint32 ledger_xdr:binary source_type:string source_url:string?
    schema_version:string"""


def rows_of(xdrs: list[bytes], name: str = "pubnet", **more: Any) -> pa.RecordBatch:
    passphrase = passphrase_of(name.split("-")[0])
    batch = ledger_rows(xdrs, passphrase=passphrase, source_type="datalake", ingested_at=NOW, **more)
    batch.validate(full=True)
    assert batch.schema.equals(SCHEMA, check_metadata=True)
    return batch


def as_decoded(data: bytes, name: str) -> dict[str, Any]:
    """The same row, worked out from what a library that shares no code with ours decodes."""
    lcm = LedgerCloseMeta.from_xdr_bytes(data)
    body = next(part for part in (lcm.v0, lcm.v1, lcm.v2) if part is not None)
    entry, header = body.ledger_header, body.ledger_header.header
    results = [meta.result.result for meta in body.tx_processing]
    inner = [r.result.inner_result_pair.result if r.result.inner_result_pair else r for r in results]
    good = [r for r in inner if r.result.code == 0]
    return {
        "sequence": header.ledger_seq.uint32,
        "hash": entry.hash.hash,
        "previous_hash": header.previous_ledger_hash.hash,
        "close_time": datetime.fromtimestamp(header.scp_value.close_time.time_point.uint64, UTC),
        "ingestion_time": NOW,
        "protocol_version": header.ledger_version.uint32,
        "network_id": sha256(PASSPHRASES[name.split("-")[0]].encode()).digest(),
        "transaction_count": len(results),
        "successful_transaction_count": len(good),
        "failed_transaction_count": len(results) - len(good),
        "operation_count": sum(len(r.result.results) for r in good),
        "total_fees": sum(r.fee_charged.int64 for r in results),
        "fee_pool": header.fee_pool.int64,
        "base_fee": header.base_fee.uint32,
        "base_reserve": header.base_reserve.uint32,
        "max_tx_set_size": header.max_tx_set_size.uint32,
        "ledger_xdr": b"",
        "source_type": "datalake",
        "source_url": None,
        "schema_version": "1.0.0",
    }


def test_columns_are_those_of_the_first_implementation() -> None:
    written = [f"{f.name}:{str(f.type).replace(' ', '')}{'?' if f.nullable else ''}" for f in SCHEMA]
    assert written == COLUMNS.split()
    assert all(b"description" in field.metadata for field in SCHEMA)
    more = {f.name: {k: v for k, v in f.metadata.items() if k != b"description"} for f in SCHEMA}
    assert {name: value for name, value in more.items() if value} == {
        "sequence": {b"index": b"true"},
        "hash": {b"encoding": b"hex"},
        "previous_hash": {b"encoding": b"hex"},
        "close_time": {b"timezone": b"UTC", b"index": b"true"},
        "ingestion_time": {b"timezone": b"UTC"},
        "network_id": {b"encoding": b"hex"},
        **{name: {b"unit": b"stroops"} for name in ("total_fees", "fee_pool", "base_fee", "base_reserve")},
        "ledger_xdr": {b"encoding": b"base64", b"compress": b"true"},
        "source_type": {b"enum": b"rpc,datalake,archive"},
    }
    metadata = {key.decode(): value.decode() for key, value in SCHEMA.metadata.items()}
    assert (metadata["version"], metadata["primary_key"], metadata["partition_key"]) == (
        *("1.0.0", "sequence", "close_time"),
    )
    assert metadata["description"] == "Stellar ledger data optimized for analytics"


def test_every_real_ledger_gives_what_a_full_decoder_reads(real: Any, real_name: str) -> None:
    xdrs = real.ledgers(real_name)
    gc.disable()  # most of the decoder's time is the collector's
    try:
        expected = [as_decoded(data, real_name) for data in xdrs]
    finally:
        gc.enable()
    assert rows_of(xdrs, real_name).to_pylist() == expected


def test_every_real_header_has_the_hash_that_its_row_gives(real: Any, real_name: str) -> None:
    rows_of(real.ledgers(real_name), real_name, verify=True)


def test_rows_of_neighbours_hang_together_by_hash_and_by_fee_pool(real: Any) -> None:
    neighbours = 0
    for network in ("pubnet", "testnet", "coretest", "loadtest"):
        names = [name for name in real.names() if name.startswith(network)]
        if network in ("pubnet", "testnet"):
            streams = [sorted((xdr for name in names for xdr in real.ledgers(name)), key=sequence_of)]
        else:
            streams = [real.ledgers(name) for name in names]
        for stream in streams:
            for before, after in pairwise(rows_of(stream, network).to_pylist()):
                if after["sequence"] == before["sequence"] + 1:
                    neighbours += 1
                    assert after["previous_hash"] == before["hash"]
                    if network in ("pubnet", "testnet"):  # tests of stellar-core set and pay out fee pools by hand
                        assert after["fee_pool"] - before["fee_pool"] == after["total_fees"]
    assert neighbours > 500


def sequence_of(xdr: bytes) -> int:
    return walk_ledger(xdr).header.sequence


def test_the_ledger_itself_is_in_its_row_on_request() -> None:
    xdr = SyntheticLedgers("testnet", transactions_per_ledger=3).ledger(7).xdr
    batch = rows_of([xdr, memoryview(xdr)], "testnet", with_xdr=True, source_url="s3://bucket/ledgers")  # type: ignore[list-item]
    assert batch.column("ledger_xdr").to_pylist() == [xdr, xdr]
    assert batch.column("source_url").to_pylist() == ["s3://bucket/ledgers"] * 2


def test_no_ledgers_give_a_batch_without_rows() -> None:
    assert rows_of([]).num_rows == 0


def test_a_header_that_was_changed_is_found_by_its_hash(real: Any) -> None:
    (data,) = real.ledgers("pubnet-16154623")
    fee_pool = data.index(rows_of([data]).column("fee_pool")[0].as_py().to_bytes(8, "big"))
    changed = data[: fee_pool + 7] + bytes([data[fee_pool + 7] ^ 1]) + data[fee_pool + 8 :]
    assert rows_of([changed]).column("fee_pool") != rows_of([data]).column("fee_pool")
    with pytest.raises(LedgerDecodeError, match=r"ledger 16154623 .* not that of its header"):
        rows_of([data, changed], verify=True)


def test_fees_that_no_network_could_charge_are_the_one_error() -> None:
    data = bytearray(SyntheticLedgers("testnet", transactions_per_ledger=3).ledger(7).xdr)
    for transaction in walk_ledger(bytes(data)).transactions[:2]:
        at = 4 * transaction.result.pair + 32
        data[at : at + 8] = (2**63 - 1).to_bytes(8, "big")
    with pytest.raises(LedgerDecodeError, match=r"ledger 7 .* more than there is"):
        rows_of([bytes(data)], "testnet")


def test_a_cut_ledger_is_one_clear_error(real: Any) -> None:
    (data,) = real.ledgers("pubnet-16154623")
    with pytest.raises(LedgerDecodeError, match="ledger 16154623"):
        rows_of([data[:-4]])


def test_a_time_without_zone_and_a_source_without_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="timezone"):
        ledger_rows([], passphrase="a b", source_type="rpc", ingested_at=NOW.replace(tzinfo=None))
    with pytest.raises(ConfigError, match="source_type"):
        ledger_rows([], passphrase="a b", source_type="")


@pytest.mark.parametrize("name", ["pubnet-16154623", "pubnet-6154623"])
def test_damage_at_random_gives_a_row_or_the_one_error(real: Any, name: str) -> None:
    (data,) = real.ledgers(name)
    chance = random.Random(3)
    failed = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 5, 50))):
            damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            rows_of([bytes(damaged)])
        except LedgerDecodeError:
            failed += 1
    assert 30 < failed < 300
