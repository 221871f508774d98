"""stellar-arrow-source: ledgers out of a data lake, a Stellar RPC server, plain files, or thin air."""

from flowctl_aio.components.stellar_arrow_source.source import StellarArrowSource as StellarArrowSource
from flowctl_aio.components.stellar_arrow_source.supply import FileSupply as FileSupply
from flowctl_aio.components.stellar_arrow_source.supply import LakeSupply as LakeSupply
from flowctl_aio.components.stellar_arrow_source.supply import RpcSupply as RpcSupply
from flowctl_aio.components.stellar_arrow_source.supply import Supply as Supply
from flowctl_aio.components.stellar_arrow_source.supply import SyntheticSupply as SyntheticSupply
from flowctl_aio.components.stellar_arrow_source.supply import find_latest as find_latest
