"""Claims about derived mode beside its operations: memos, versions of meta, and the oldest protocols."""

from __future__ import annotations

from typing import Any

import pytest
import stellar_sdk as sdk

from .made_ledgers import GOLD, GOLD_TEXT, NATIVE, OTH, SOURCE, SRC, account, change, made_ledger, movements


def test_a_return_memo_is_a_hash() -> None:
    memo = sdk.ReturnHashMemo(b"\5" * 32)
    found = movements(made_ledger(sdk.Payment(OTH, NATIVE, "1"), memo=memo))
    assert found == [(("hash", b"\5" * 32), "transfer", "native", SRC, OTH, 10_000_000)]


@pytest.mark.parametrize("meta", [1, 2, 3, 4])
def test_every_version_of_meta_gives_the_same_payment(meta: int) -> None:
    found = movements(made_ledger(sdk.Payment(OTH, GOLD, "1"), meta=meta))
    assert found == [(None, "transfer", GOLD_TEXT, SRC, OTH, 10_000_000)]


def native_payment(protocol: int, before: int, after: int) -> list[tuple[Any, ...]]:
    changes = [change("state", account(SOURCE, before)), change("updated", account(SOURCE, after))]
    return movements(made_ledger(sdk.Payment(OTH, NATIVE, "1"), None, changes, protocol=protocol, meta=1))


def test_before_protocol_8_balance_from_nowhere_is_minted_first() -> None:
    paid = (None, "transfer", "native", SRC, OTH, 10_000_000)
    assert native_payment(7, 50_000_000, 40_000_003) == [(None, "mint", "native", None, SRC, 3), paid]
    assert native_payment(7, 50_000_000, 39_999_996) == [paid, (None, "burn", "native", SRC, None, 4)]
    assert native_payment(7, 50_000_000, 40_000_000) == [paid]
    assert native_payment(8, 50_000_000, 40_000_003) == [paid]
