"""Claims about made-up ledgers: an independent XDR library, and both ways to token transfers, must believe them."""

from __future__ import annotations

from collections import Counter, defaultdict
from hashlib import sha256
from itertools import pairwise
from typing import get_args

import pytest
import stellar_sdk.xdr as sx
from hypothesis import given, settings
from hypothesis import strategies as st
from stellar_sdk import StrKey, TransactionEnvelope

from flowctl_aio.components.stellar.lake import StoredLedger
from flowctl_aio.components.stellar.networks import PASSPHRASES
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.transfers import Mode, token_transfers
from flowctl_aio.components.stellar.xdr import ledger_header, walk_ledger
from flowctl_aio.errors import ConfigError

TESTNET = PASSPHRASES["testnet"]
SETTINGS = [(0, 50), (1, 200), (7, 1), (8, 0)]


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda setting: f"seed{setting[0]}-{setting[1]}txs")
def made(request: pytest.FixtureRequest) -> StoredLedger:
    seed, transactions = request.param
    return SyntheticLedgers("testnet", seed=seed, transactions_per_ledger=transactions).ledger(1000 + seed)


@pytest.fixture(scope="module")
def parsed(made: StoredLedger) -> sx.LedgerCloseMetaV2:
    lcm = sx.LedgerCloseMeta.from_xdr_bytes(made.xdr)
    assert lcm.v2 is not None
    return lcm.v2


def envelopes_of(parsed: sx.LedgerCloseMetaV2) -> list[sx.TransactionEnvelope]:
    phase = parsed.tx_set.v1_tx_set.phases[0]
    return [envelope for component in phase.v0_components for envelope in component.txs_maybe_discounted_fee.txs]


def test_another_library_reads_and_writes_the_same_bytes(made: StoredLedger) -> None:
    assert sx.LedgerCloseMeta.from_xdr_bytes(made.xdr).to_xdr_bytes() == made.xdr


def test_the_walk_ends_on_the_last_word(made: StoredLedger) -> None:
    header = walk_ledger(made.xdr).header
    assert header == ledger_header(made.xdr)
    assert header.protocol >= 23
    assert (header.sequence, header.closed_at) == (made.sequence, made.closed_at)
    assert (header.hash, header.previous_hash) == (made.hash, made.previous_hash)
    # The close time lies where tools that patch copies of real ledgers look for it.
    assert made.xdr[8 + 100 : 8 + 108] == made.closed_at.to_bytes(8, "big")


def test_a_ledger_follows_from_seed_and_sequence_alone() -> None:
    one, other = SyntheticLedgers(seed=3), SyntheticLedgers(seed=3)
    forwards = [one.ledger(sequence) for sequence in range(2, 6)]
    backwards = [other.ledger(sequence) for sequence in range(5, 1, -1)]
    assert forwards == backwards[::-1]
    assert SyntheticLedgers(seed=4).ledger(2).xdr != forwards[0].xdr
    assert SyntheticLedgers("pubnet", seed=3).ledger(2).xdr != forwards[0].xdr


def test_the_bytes_are_the_same_on_every_machine() -> None:
    # A change here is a change of every demo's and benchmark's input: make it knowingly.
    assert (
        sha256(SyntheticLedgers(seed=1).ledger(1000).xdr).hexdigest()
        == "a526d5b1c0b1d765738af9d2f0c8be251aa20cd58f69c2dd2bd6521cdb87da13"
    )


def test_the_chain_holds_and_time_runs() -> None:
    synthetic = SyntheticLedgers(transactions_per_ledger=1, first_close_time=1_800_000_000, close_interval=6)
    ledgers = [synthetic.ledger(sequence) for sequence in range(2, 12)]
    assert ledgers[0].closed_at == 1_800_000_000
    for before, after in pairwise(ledgers):
        assert after.previous_hash == before.hash
        assert after.closed_at == before.closed_at + 6
    assert len({ledger.hash for ledger in ledgers}) == 10


def test_transaction_hashes_are_those_of_the_envelopes(parsed: sx.LedgerCloseMetaV2) -> None:
    hashes = {TransactionEnvelope.from_xdr(envelope.to_xdr(), TESTNET).hash() for envelope in envelopes_of(parsed)}
    results = [processing.result.transaction_hash.hash for processing in parsed.tx_processing]
    assert set(results) == hashes
    assert len(set(results)) == len(results)


def test_the_set_is_sorted_by_hash_and_applied_in_another_order() -> None:
    lcm = sx.LedgerCloseMeta.from_xdr_bytes(SyntheticLedgers(seed=5).ledger(77).xdr)
    assert lcm.v2 is not None
    digests = [sha256(envelope.to_xdr_bytes()).digest() for envelope in envelopes_of(lcm.v2)]
    assert digests == sorted(digests)
    in_set = [TransactionEnvelope.from_xdr(envelope.to_xdr(), TESTNET).hash() for envelope in envelopes_of(lcm.v2)]
    assert in_set != [processing.result.transaction_hash.hash for processing in lcm.v2.tx_processing]


def test_the_hashes_of_set_and_results_in_the_header_are_real(parsed: sx.LedgerCloseMetaV2) -> None:
    header = parsed.ledger_header.header
    assert header.scp_value.tx_set_hash.hash == sha256(parsed.tx_set.to_xdr_bytes()).digest()
    results = sx.TransactionResultSet([processing.result for processing in parsed.tx_processing])
    assert header.tx_set_result_hash.hash == sha256(results.to_xdr_bytes()).digest()


@given(st.integers(0, 2**64), st.integers(2, 2**31 - 1), st.integers(0, 30))
@settings(max_examples=50)
def test_any_seed_and_number_give_equal_transfers_both_ways(seed: int, sequence: int, transactions: int) -> None:
    ledger = SyntheticLedgers("pubnet", seed=seed, transactions_per_ledger=transactions).ledger(sequence)
    unified, derived = (
        token_transfers(ledger.xdr, passphrase=PASSPHRASES["pubnet"], mode=mode) for mode in get_args(Mode)
    )
    assert unified.rows == derived.rows
    assert unified.transactions == transactions


def test_unified_and_derived_transfers_are_equal(made: StoredLedger) -> None:
    unified = token_transfers(made.xdr, passphrase=TESTNET, mode="unified")
    derived = token_transfers(made.xdr, passphrase=TESTNET, mode="derived")
    assert unified.rows == derived.rows
    assert not derived.uncovered
    assert len(unified.rows) >= unified.transactions


def test_a_thousand_transactions_bring_every_kind_and_every_memo() -> None:
    synthetic = SyntheticLedgers("pubnet", seed=9, transactions_per_ledger=250)
    kinds: Counter[str] = Counter()
    muxed: Counter[str | None] = Counter()
    assets: set[str | None] = set()
    transactions = paid = 0
    for sequence in range(50_000_000, 50_000_004):
        xdr = synthetic.ledger(sequence).xdr
        unified = token_transfers(xdr, passphrase=PASSPHRASES["pubnet"], mode="unified")
        assert unified.rows == token_transfers(xdr, passphrase=PASSPHRASES["pubnet"], mode="derived").rows
        kinds.update(row[7] for row in unified.rows)
        muxed.update(row[6][0] if row[6] else None for row in unified.rows)
        assets.update(row[8] for row in unified.rows)
        transactions += unified.transactions
        paid += len({row[2] for row in unified.rows if row[7] != "fee"})
    assert transactions == 1000
    assert min(kinds[kind] for kind in ("transfer", "mint", "burn", "fee")) > 30
    assert min(muxed[kind] for kind in ("id", "text", "hash", None)) > 30
    assert len(assets) == 6
    # Failed ones pay their fee and move nothing.
    assert 850 < paid < 950


def holdings(changes: sx.LedgerEntryChanges, totals: dict[tuple[str, str], int]) -> None:
    """Adds what a list of entry changes did to each holder's balance of each asset."""
    state: sx.LedgerEntry | None = None
    for change in changes.ledger_entry_changes:
        kind = change.type
        if kind == sx.LedgerEntryChangeType.LEDGER_ENTRY_STATE:
            state = change.state
            continue
        created = kind == sx.LedgerEntryChangeType.LEDGER_ENTRY_CREATED
        after = change.created if created else change.updated
        assert after is not None
        key, balance = holding(after)
        totals[key] += balance
        if not created:
            assert state is not None
            assert holding(state)[0] == key
            totals[key] -= holding(state)[1]


def holding(entry: sx.LedgerEntry) -> tuple[tuple[str, str], int]:
    if entry.data.account is not None:
        account = entry.data.account
        return (address(account.account_id), "native"), account.balance.int64
    line = entry.data.trust_line
    assert line is not None
    coded = line.asset.alpha_num4 or line.asset.alpha_num12
    code = (
        (
            line.asset.alpha_num4.asset_code.asset_code4
            if line.asset.alpha_num4
            else line.asset.alpha_num12.asset_code.asset_code12
        )
        .rstrip(b"\0")
        .decode()
    )
    return (address(line.account_id), f"{code}:{address(coded.issuer)}"), line.balance.int64


def address(account: sx.AccountID) -> str:
    return StrKey.encode_ed25519_public_key(account.account_id.ed25519.uint256)


def test_events_sum_up_to_what_balances_changed_by(made: StoredLedger, parsed: sx.LedgerCloseMetaV2) -> None:
    moved: defaultdict[int, defaultdict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    for row in token_transfers(made.xdr, passphrase=TESTNET, mode="unified").rows:
        index, asset, frm, to, amount = row[3], row[8], row[9], row[10], row[11]
        assert asset is not None
        if frm:
            moved[index][frm, asset] -= amount
        if to:
            moved[index][to, asset] += amount
    for index, processing in enumerate(parsed.tx_processing, 1):
        changed: defaultdict[tuple[str, str], int] = defaultdict(int)
        meta = processing.tx_apply_processing.v4
        holdings(processing.fee_processing, changed)
        holdings(meta.tx_changes_before, changed)
        for operation in meta.operations:
            holdings(operation.changes, changed)
        assert {key: value for key, value in changed.items() if value} == dict(moved[index])


def test_settings_out_of_range_are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"transactions_per_ledger.*first_close_time.*close_interval"):
        SyntheticLedgers(transactions_per_ledger=-1, first_close_time=-1, close_interval=-1)
    with pytest.raises(ConfigError, match="unknown"):
        SyntheticLedgers("nowhere")


@pytest.mark.parametrize("sequence", [-1, 0, 1, 2**31])
def test_no_ledger_has_an_impossible_number(sequence: int) -> None:
    with pytest.raises(ValueError, match="numbers from 2"):
        SyntheticLedgers().ledger(sequence)
