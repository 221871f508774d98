"""A lake's manifest: reading it, writing it, and holding the user's settings against it.

Bytes and values only: where the manifest lies and who fetches it is not known here.

Source: SEP-54, "Configuration File".
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from flowctl_aio.components.stellar import networks
from flowctl_aio.errors import LakeError

MANIFEST_KEY = ".config.json"

MAX_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a lake says about itself.

    Attributes:
        passphrase: of the network whose ledgers these are.
        ledgers_per_batch: ledgers in one object.
        batches_per_partition: objects in one partition.
        compression: name of the algorithm.
        version: of the manifest; the specification shows `0.1.0`, lakes in the field say `1.0`.
    """

    passphrase: str
    ledgers_per_batch: int
    batches_per_partition: int
    compression: str = "zstd"
    version: str = "1.0"


def encode_manifest(manifest: Manifest) -> bytes:
    """Writes a manifest as the JSON that lies in a lake."""
    fields = {
        "networkPassphrase": manifest.passphrase,
        "version": manifest.version,
        "compression": manifest.compression,
        "ledgersPerBatch": manifest.ledgers_per_batch,
        "batchesPerPartition": manifest.batches_per_partition,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def decode_manifest(data: bytes, *, lake: str) -> Manifest:
    """Reads a manifest.

    Args:
        data: the JSON.
        lake: the lake's URL, for messages.

    Raises:
        LakeError: if it is no JSON object, or a field is missing, has another type, or cannot be right;
            every such field is named.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise LakeError(f"{lake}/{MANIFEST_KEY} is no manifest: {len(data)} bytes")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LakeError(f"{lake}/{MANIFEST_KEY} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise LakeError(f"{lake}/{MANIFEST_KEY} is not a JSON object")
    problems = []
    for name in ("networkPassphrase", "compression"):
        if not isinstance(fields.get(name), str):
            problems.append(f"{name} must be a string, not {fields.get(name)!r}")
    for name in ("ledgersPerBatch", "batchesPerPartition"):
        value = fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.append(f"{name} must be a whole number from 1 on, not {value!r}")
    if not problems and fields["compression"] not in ("zstd", "zst"):
        problems.append(f"compression must be 'zstd', not {fields['compression']!r}")
    if problems:
        raise LakeError(f"{lake}/{MANIFEST_KEY}: {'; '.join(problems)}")
    return Manifest(
        passphrase=fields["networkPassphrase"],
        ledgers_per_batch=fields["ledgersPerBatch"],
        batches_per_partition=fields["batchesPerPartition"],
        compression=fields["compression"],
        version=str(fields.get("version", "")),
    )


def settle_manifest(
    found: Manifest | None,
    *,
    lake: str,
    network: str | None,
    ledgers_per_batch: int | None,
    batches_per_partition: int | None,
) -> Manifest:
    """Brings what the lake says and what the user set together.

    A manifest is the authority: settings may repeat it, not change it. Without one the settings take its place.

    Args:
        found: the lake's manifest, None where it has none.
        lake: the lake's URL, for messages.
        network: name or passphrase that the user expects, if any.
        ledgers_per_batch: what the user set, if anything.
        batches_per_partition: what the user set, if anything.

    Raises:
        LakeError: if a setting differs from the manifest (each is named), or there is no manifest and
            one of the two sizes was not set.
    """
    passphrase = None if network is None else networks.passphrase_of(network)
    settings = {
        "network": passphrase,
        "ledgers_per_batch": ledgers_per_batch,
        "batches_per_partition": batches_per_partition,
    }
    if found is None:
        missing = [name for name in ("ledgers_per_batch", "batches_per_partition") if settings[name] is None]
        if missing:
            raise LakeError(f"{lake} has no {MANIFEST_KEY}, so {' and '.join(missing)} must be set")
        assert ledgers_per_batch is not None
        assert batches_per_partition is not None
        return Manifest(passphrase or "", ledgers_per_batch, batches_per_partition)
    truths = {
        "network": found.passphrase,
        "ledgers_per_batch": found.ledgers_per_batch,
        "batches_per_partition": found.batches_per_partition,
    }
    problems = [
        f"{name} is set to {setting!r}, but the lake says {truths[name]!r}"
        for name, setting in settings.items()
        if setting is not None and setting != truths[name]
    ]
    if problems:
        raise LakeError(f"{lake} contradicts the settings: {'; '.join(problems)}")
    return found
