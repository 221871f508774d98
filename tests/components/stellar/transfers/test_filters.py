"""Claims about filters: Arrow gives what a plain loop over whole numbers gives, and nonsense is refused."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.components.stellar.strkey import encode_strkey
from flowctl_aio.components.stellar.transfers import KINDS, SCHEMA, TransferFilter, rows_to_batch, token_transfers
from flowctl_aio.errors import ConfigError, SchemaMismatchError

ACCOUNTS = [encode_strkey("G", bytes([n]) * 32) for n in range(3)]
CONTRACTS = [encode_strkey("C", bytes([n]) * 32) for n in range(3)]
POOL = encode_strkey("L", bytes(32))
BALANCE = encode_strkey("B", bytes(33))
MUXED = encode_strkey("M", bytes(40))
ASSETS = ["native", f"USDC:{ACCOUNTS[0]}", f"USDC:{ACCOUNTS[1]}", f"USD:{ACCOUNTS[0]}", f"native:{ACCOUNTS[0]}"]
HOLDERS = [*ACCOUNTS, CONTRACTS[0], POOL, BALANCE]
LEAST, MOST = -(2**127), 2**127 - 1

# Close together and around the places where a double or an int64 would go wrong.
amounts = st.one_of(
    st.integers(LEAST, MOST),
    st.builds(
        lambda edge, step: max(LEAST, min(MOST, edge + step)),
        st.sampled_from([LEAST, -(2**63), -1, 0, 2**53, 2**63, 10**18, MOST]),
        st.integers(-2, 2),
    ),
)


def some(values: list[str]) -> Any:
    return st.lists(st.sampled_from(values), max_size=2)


@st.composite
def rows(draw: Any) -> tuple[Any, ...]:
    head = (7, 1_700_000_000, "ab" * 32, 1, draw(st.sampled_from([None, 1])))
    sides = st.one_of(st.none(), st.sampled_from(HOLDERS))
    asset = draw(st.one_of(st.none(), st.sampled_from(ASSETS)))
    kind = draw(st.sampled_from(KINDS))
    return (*head, draw(st.sampled_from(CONTRACTS)), None, kind, asset, draw(sides), draw(sides), draw(amounts))


@st.composite
def filters(draw: Any) -> TransferFilter:
    low, high = sorted([draw(amounts), draw(amounts)])
    return TransferFilter(
        kinds=draw(some(list(KINDS))),
        assets=draw(some([*ASSETS, "USDC", "USD", "XLM"])),
        accounts=draw(some(HOLDERS)),
        contracts=draw(some(CONTRACTS)),
        min_amount=draw(st.sampled_from([None, low])),
        max_amount=draw(st.sampled_from([None, high])),
    )


def is_wanted(wanted: TransferFilter, row: tuple[Any, ...]) -> bool:
    contract, _, kind, asset, frm, to, amount = row[5:]
    names = {asset} if asset in (None, "native") else {asset, asset.partition(":")[0] + ":*"}
    asked = {name if name == "native" or ":" in name else name + ":*" for name in wanted.assets}
    return (
        (not wanted.kinds or kind in wanted.kinds)
        and (not asked or bool(names & asked))
        and (not wanted.accounts or frm in wanted.accounts or to in wanted.accounts)
        and (not wanted.contracts or contract in wanted.contracts)
        and (wanted.min_amount is None or amount >= wanted.min_amount)
        and (wanted.max_amount is None or amount <= wanted.max_amount)
    )


@given(filters(), st.lists(rows(), max_size=12))
def test_arrow_gives_the_rows_that_a_plain_loop_gives(wanted: TransferFilter, given_rows: list[Any]) -> None:
    batch = rows_to_batch(given_rows)
    expected = [row for row in given_rows if is_wanted(wanted, row)]
    found = wanted.apply(batch)
    assert found.equals(rows_to_batch(expected))
    assert found.schema.equals(SCHEMA, check_metadata=True)
    assert wanted.pick(given_rows) == expected
    mask = wanted.mask(batch)
    assert mask.type == pa.bool_()
    assert mask.to_pylist() == [is_wanted(wanted, row) for row in given_rows]


@given(amounts)
def test_a_bound_lets_the_amount_itself_through_and_its_neighbour_not(amount: int) -> None:
    row = (7, 0, "ab" * 32, 1, 1, CONTRACTS[0], None, "transfer", None, ACCOUNTS[0], ACCOUNTS[1], amount)
    batch = rows_to_batch([row])
    assert TransferFilter(min_amount=amount, max_amount=amount).apply(batch).num_rows == 1
    if amount < MOST:
        assert TransferFilter(min_amount=amount + 1).apply(batch).num_rows == 0
    if amount > LEAST:
        assert TransferFilter(max_amount=amount - 1).apply(batch).num_rows == 0


def test_a_real_ledger_is_filtered_as_a_plain_loop_filters_it(real: Any) -> None:
    (data,) = real.ledgers("pubnet-63092991")
    passphrase = "Public Global Stellar Network ; September 2015"
    found = token_transfers(data, passphrase=passphrase, mode="unified").rows
    batch = rows_to_batch(found)
    row = next(row for row in found if row[7] == "transfer" and row[8] not in (None, "native"))
    for wanted in (
        TransferFilter(kinds=["fee"], max_amount=-1),
        TransferFilter(assets=[row[8].partition(":")[0]], min_amount=row[11]),
        TransferFilter(assets=[row[8], "native"], kinds=["transfer", "mint"]),
        TransferFilter(accounts=[row[9]]),
        TransferFilter(contracts=[row[5]], max_amount=row[11]),
    ):
        expected = [row for row in found if is_wanted(wanted, row)]
        assert 0 < len(expected) < len(found)
        assert wanted.apply(batch).equals(rows_to_batch(expected))


def test_a_code_is_not_the_beginning_of_a_longer_one() -> None:
    found = [
        (7, 0, "ab" * 32, 1, 1, CONTRACTS[0], None, "transfer", asset, ACCOUNTS[0], ACCOUNTS[1], 1) for asset in ASSETS
    ]
    for code, expected in (("USD", ASSETS[3:4]), ("USDC", ASSETS[1:3]), ("US", []), ("native", ASSETS[:1])):
        picked = TransferFilter(assets=[code]).pick(found)
        assert [row[8] for row in picked] == expected


def test_a_filter_without_criteria_wants_all() -> None:
    assert TransferFilter().wants_all
    assert not TransferFilter(min_amount=0).wants_all
    row = (7, 0, "ab" * 32, 1, 1, CONTRACTS[0], None, "transfer", None, ACCOUNTS[0], ACCOUNTS[1], 1)
    assert TransferFilter().mask(rows_to_batch([row])).to_pylist() == [True]


@pytest.mark.parametrize(
    ("criteria", "why"),
    [
        ({"kinds": ["payment"]}, "kind 'payment'"),
        ({"kinds": "fee"}, "must be a list"),
        ({"assets": [""]}, "asset ''"),
        ({"assets": ["TOOLONGFORACODE"]}, "TOOLONG"),
        ({"assets": ["USDC:GABC"]}, "no address"),
        ({"assets": [f"USDC:{CONTRACTS[0]}"]}, "must begin with G"),
        ({"accounts": [ACCOUNTS[0][:-1] + "A"]}, "no address"),
        ({"accounts": [MUXED]}, "by its G address"),
        ({"contracts": [ACCOUNTS[0]]}, "must begin with C"),
        ({"min_amount": 1.5}, "whole number"),
        ({"min_amount": True}, "whole number"),
        ({"max_amount": "5"}, "whole number"),
        ({"max_amount": MOST + 1}, "128-bit"),
        ({"min_amount": 2, "max_amount": 1}, "lies above"),
    ],
)
def test_a_criterion_that_no_row_could_meet_is_refused(criteria: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        TransferFilter(**criteria)


def test_other_columns_and_other_amounts_are_refused() -> None:
    with pytest.raises(SchemaMismatchError, match="token_transfer@1"):
        TransferFilter(kinds=["fee"]).apply(pa.record_batch({"kind": ["fee"]}))
    row = (7, 0, "ab" * 32, 1, 1, CONTRACTS[0], None, "transfer", None, ACCOUNTS[0], ACCOUNTS[1], 1)
    batch = rows_to_batch([row])
    broken = batch.set_column(batch.schema.get_field_index("amount"), "amount", pa.array(["1.5"]))
    with pytest.raises(SchemaMismatchError, match="no whole number"):
        TransferFilter(min_amount=1).apply(broken)
