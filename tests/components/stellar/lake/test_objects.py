"""Claims about objects: whatever is not exactly the ledgers of its name is refused."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from flowctl_aio.components.stellar.lake import LakeLayout, StoredLedger, write_object
from flowctl_aio.components.stellar.lake.objects import decode_object, encode_object
from flowctl_aio.errors import FrameCorruptError, FrameTooLargeError, LedgerDecodeError
from tests.conftest import DATA

from .lakes import made, real_ledgers

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("count", [1, 7])
def test_an_object_reads_back_as_it_was_written(count: int) -> None:
    ledgers = made(21, 20 + count)
    data = encode_object(ledgers)
    assert zstandard.frame_content_size(data) == -1
    back = decode_object(data, key="it", first=21, last=30)
    assert [replace(ledger, stored_bytes=0) for ledger in back] == [
        replace(ledger, stored_bytes=0) for ledger in ledgers
    ]
    assert sum(ledger.stored_bytes for ledger in back) == len(data)


@pytest.mark.parametrize("ledgers", [[], [*made(5, 5), *made(7, 7)], [*made(5, 5), *made(5, 5)]])
def test_ledgers_that_do_not_follow_each_other_make_no_object(ledgers: list[StoredLedger]) -> None:
    with pytest.raises(ValueError, match="follow each other"):
        encode_object(ledgers)


def test_ledgers_of_two_batches_make_no_object(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than one object"):
        write_object(tmp_path, LakeLayout(8, 1), made(6, 9))


def batch_of(start: int, end: int, count: int, body: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(struct.pack(">III", start, end, count) + body)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (batch_of(4, 5, 2, b"".join(ledger.xdr for ledger in made(4, 5))), "outside of its name"),
        (batch_of(5, 5, 2, made(5, 5)[0].xdr), "counts 2"),
        (batch_of(6, 5, 0, b""), "outside of its name"),
        (batch_of(5, 6, 2, made(5, 5)[0].xdr + made(5, 5)[0].xdr), "should have ledger 6"),
        (batch_of(5, 5, 1, made(6, 6)[0].xdr), "should have ledger 5"),
        (zstandard.ZstdCompressor().compress(b"short"), "too few"),
        (encode_object(made(5, 5)) + b"more", "goes on"),
        (encode_object(made(5, 5)) * 2, "goes on"),
        (b"no frame at all", "not a whole zstd frame"),
    ],
)
def test_an_object_that_is_not_what_its_name_says_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(FrameCorruptError, match=says):
        decode_object(data, key="it", first=5, last=12)


def test_an_object_that_ends_inside_a_ledger_is_refused() -> None:
    body = b"".join(ledger.xdr for ledger in made(5, 6))
    with pytest.raises(LedgerDecodeError):
        decode_object(batch_of(5, 6, 2, body[:-8]), key="it", first=5, last=12)


@pytest.mark.parametrize("sized", [True, False])
def test_an_object_that_blows_up_is_stopped_at_the_limit(sized: bool) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=sized).compress(bytes(512 << 20))
    assert len(bomb) < 20_000
    with pytest.raises(FrameTooLargeError) as caught:
        decode_object(bomb, key="bomb", first=5, last=5, max_bytes=1 << 20)
    assert caught.value.limit == 1 << 20
    assert sized or caught.value.size < 128 << 20


@real_ledgers
async def test_every_truncation_and_every_flipped_byte_of_an_object_is_noticed() -> None:
    data = (DATA / "lake" / "testnet" / "FFFFFFFF--0-63999" / "FFFFFC1A--997.xdr.zst").read_bytes()
    for cut in range(0, len(data), 7):
        with pytest.raises((FrameCorruptError, LedgerDecodeError)):
            decode_object(data[:cut], key="cut", first=997, last=997)
    for at in range(4, len(data), 7):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        try:
            ledgers = decode_object(bytes(flipped), key="flipped", first=997, last=997)
        except (FrameCorruptError, FrameTooLargeError, LedgerDecodeError):
            continue
        # Flags of a frame header may mean nothing; then nothing may change either.
        assert ledgers[0].xdr == decode_object(data, key="whole", first=997, last=997)[0].xdr
