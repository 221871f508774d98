"""Claims about manifests: what is written is read back, and what cannot be right names its fields."""

from __future__ import annotations

import json

import pytest

from flowctl_aio.components.stellar.lake import Manifest
from flowctl_aio.components.stellar.lake.manifest import decode_manifest, encode_manifest
from flowctl_aio.errors import LakeError

from .lakes import TESTNET


@pytest.mark.parametrize(
    ("manifest", "names"),
    [
        (b"", ["JSON"]),
        (b"[]", ["JSON object"]),
        (b"[" * 100_000, ["JSON"]),
        (b"{}", ["networkPassphrase", "compression", "ledgersPerBatch", "batchesPerPartition"]),
        (encode_manifest(Manifest("x", 0, 1)), ["ledgersPerBatch"]),
        (encode_manifest(Manifest("x", 1, True)), ["batchesPerPartition"]),
        (encode_manifest(Manifest("x", 1, 1, compression="lz4")), ["lz4"]),
    ],
)
def test_a_manifest_that_cannot_be_right_names_its_fields(manifest: bytes, names: list[str]) -> None:
    with pytest.raises(LakeError) as caught:
        decode_manifest(manifest, lake="lake")
    for name in names:
        assert name in str(caught.value)


def test_a_manifest_reads_back_as_it_was_written() -> None:
    manifest = Manifest(TESTNET, 64, 1000, version="0.1.0")
    assert decode_manifest(encode_manifest(manifest), lake="lake") == manifest
    assert (
        decode_manifest(json.dumps({**json.loads(encode_manifest(manifest)), "new": 1}).encode(), lake="") == manifest
    )
