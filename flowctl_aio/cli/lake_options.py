"""How a verb is told where ledgers come from, and how that becomes a supply."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flowctl_aio.components.stellar.files import LedgerFiles
from flowctl_aio.components.stellar.lake import Lake
from flowctl_aio.components.stellar.networks import passphrase_of
from flowctl_aio.components.stellar.rpc import RpcServer
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar_arrow_source import (
    FileSupply,
    LakeSupply,
    RpcSupply,
    Supply,
    SyntheticSupply,
    find_latest,
)
from flowctl_aio.errors import ConfigError

Start = int | Literal["latest"]
SYNTHETIC_FIRST, SYNTHETIC_LAST, SYNTHETIC_LEDGERS = 2, 2**31 - 1, 1000


@Parameter(name="*")
@dataclass(frozen=True)
class LakeOptions:
    """Where the ledgers come from: a lake, a server or files, or without any of them the synthetic source."""

    lake: Annotated[
        str | None, Parameter(help="A SEP-54 lake: a folder, s3://, gs://, https:// [synthetic ledgers].")
    ] = None
    # A key in the address stays out of the text of these options.
    rpc: Annotated[str | None, Parameter(help="A Stellar RPC server, http:// or https://.")] = field(
        default=None, repr=False
    )
    files: Annotated[
        tuple[Path, ...], Parameter(help="Plain files of ledgers, or folders of them.", consume_multiple=True)
    ] = ()
    network: Annotated[
        str | None, Parameter(help="pubnet, testnet, or a passphrase; a lake's manifest and a server tell.")
    ] = None
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
            RpcError: if the server does not answer.
            CodecError, OSError: if a file cannot be read, or holds no ledgers.
            ConfigError: if no network is known, or more than one place is named.
        """
        self._check_one_place()
        if self.rpc is not None:
            return RpcSupply(await RpcServer.open(self.rpc, network=self.network))
        if self.files:
            if self.network is None:
                raise ConfigError("files do not tell their network: give --network")
            return FileSupply(await LedgerFiles.open(self.files, network=self.network))
        if self.lake is not None:
            return await self._open_lake(self.lake)
        network = self.network or "testnet"
        return SyntheticSupply(SyntheticLedgers(network, seed=self.seed, transactions_per_ledger=self.transactions))

    async def _open_lake(self, url: str) -> LakeSupply:
        if self.network is not None:
            passphrase_of(self.network)
        lake = await Lake.open(
            url,
            network=self.network,
            ledgers_per_batch=self.ledgers_per_batch,
            batches_per_partition=self.batches_per_partition,
            anonymous=self.anonymous,
            region=self.region,
        )
        if not lake.passphrase:
            raise ConfigError(f"{url} does not tell its network: give --network")
        return LakeSupply(lake)

    async def open_range(self, first: Start | None, last: int | None) -> tuple[Supply, int, int | None]:
        """Open what the options name, and settle the bounds to read, with its own where none are given.

        Args:
            first: a ledger, or the latest one that is there when this is called.
            last: a ledger.

        Returns:
            The supply, the first and the last ledger; no last one for a server, or a lake from its latest ledger on,
            that is to be followed.

        Raises:
            ConfigError: if a lake is named without both bounds, they are out of order, or there is no latest ledger.
            LakeError, RpcError, CodecError, OSError: as `open` does.
        """
        # What is wrong in itself is said before anything is asked.
        self._check_one_place()
        if self.lake is not None and (first is None or (last is None and first != "latest")):
            raise ConfigError("a lake is read from --from to --to: give both; or --from=latest, to follow it")
        if isinstance(first, int):
            _check_order(first, last)
        supply = await self.open()
        is_made = isinstance(supply, SyntheticSupply)
        if first == "latest":
            first = await find_latest(supply)
        elif first is None:
            first = SYNTHETIC_FIRST if is_made else await supply.find_start()
            assert first is not None  # a lake has both
        if last is None and is_made:
            last = first + SYNTHETIC_LEDGERS - 1
        elif last is None and isinstance(supply, FileSupply):
            last = await supply.find_end()
        least, most = (SYNTHETIC_FIRST, SYNTHETIC_LAST) if is_made else (1, 2**32 - 1)
        if first < least or (last or first) > most:
            raise ConfigError(f"ledgers have numbers from {least} to {most} here, not {first} to {last}")
        _check_order(first, last)
        return supply, first, last

    def _check_one_place(self) -> None:
        if (self.lake is not None) + (self.rpc is not None) + bool(self.files) > 1:
            raise ConfigError("--lake, --rpc and --files exclude each other: give one")

    def arguments(self) -> list[str]:
        """These options again, for another process."""
        texts = {
            "--lake": self.lake,
            "--rpc": self.rpc,
            "--network": self.network,
            "--region": self.region,
            "--ledgers-per-batch": self.ledgers_per_batch,
            "--batches-per-partition": self.batches_per_partition,
            "--seed": self.seed,
            "--transactions": self.transactions,
        }
        named = [f"{name}={value}" for name, value in texts.items() if value is not None]
        named += [f"--files={path}" for path in self.files]
        return [*named, "--anonymous"] if self.anonymous else named


def _check_order(first: int | None, last: int | None) -> None:
    if first is not None and last is not None and last < first:
        raise ConfigError(f"the range {first} to {last} ends before it starts")
