"""How a verb is told which token transfers are wanted, by its own options and by a processor's settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from cyclopts import Parameter

from flowctl_aio.components.stellar.transfers import TransferFilter
from flowctl_aio.config.components import TtpArrowProcessorSettings
from flowctl_aio.errors import ConfigError

TransferKind = Literal["transfer", "mint", "burn", "clawback", "fee"]

_WHOLE = re.compile(r"-?[0-9]{1,39}")
_STROOPS = 10_000_000


@Parameter(name="*")
@dataclass(frozen=True)
class FilterOptions:
    """Which token transfers are wanted: those that meet every option given. Each but the amounts may be repeated."""

    kind: Annotated[tuple[TransferKind, ...], Parameter(help="A kind of event that is wanted.")] = ()
    asset: Annotated[tuple[str, ...], Parameter(help="An asset: native, CODE or CODE:ISSUER.")] = ()
    account: Annotated[tuple[str, ...], Parameter(help="An address that sends or receives.")] = ()
    contract: Annotated[tuple[str, ...], Parameter(help="The contract of a token.")] = ()
    min_amount: Annotated[str | None, Parameter(help="Least amount, in stroops (10^-7).")] = None
    max_amount: Annotated[str | None, Parameter(help="Greatest amount, included.")] = None

    def filter(self, settings: TtpArrowProcessorSettings | None = None) -> TransferFilter:
        """The filter that the options ask for; what they do not say, the settings say.

        Raises:
            ConfigError: if an option is none that an event could meet.
        """
        least, most = _whole("--min-amount", self.min_amount), _whole("--max-amount", self.max_amount)
        if settings is None:
            kinds, assets = tuple[str, ...](self.kind), self.asset
        else:
            kinds, assets = self.kind or settings.event_types, self.asset or settings.asset_filters
            least = _stroops(settings.amount_filters_min_amount) if least is None else least
            most = _stroops(settings.amount_filters_max_amount) if most is None else most
        return TransferFilter(
            kinds=kinds,
            assets=assets,
            accounts=self.account,
            contracts=self.contract,
            min_amount=least,
            max_amount=most,
        )


def _whole(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not _WHOLE.fullmatch(text):
        raise ConfigError(f"{name} must be a whole number of stroops, not {text!r}")
    return int(text)


def _stroops(text: str) -> int | None:
    """An amount of the settings, in units of the asset with up to seven decimals; none if there is none."""
    return int(Decimal(text) * _STROOPS) if text else None
