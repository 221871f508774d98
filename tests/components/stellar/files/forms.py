"""Ledgers of a network that does not exist, written in every form."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Sequence

import zstandard

from flowctl_aio.components.stellar.lake.objects import StoredLedger, encode_object
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from tests.components.stellar.rpc.shaky_server import entry

MADE = SyntheticLedgers(transactions_per_ledger=1)


def ledgers(*sequences: int) -> list[StoredLedger]:
    return [MADE.ledger(sequence) for sequence in sequences]


def bare(made: Sequence[StoredLedger]) -> bytes:
    return made[0].xdr


def batch(made: Sequence[StoredLedger]) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(encode_object(made))


def marked(made: Sequence[StoredLedger]) -> bytes:
    return b"".join((2**31 + len(ledger.xdr)).to_bytes(4, "big") + ledger.xdr for ledger in made)


def lines(made: Sequence[StoredLedger]) -> bytes:
    return b"".join(base64.b64encode(ledger.xdr) + b"\n" for ledger in made)


def answer(made: Sequence[StoredLedger]) -> bytes:
    page = {"ledgers": [entry(ledger.sequence) for ledger in made], "latestLedger": made[-1].sequence}
    return json.dumps({"jsonrpc": "2.0", "id": 5, "result": page}).encode()


FORMS: dict[str, Callable[[Sequence[StoredLedger]], bytes]] = {
    "bare": bare,
    "batch": batch,
    "marked": marked,
    "lines": lines,
    "answer": answer,
}


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(data)


def zstd_frames(data: bytes) -> bytes:
    """Two frames, one behind the other."""
    return zstd(data[:100]) + zstd(data[100:])


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "zstd": zstd,
    "frames": zstd_frames,
    "gzip": gzip.compress,
    "both": lambda data: gzip.compress(zstd(data)),
}
