"""Claims about token transfers of real ledgers: element by element what was published, in both modes."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest

from flowctl_aio.components.stellar import transfers as public
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.transfers import (
    SCHEMA,
    batch_to_golden,
    golden_line,
    rows_to_batch,
    token_transfers,
)
from flowctl_aio.components.stellar.xdr import walk_ledger
from flowctl_aio.errors import ConfigError, LedgerDecodeError

PUBNET = passphrase_of("pubnet")


def passphrase_for(name: str) -> str:
    return passphrase_of(name.split("-")[0])


def test_real_ledgers_give_the_published_transfers(real: Any, golden: tuple[str, str]) -> None:
    name, mode = golden
    lines = []
    uncovered: Counter[str] = Counter()
    for data in real.ledgers(name):
        found = token_transfers(data, passphrase=passphrase_for(name), mode=mode)
        lines += [golden_line(row) for row in found.rows]
        uncovered += found.uncovered
    assert not uncovered
    assert lines == real.golden(name, mode)


def test_columns_give_the_published_lines_too(real: Any, golden: tuple[str, str]) -> None:
    name, mode = golden
    rows = []
    for data in real.ledgers(name):
        rows += token_transfers(data, passphrase=passphrase_for(name), mode=mode).rows
    batch = rows_to_batch(rows)
    batch.validate(full=True)
    assert batch.schema.equals(SCHEMA, check_metadata=True)
    assert [golden_line(fields) for fields in batch_to_golden(batch)] == real.golden(name, mode)


def test_counts_tell_what_the_ledger_holds(real: Any) -> None:
    (data,) = real.ledgers("pubnet-63092991")
    found = {mode: token_transfers(data, passphrase=PUBNET, mode=mode) for mode in ("unified", "derived")}
    for each in found.values():
        assert (each.ledger, each.closed_at, each.transactions) == (63092991, 1781828503, 239)
    assert found["unified"].operations == found["derived"].operations
    assert Counter(found["unified"].rows) == Counter(found["derived"].rows)


def test_a_memoryview_is_as_good_as_bytes(real: Any) -> None:
    (data,) = real.ledgers("pubnet-30822018")
    for mode in ("unified", "derived"):
        expected = token_transfers(data, passphrase=PUBNET, mode=mode)
        assert token_transfers(memoryview(data), passphrase=PUBNET, mode=mode) == expected


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pubnet-46154623", "has meta version 2"),
        ("pubnet-53312000", "has meta version 3"),
        ("coretest-TxEnvelopeTests-33b31b8901ef27e4", "has no fee event"),
    ],
)
def test_unified_mode_refuses_a_ledger_without_unified_events(real: Any, name: str, why: str) -> None:
    data = real.ledgers(name)[-1]
    sequence = walk_ledger(data).header.sequence
    with pytest.raises(LedgerDecodeError, match=f'ledger {sequence} .*{why}.*no unified events; mode "derived"'):
        token_transfers(data, passphrase=passphrase_for(name), mode="unified")


@pytest.mark.parametrize("mode", ["unified", "derived"])
def test_another_networks_passphrase_is_noticed(real: Any, mode: Any) -> None:
    (data,) = real.ledgers("pubnet-30822018")
    with pytest.raises(LedgerDecodeError, match="network"):
        token_transfers(data, passphrase=passphrase_of("testnet"), mode=mode)


def test_an_unknown_mode_is_a_mistake_of_the_caller(real: Any) -> None:
    (data,) = real.ledgers("pubnet-6154623")
    with pytest.raises(ConfigError, match="unified or derived"):
        token_transfers(data, passphrase=PUBNET, mode="guess")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["unified", "derived"])
@pytest.mark.parametrize(
    "name", ["coretest-InvokeHostFunctionTests-21c43b92b819267f", "coretest-MergeTests-7b2e6a32c85708f5"]
)
def test_flipped_bits_give_rows_or_one_kind_of_error(real: Any, name: str, mode: Any) -> None:
    chance = random.Random(3)
    for data in random.Random(4).choices(real.ledgers(name), k=300):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        with suppress(LedgerDecodeError):
            rows_to_batch(token_transfers(bytes(broken), passphrase=passphrase_of("coretest"), mode=mode).rows)


def test_no_rows_make_an_empty_batch_of_the_same_schema() -> None:
    batch = rows_to_batch([])
    assert batch.num_rows == 0
    assert batch.schema.equals(SCHEMA, check_metadata=True)
    assert list(batch_to_golden(batch)) == []


def test_the_range_of_amounts_ids_and_hashes_survives_columns() -> None:
    tx, contract, native = "ab" * 32, "C" + "A" * 55, ("transfer", "native", "G1", "G2")
    head = (2**32 - 1, 1781828503, tx, 1)
    rows = [
        (*head, 1, contract, ("id", 0), *native, 2**127 - 1),
        (*head, 2, contract, ("id", 2**64 - 1), *native, 0),
        (*head, 3, contract, ("text", ""), *native, 1),
        (*head, 4, contract, ("hash", b"\0\xff"), *native, 1),
        (*head, None, contract, None, "fee", "native", "G1", None, -(2**127)),
    ]
    lines = [golden_line(fields) for fields in batch_to_golden(rows_to_batch(rows))]
    assert lines == [golden_line(row) for row in rows]
    assert [json.loads(line)["to_muxed"] for line in lines] == [
        ["id", 0],
        ["id", 2**64 - 1],
        ["text", ""],
        ["hash", "00ff"],
        None,
    ]


def test_every_column_says_what_it_is() -> None:
    assert SCHEMA.metadata == {b"flowctl.schema": b"token_transfer@1"}
    assert all(len(field.metadata[b"description"]) > 20 for field in SCHEMA)
    assert SCHEMA.field("closed_at").type == pa.timestamp("us", tz="UTC")


def test_the_public_names_are_these() -> None:
    assert set(public.__all__) == {
        "KINDS",
        "SCHEMA",
        "Imbalance",
        "LedgerTransfers",
        "Mode",
        "Row",
        "TransferFilter",
        "batch_to_golden",
        "find_imbalances",
        "golden_dict",
        "golden_line",
        "rows_to_batch",
        "token_transfers",
    }
