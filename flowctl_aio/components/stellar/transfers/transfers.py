"""From the bytes of a ledger to its token transfers, in the order in which they must be emitted.

Two ways lead there and give the same movements. `unified` reads the events that stellar-core wrote into the ledger;
`derived` works them out from operations, results and entry changes. What they share, the order, is here.

Source: CAP-67, and the rules of the token-transfer processor of the Stellar Development Foundation.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

from flowctl_aio.components.stellar.networks import network_id
from flowctl_aio.components.stellar.xdr import Ledger, walk_ledger
from flowctl_aio.components.stellar.xdr.words import decoding
from flowctl_aio.errors import ConfigError

from .balances import check_law
from .derived import derive
from .movements import Row, TransactionMovements
from .unified import read_unified

Mode = Literal["unified", "derived"]

_REFUNDS_LAST = 23  # the first protocol that pays refunds after all transactions


@dataclass(frozen=True, slots=True)
class LedgerTransfers:
    """The token transfers of one ledger.

    Attributes:
        ledger: its sequence.
        closed_at: its close time, unix seconds.
        rows: one tuple per movement: ledger, closed, tx (hex), tx_index (from 1), op_index (from 1, None for fees),
            contract, to_muxed (None, or a pair of "id" and int, "text" and str, "hash" and bytes), kind, asset,
            frm, to, amount (int, smallest unit).
        uncovered: operations that may move tokens and have no rule here, by name; empty unless the walker
            knows an operation that the rules do not.
        transactions: how many transactions it holds, failed ones too.
        operations: how many operations took effect.
    """

    ledger: int
    closed_at: int
    rows: list[Row]
    uncovered: Counter[str]
    transactions: int
    operations: int


def token_transfers(lcm: bytes, *, passphrase: str, mode: Mode, check_balances: bool = False) -> LedgerTransfers:
    """Returns the token transfers of one ledger.

    Args:
        lcm: one LedgerCloseMeta, without container or compression.
        passphrase: of the network; contract ids and, in derived mode, transaction hashes depend on it.
        mode: "unified" reads the events inside the ledger and works only where stellar-core wrote them,
            which nothing in a ledger promises; "derived" works for every ledger.
        check_balances: whether the transfers of each transaction must add up to the changes of its ledger entries.

    Raises:
        LedgerDecodeError: if the ledger cannot be read, contradicts itself, or is of another network;
            in unified mode also if it has no unified events. With `check_balances` also if transfers and
            entries differ: it names transaction, holder and asset.
        ConfigError: if the mode is neither of the two.
    """
    if mode not in get_args(Mode):
        raise ConfigError(f"the mode {mode!r} is unknown: use unified or derived")
    # Slices become keys of caches, which those of a memoryview cannot.
    ledger = walk_ledger(bytes(lcm), with_envelopes=mode == "derived")
    network = network_id(passphrase)
    uncovered: Counter[str] = Counter()
    with decoding(ledger.words, ledger=ledger.header.sequence):
        found = read_unified(ledger, network) if mode == "unified" else derive(ledger, network, uncovered)
        rows = _in_order(ledger, found)
        if check_balances:
            check_law(ledger, rows, network)
    return LedgerTransfers(
        ledger=ledger.header.sequence,
        closed_at=ledger.header.closed_at,
        rows=rows,
        uncovered=uncovered,
        transactions=len(found),
        operations=sum(len(transaction.operations) for transaction in found),
    )


def _in_order(ledger: Ledger, found: list[TransactionMovements]) -> list[Row]:
    """All charges first, then the operations of each transaction, and the refunds where the protocol pays them."""
    sequence, closed_at = ledger.header.sequence, ledger.header.closed_at
    refunds_last = ledger.header.protocol >= _REFUNDS_LAST
    rows: list[Row] = []
    of_operations: list[Row] = []
    late: list[Row] = []
    data = ledger.data
    for number, (transaction, (fees, operations)) in enumerate(zip(ledger.transactions, found, strict=True), 1):
        start = 4 * transaction.result.pair
        head = (sequence, closed_at, data[start : start + 32].hex(), number)
        of_fee = (*head, None)
        rows.append(of_fee + fees[0])
        for index, movements in enumerate(operations, 1):
            if movements:
                full_head = (*head, index)
                of_operations += [full_head + movement for movement in movements]
        if len(fees) > 1:
            (late if refunds_last else of_operations).extend([of_fee + refund for refund in fees[1:]])
    return rows + of_operations + late
