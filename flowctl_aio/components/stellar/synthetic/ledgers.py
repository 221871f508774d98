"""Synthetic ledgers: valid LedgerCloseMeta for tests, demos and load, any ledger of any length of history at once.

A ledger follows from seed and sequence alone, so that readers can start anywhere and generators can run in parallel.
That has a price, told at `SyntheticLedgers`.

Source: Stellar-ledger.x; protocol 23.
"""

from __future__ import annotations

import struct
from hashlib import sha256, shake_256

from flowctl_aio.components.stellar import networks
from flowctl_aio.components.stellar.lake.keys import FIRST_LEDGER
from flowctl_aio.components.stellar.lake.objects import StoredLedger
from flowctl_aio.components.stellar.synthetic.transactions import (
    BASE_FEE,
    DRAW_BYTES,
    plan_transaction,
    write_envelope,
    write_meta,
    write_result,
)
from flowctl_aio.components.stellar.synthetic.world import Balances, World
from flowctl_aio.errors import ConfigError

PROTOCOL = 23

# A new account's sequence number begins at its ledger times 2**32, and is signed.
_LAST_LEDGER = 2**31 - 1
_TOTAL_COINS = 500_018_068_124_711_434
_FEE_POOL = 70_000_000_000_000
_MAX_TRANSACTIONS = 100_000


class SyntheticLedgers:
    """Makes ledgers of a network that does not exist.

    They decode, their transaction, set and result hashes are real, and entry changes, results and unified events agree:
    per transaction and holder, events sum up to what balances changed by, and both ways of deriving token
    transfers give the same. Transactions stand in the set by hash and are applied in another order.
    About one in ten fails.

    What is not as on a real network, because a ledger must follow from its number alone:

    - The hash in a ledger's history entry is not the hash of its header, but one that seed and sequence give. The
      chain holds by construction: each ledger names the hash of the one before it.
    - Every account begins each ledger with the same balances.
    - Signatures are random.

    Args:
        network: name or passphrase; transaction hashes and contract ids depend on it.
        seed: another seed gives other accounts and other transactions.
        transactions_per_ledger: in each ledger, 0 to 100 000; one is about 1.6 kB.
        first_close_time: when ledger 2, the first with metadata, closed, unix seconds.
        close_interval: seconds between two ledgers.

    Raises:
        ConfigError: if a setting is out of range, or the network has no known name.
    """

    def __init__(
        self,
        network: str = "testnet",
        *,
        seed: int = 0,
        transactions_per_ledger: int = 50,
        first_close_time: int = 1_700_000_000,
        close_interval: int = 5,
    ) -> None:
        problems = []
        if not 0 <= transactions_per_ledger <= _MAX_TRANSACTIONS:
            problems.append(f"transactions_per_ledger must be 0 to {_MAX_TRANSACTIONS}, not {transactions_per_ledger}")
        if first_close_time < 0:
            problems.append(f"first_close_time must be unix seconds, not {first_close_time}")
        if close_interval < 0:
            problems.append(f"close_interval must be seconds, not {close_interval}")
        if problems:
            raise ConfigError(*problems)
        self.passphrase = networks.passphrase_of(network)
        self.seed = seed
        self.transactions_per_ledger = transactions_per_ledger
        self._first_close_time, self._close_interval = first_close_time, close_interval
        self._world = World.of(seed, networks.network_id(self.passphrase))

    def __repr__(self) -> str:
        return f"<SyntheticLedgers {self.passphrase!r} seed={self.seed} transactions={self.transactions_per_ledger}>"

    def ledger(self, sequence: int) -> StoredLedger:
        """Makes one ledger; the same arguments always give the same bytes.

        Args:
            sequence: its number, from 2 to 2**31 - 1.

        Raises:
            ValueError: if the number is another.
        """
        if not FIRST_LEDGER <= sequence <= _LAST_LEDGER:
            raise ValueError(f"ledgers have numbers from {FIRST_LEDGER} to {_LAST_LEDGER}, not {sequence}")
        closed_at = self._first_close_time + (sequence - FIRST_LEDGER) * self._close_interval
        previous_hash, own_hash = self._hash(sequence - 1), self._hash(sequence)
        envelopes, results, metas = self._transactions(sequence, closed_at)
        count = len(results).to_bytes(4, "big")
        # The set is ordered by hash, whatever order its transactions were applied in.
        by_hash = b"".join(sorted(envelopes, key=lambda envelope: sha256(envelope).digest()))
        tx_set = b"".join(
            (
                b"\0\0\0\1",
                previous_hash,
                # two phases: classic, one component at the base fee; Soroban (parallel), without a single stage
                struct.pack(">IIIIIQ", 2, 0, 1, 0, 1, BASE_FEE),
                count,
                by_hash,
                struct.pack(">III", 1, 0, 0),
            )
        )
        header = self._header(
            sequence, closed_at, previous_hash, sha256(tx_set).digest(), sha256(count + b"".join(results)).digest()
        )
        xdr = b"".join(
            (
                b"\0\0\0\2\0\0\0\0",
                own_hash,
                header,
                bytes(4),
                tx_set,
                count,
                *metas,
                # no upgrades, no SCP messages, size of Soroban state, nothing evicted
                struct.pack(">IIQI", 0, 0, 0, 0),
            )
        )
        return StoredLedger(
            sequence=sequence,
            closed_at=closed_at,
            xdr=xdr,
            hash=own_hash,
            previous_hash=previous_hash,
            stored_bytes=len(xdr),
        )

    def _hash(self, sequence: int) -> bytes:
        return sha256(self._world.seed + b"ledger%d" % sequence).digest()

    def _transactions(self, sequence: int, closed_at: int) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Makes envelopes, result pairs and TransactionResultMetaV1s, each in apply order."""
        world, balances = self._world, Balances(sequence)
        size = self.transactions_per_ledger * DRAW_BYTES
        random_bytes = shake_256(world.seed + b"draws%d" % sequence).digest(size)
        plans = [plan_transaction(world, random_bytes[at : at + DRAW_BYTES]) for at in range(0, size, DRAW_BYTES)]
        # All fees are taken before the first transaction is applied.
        for plan in plans:
            plan.fee_changes = balances.change_account(plan.source, amount=-plan.fee)
        hash_head = world.network_id + b"\0\0\0\2"
        envelopes, results, metas = [], [], []
        for plan in plans:
            number = balances.next_number(plan.source)
            envelope, body = write_envelope(plan, number=number, closed_at=closed_at)
            result = write_result(plan, sha256(hash_head + body).digest())
            envelopes.append(envelope)
            results.append(result)
            meta = write_meta(plan, world, balances)
            metas.append(b"".join((bytes(4), result, b"\0\0\0\2", plan.fee_changes, meta, bytes(4))))
        return envelopes, results, metas

    def _header(
        self, sequence: int, closed_at: int, previous_hash: bytes, set_hash: bytes, results_hash: bytes
    ) -> bytes:
        node = sha256(self._world.seed + b"validator").digest()
        return b"".join(
            (
                PROTOCOL.to_bytes(4, "big"),
                previous_hash,
                set_hash,
                # close time, no upgrades, a signed value: node id, signature
                struct.pack(">QIII", closed_at, 0, 1, 0),
                node,
                b"\0\0\0\x40",
                self._hash(sequence) * 2,
                results_hash,
                sha256(self._world.seed + b"buckets%d" % sequence).digest(),
                struct.pack(
                    ">IqqIQIII", sequence, _TOTAL_COINS, _FEE_POOL, 0, 0, BASE_FEE, 5_000_000, _MAX_TRANSACTIONS
                ),
                bytes(4 * 32),
                bytes(4),
            )
        )
