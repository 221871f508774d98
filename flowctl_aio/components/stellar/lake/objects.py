"""One object of a lake: zstd over a batch of ledgers, and back.

Bytes in, ledgers out, and the opposite. What is checked is what a lake can get wrong: the frame, the batch's own
range against the object's name, and the sequence in every ledger's header. Where the bytes come from is not known.

Source: SEP-54, "LedgerCloseMetaBatch".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowctl_aio.components.stellar import xdr
from flowctl_aio.components.stellar.lake.keys import LakeLayout
from flowctl_aio.components.stellar.lake.manifest import MANIFEST_KEY, Manifest, encode_manifest
from flowctl_aio.errors import FrameCorruptError, FrameTooLargeError

MAX_OBJECT_BYTES = 256 << 20
"""Default limit for one decompressed object."""

# A zstd block of four bytes can stand for 128 KiB, so this much input cannot run more than 64 MiB past the limit.
_INPUT_SLICE = 2048

_BATCH_HEAD = struct.Struct(">III")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLedger:
    """One closed ledger as it was stored.

    Attributes:
        sequence: its number.
        closed_at: when it closed, unix seconds.
        xdr: the LedgerCloseMeta.
        hash: of its header.
        previous_hash: the hash of the ledger before it, as this one tells it.
        stored_bytes: its share of the compressed bytes that were read to get it.
    """

    sequence: int
    closed_at: int
    xdr: bytes
    hash: bytes
    previous_hash: bytes
    stored_bytes: int

    @classmethod
    def of(cls, data: bytes, *, stored_bytes: int) -> StoredLedger:
        """Reads the facts of a LedgerCloseMeta out of its header.

        Raises:
            LedgerDecodeError: if no header of a known version is there.
        """
        header = xdr.ledger_header(data)
        return cls(
            sequence=header.sequence,
            closed_at=header.closed_at,
            xdr=data,
            hash=header.hash,
            previous_hash=header.previous_hash,
            stored_bytes=stored_bytes,
        )

    def break_after(self, previous: StoredLedger) -> str | None:
        """What breaks the chain between the ledger before this one and this one; None if it holds."""
        if self.previous_hash == previous.hash:
            return None
        return (
            f"ledger {self.sequence} follows a ledger with hash {self.previous_hash.hex()}, "
            f"but ledger {previous.sequence} has hash {previous.hash.hex()}"
        )


def decode_object(data: bytes, *, key: str, first: int, last: int, max_bytes: int | None = None) -> list[StoredLedger]:
    """Decompresses an object and cuts it into ledgers.

    Args:
        data: the object as stored.
        key: its name, for messages.
        first: the first ledger that the name allows.
        last: the last ledger that the name allows, inclusive.
        max_bytes: what it may decompress to; None means the default, 256 MiB.

    Returns:
        The ledgers, sequences ascending by one. They may be fewer than the name says:
        the first batch of a network lacks the ledgers before the first one.

    Raises:
        FrameCorruptError: if it is not one whole zstd frame, the batch is outside the name's range, or its ledgers
            are not those that it announces.
        FrameTooLargeError: if it decompresses to more than `max_bytes`.
        LedgerDecodeError: if a ledger cannot be read.
    """
    batch = _decompress(data, key=key, limit=MAX_OBJECT_BYTES if max_bytes is None else max_bytes)
    if len(batch) < _BATCH_HEAD.size:
        raise FrameCorruptError(f"{key} holds {len(batch)} bytes, too few for a batch of ledgers")
    start, end, count = _BATCH_HEAD.unpack_from(batch)
    if not first <= start <= end <= last:
        raise FrameCorruptError(
            f"{key} says it holds ledgers {start} to {end}, outside of its name's {first} to {last}"
        )
    if count != end - start + 1:
        raise FrameCorruptError(f"{key} says it holds ledgers {start} to {end}, but counts {count}")
    body = batch[_BATCH_HEAD.size :]
    # The end of a lone ledger is the end of the object; only several need walking through.
    pieces = [body] if count == 1 else xdr.split_ledgers(body, count)
    ledgers = []
    walked = 0
    for sequence, piece in enumerate(pieces, start):
        # Shares are cut from the running total, so that they add up to exactly what was read.
        share_start = walked * len(data) // len(body)
        walked += len(piece)
        ledger = StoredLedger.of(piece, stored_bytes=walked * len(data) // len(body) - share_start)
        if ledger.sequence != sequence:
            raise FrameCorruptError(f"{key} should have ledger {sequence} where it has ledger {ledger.sequence}")
        ledgers.append(ledger)
    return ledgers


def encode_object(ledgers: Sequence[StoredLedger], *, level: int = 3) -> bytes:
    """Makes an object of ledgers that follow each other.

    Args:
        ledgers: at least one, sequences ascending by one.
        level: of zstd.

    Raises:
        ValueError: if there is none, or there is a gap.
    """
    import zstandard

    sequences = [ledger.sequence for ledger in ledgers]
    if not sequences or sequences != list(range(sequences[0], sequences[0] + len(sequences))):
        raise ValueError(f"a batch holds ledgers that follow each other, not {sequences}")
    head = _BATCH_HEAD.pack(sequences[0], sequences[-1], len(sequences))
    # As exporters do: with a checksum, and without the size, since they stream.
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=False)
    return compressor.compress(head + b"".join(ledger.xdr for ledger in ledgers))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes a lake's manifest into a local folder, which is made where needed. Blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / MANIFEST_KEY, encode_manifest(manifest))


def write_object(folder: Path, layout: LakeLayout, ledgers: Sequence[StoredLedger], *, level: int = 3) -> Path:
    """Writes one object into a lake in a local folder. Blocks.

    A reader that follows the lake sees the object whole or not at all.

    Args:
        folder: the lake's root.
        layout: its sizes.
        ledgers: what goes in; they must fall into one batch of the layout, and may be only some of it.
        level: of zstd.

    Returns:
        The path written.

    Raises:
        ValueError: if the ledgers do not fall into one batch, or have a gap.
    """
    data = encode_object(ledgers, level=level)
    first, last = ledgers[0].sequence, ledgers[-1].sequence
    if layout.batch_of(first) != layout.batch_of(last):
        raise ValueError(f"ledgers {first} to {last} belong into more than one object of {layout}")
    path = folder / layout.key_of(first)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(path, data)
    return path


def _write_whole(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def _decompress(data: bytes, *, key: str, limit: int) -> bytes:
    """Decompresses one zstd frame in steps, since the frames of exporters do not tell their size."""
    import zstandard

    try:
        announced = zstandard.frame_content_size(data)
        if announced > limit:
            raise FrameTooLargeError(key, size=announced, limit=limit)
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts: list[bytes] = []
        size = 0
        view = memoryview(data)
        for at in range(0, len(data), _INPUT_SLICE):
            if frame.eof:
                raise FrameCorruptError(f"{key} goes on after the end of its zstd frame")
            part = frame.decompress(view[at : at + _INPUT_SLICE])
            if part:
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise FrameTooLargeError(key, size=size, limit=limit)
    except zstandard.ZstdError as error:
        raise FrameCorruptError(f"{key} is not a whole zstd frame: {error}") from error
    if not frame.eof:
        raise FrameCorruptError(f"{key} is cut: its zstd frame does not end")
    if frame.unused_data:
        raise FrameCorruptError(f"{key} goes on after the end of its zstd frame")
    return b"".join(parts)
