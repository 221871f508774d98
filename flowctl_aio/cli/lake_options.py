"""How a verb is told where ledgers come from, and how that becomes a supply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from flowctl_aio.components.stellar.lake import Lake
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar_arrow_source import LakeSupply, Supply, SyntheticSupply
from flowctl_aio.errors import ConfigError

SYNTHETIC_FIRST, SYNTHETIC_LAST, SYNTHETIC_LEDGERS = 2, 2**31 - 1, 1000


@Parameter(name="*")
@dataclass(frozen=True)
class LakeOptions:
    """Where the ledgers come from: a lake, or without one the synthetic source."""

    lake: Annotated[
        str | None, Parameter(help="A SEP-54 lake: a folder, s3://, gs://, https:// [synthetic ledgers].")
    ] = None
    network: Annotated[str | None, Parameter(help="pubnet, testnet, or a passphrase; a lake's manifest tells.")] = None
    anonymous: Annotated[bool, Parameter(help="Read a public bucket without credentials.")] = False
    region: Annotated[str | None, Parameter(help="Region of an S3 bucket.")] = None
    ledgers_per_batch: Annotated[int | None, Parameter(help="Ledgers per object, for a lake without manifest.")] = None
    batches_per_partition: Annotated[int | None, Parameter(help="Objects per partition, likewise.")] = None
    seed: Annotated[int, Parameter(help="Seed of the synthetic source.")] = 0
    transactions: Annotated[int, Parameter(help="Transactions in each synthetic ledger.")] = 50

    async def open(self) -> Supply:
        """Open what the options name.

        Raises:
            LakeError: if there is no lake, or it contradicts the options.
            ConfigError: if no network is known.
        """
        if self.lake is None:
            network = self.network or "testnet"
            return SyntheticSupply(SyntheticLedgers(network, seed=self.seed, transactions_per_ledger=self.transactions))
        if self.network is not None:
            passphrase_of(self.network)
        lake = await Lake.open(
            self.lake,
            network=self.network,
            ledgers_per_batch=self.ledgers_per_batch,
            batches_per_partition=self.batches_per_partition,
            anonymous=self.anonymous,
            region=self.region,
        )
        if not lake.passphrase:
            raise ConfigError(f"{self.lake} does not tell its network: give --network")
        return LakeSupply(lake)

    def range(self, first: int | None, last: int | None) -> tuple[int, int]:
        """The bounds to read, with those of the synthetic source where none are given.

        Raises:
            ConfigError: if a lake is named without both bounds, or they are out of order.
        """
        if self.lake is not None and (first is None or last is None):
            raise ConfigError("a lake is read from --from to --to: give both")
        first = SYNTHETIC_FIRST if first is None else first
        last = first + SYNTHETIC_LEDGERS - 1 if last is None else last
        least, most = (SYNTHETIC_FIRST, SYNTHETIC_LAST) if self.lake is None else (1, 2**32 - 1)
        if first < least or last > most:
            raise ConfigError(f"ledgers have numbers from {least} to {most} here, not {first} to {last}")
        if last < first:
            raise ConfigError(f"the range {first} to {last} ends before it starts")
        return first, last

    def arguments(self) -> list[str]:
        """These options again, for another process."""
        texts = {
            "--lake": self.lake,
            "--network": self.network,
            "--region": self.region,
            "--ledgers-per-batch": self.ledgers_per_batch,
            "--batches-per-partition": self.batches_per_partition,
            "--seed": self.seed,
            "--transactions": self.transactions,
        }
        named = [f"{name}={value}" for name, value in texts.items() if value is not None]
        return [*named, "--anonymous"] if self.anonymous else named
