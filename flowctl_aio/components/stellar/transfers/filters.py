"""Which token transfers are wanted: criteria that are checked when they are made, and evaluated in Arrow.

Amounts are whole numbers of the smallest unit from end to end. They are compared as decimals of 39 digits,
which hold every signed 128-bit integer; no float comes near them.

Example:
    wanted = TransferFilter(kinds=["transfer"], assets=["native"], min_amount=10_000_000)
    batch = wanted.apply(batch)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from itertools import compress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flowctl_aio.components.stellar.strkey import decode_strkey
from flowctl_aio.errors import CodecError, ConfigError, SchemaMismatchError

from .movements import Row
from .schema import SCHEMA, SCHEMA_NAME, rows_to_batch

KINDS = ("transfer", "mint", "burn", "clawback", "fee")

_CODE = re.compile(r"[A-Za-z0-9]{1,12}")
_AMOUNT = pa.decimal256(39, 0)
_BEYOND_INT128 = 1 << 127
_COLUMNS = ("kind", "asset", "from_address", "to_address", "contract_address", "amount")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFilter:
    """Criteria for token transfers. A row must meet every criterion that is given; one without any wants every row.

    Attributes:
        kinds: any of transfer, mint, burn, clawback, fee.
        assets: any of these: `native`, `CODE:ISSUER`, or `CODE` for that code whoever issues it.
            A custom token is no asset, whatever it calls itself: name its contract.
        accounts: addresses of which one must be the sender or the receiver: G, C, B or L.
        contracts: C addresses, of which one must be the token's contract.
        min_amount: least amount, included, in the smallest unit (stroops). A refund of a fee is negative.
        max_amount: greatest amount, included.

    Raises:
        ConfigError: if a criterion is none that a row could meet, or is not written as rows write it.
    """

    kinds: Sequence[str] = ()
    assets: Sequence[str] = ()
    accounts: Sequence[str] = ()
    contracts: Sequence[str] = ()
    min_amount: int | None = None
    max_amount: int | None = None

    def __post_init__(self) -> None:
        for name in ("kinds", "assets", "accounts", "contracts"):
            values = getattr(self, name)
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise ConfigError(f"{name} of a filter must be a list of texts, not {values!r}")
            object.__setattr__(self, name, tuple(values))
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"a filter knows no kind {kind!r}: use {', '.join(KINDS)}")
        for asset in self.assets:
            _check_asset(asset)
        for account in self.accounts:
            _check_address(account, "GCBL")
        for contract in self.contracts:
            _check_address(contract, "C")
        for name in ("min_amount", "max_amount"):
            _check_amount(name, getattr(self, name))
        if self.min_amount is not None and self.max_amount is not None and self.min_amount > self.max_amount:
            raise ConfigError(f"min_amount {self.min_amount} lies above max_amount {self.max_amount}")

    @property
    def wants_all(self) -> bool:
        """Whether no criterion is given."""
        no_amounts = self.min_amount is None and self.max_amount is None
        return no_amounts and not (self.kinds or self.assets or self.accounts or self.contracts)

    def apply(self, batch: Any) -> Any:
        """Returns the wanted rows of a `pa.RecordBatch` of token transfers, in their order.

        Raises:
            SchemaMismatchError: if its columns are not those of token transfers, or an amount is no whole number.
        """
        return batch if self.wants_all else batch.filter(self.mask(batch))

    def pick(self, rows: list[Row]) -> list[Row]:
        """Returns the wanted ones of rows that are not columns yet."""
        return rows if self.wants_all else list(compress(rows, self.mask(rows_to_batch(rows)).to_pylist()))

    def mask(self, batch: Any) -> Any:
        """Returns a boolean for each row, never null.

        Raises:
            SchemaMismatchError: as `apply`.
        """
        if any(batch.schema.get_field_index(name) < 0 for name in _COLUMNS):
            raise SchemaMismatchError(expected=SCHEMA_NAME, found=", ".join(batch.schema.names))
        masks = []
        if self.kinds:
            masks.append(_is_any(batch, "kind", self.kinds))
        if self.assets:
            masks.append(self._asset_mask(batch))
        if self.accounts:
            sent, received = (_is_any(batch, name, self.accounts) for name in ("from_address", "to_address"))
            masks.append(pc.or_(sent, received))
        if self.contracts:
            masks.append(_is_any(batch, "contract_address", self.contracts))
        if self.min_amount is not None or self.max_amount is not None:
            masks += self._amount_masks(batch)
        return reduce(pc.and_, masks) if masks else pa.repeat(pa.scalar(True), batch.num_rows)

    def _asset_mask(self, batch: Any) -> Any:
        whole = [asset for asset in self.assets if asset == "native" or ":" in asset]
        masks = [_is_any(batch, "asset", whole)]
        for code in self.assets:
            if code not in whole:
                masks.append(pc.fill_null(pc.starts_with(batch.column("asset"), f"{code}:"), fill_value=False))
        return reduce(pc.or_, masks)

    def _amount_masks(self, batch: Any) -> list[Any]:
        try:
            amounts = batch.column("amount").cast(_AMOUNT)
        except pa.ArrowInvalid as error:
            raise SchemaMismatchError(expected=SCHEMA_NAME, found="an amount that is no whole number") from error
        masks = []
        if self.min_amount is not None:
            masks.append(pc.greater_equal(amounts, pa.scalar(Decimal(self.min_amount), _AMOUNT)))
        if self.max_amount is not None:
            masks.append(pc.less_equal(amounts, pa.scalar(Decimal(self.max_amount), _AMOUNT)))
        return masks


def _is_any(batch: Any, name: str, values: Sequence[str]) -> Any:
    """Whether a column has one of the values; a null has none."""
    return pc.is_in(batch.column(name), value_set=pa.array(values, SCHEMA.field(name).type))


def _check_asset(asset: str) -> None:
    code, colon, issuer = asset.partition(":")
    if not _CODE.fullmatch(code):
        raise ConfigError(f"a filter knows no asset {asset!r}: use native, CODE or CODE:ISSUER")
    if colon:
        _check_address(issuer, "G")


def _check_address(address: str, kinds: str) -> None:
    try:
        kind, _ = decode_strkey(address)
    except CodecError as error:
        raise ConfigError(f"a filter cannot use {address!r}: it is no address") from error
    if kind not in kinds:
        hint = "; rows name a muxed account by its G address" if kind == "M" else ""
        wanted = " or ".join(kinds)
        raise ConfigError(f"a filter cannot use {address!r}: it must begin with {wanted} here{hint}")


def _check_amount(name: str, amount: int | None) -> None:
    if amount is None:
        return
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise ConfigError(f"{name} of a filter must be a whole number of the smallest unit, not {amount!r}")
    if not -_BEYOND_INT128 <= amount < _BEYOND_INT128:
        raise ConfigError(f"{name} of a filter must fit a signed 128-bit integer; {amount} does not")
