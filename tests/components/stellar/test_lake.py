"""Claims about reading data lakes: real ledgers, lakes made on the spot, and a web server that can be rough."""

from __future__ import annotations

import asyncio
import json
import shutil
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
import zstandard
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.components.stellar.lake import (
    Lake,
    LakeLayout,
    LedgerStream,
    Manifest,
    StoredLedger,
    write_manifest,
    write_object,
)
from flowctl_aio.components.stellar.lake.keys import parse_object_name
from flowctl_aio.components.stellar.lake.manifest import decode_manifest, encode_manifest
from flowctl_aio.components.stellar.lake.objects import decode_object, encode_object
from flowctl_aio.components.stellar.lake.store import MAX_RETRY_PAUSE, retry_pause
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.errors import (
    ConfigError,
    FlowctlError,
    FrameCorruptError,
    FrameTooLargeError,
    LakeError,
    LedgerDecodeError,
    MissingLedgerError,
    UsageError,
)

pytestmark = pytest.mark.anyio

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
TESTNET = "Test SDF Network ; September 2015"

real_ledgers = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real ledgers are not at {DATA}")


def made(first: int, last: int, *, seed: int = 0) -> list[StoredLedger]:
    synthetic = SyntheticLedgers("testnet", seed=seed, transactions_per_ledger=2)
    return [synthetic.ledger(sequence) for sequence in range(first, last + 1)]


def build_lake(folder: Path, ledgers: Iterable[StoredLedger], *, batch: int = 1, partition: int = 10) -> LakeLayout:
    """Writes a manifest and whatever ledgers are given, each into the object it belongs to."""
    layout = LakeLayout(batch, partition)
    write_manifest(folder, Manifest(TESTNET, batch, partition))
    objects: dict[tuple[int, int], list[StoredLedger]] = {}
    for ledger in ledgers:
        objects.setdefault(layout.batch_of(ledger.sequence), []).append(ledger)
    for members in objects.values():
        write_object(folder, layout, members)
    return layout


async def read(lake: Lake, first: int, last: int | None, **options: object) -> list[StoredLedger]:
    async with lake.open_ledgers(first, last, **options) as ledgers:  # type: ignore[arg-type]
        return [ledger async for ledger in ledgers]


async def read_until_failure(lake: Lake, first: int, last: int, **options: object) -> tuple[list[int], FlowctlError]:
    """Reads a range that must fail; gives the sequences that came before, and the failure."""
    came: list[int] = []
    async with lake.open_ledgers(first, last, **options) as ledgers:  # type: ignore[arg-type]
        try:
            async for ledger in ledgers:
                came.append(ledger.sequence)
        except FlowctlError as error:
            return came, error
    raise AssertionError(f"nothing failed, {came} came")


class RoughServer:
    """A web server over a folder that counts, holds requests back, and fails when told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.asked: list[str] = []
        self.open_requests = 0
        self.most_open = 0
        self.seen = anyio.Event()
        self.gate = anyio.Event()
        self.gate.set()
        self.failures: Counter[str] = Counter()
        self.status = 503
        self.list_failures: list[int] = []
        self.headers: list[dict[str, str]] = []

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[RoughServer]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            self.gate.set()
            await runner.cleanup()

    async def wait_open(self, count: int) -> None:
        while self.open_requests < count:
            self.seen = anyio.Event()
            await self.seen.wait()

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.headers.append(dict(request.headers))
        if request.method != "GET":
            return web.Response(status=405)
        if "list-type" in request.query:
            if self.list_failures:
                return web.Response(status=self.list_failures.pop())
            return web.Response(text=self._listing(path), content_type="application/xml")
        name = path.rpartition("/")[2]
        if name.startswith("."):
            return self._file(path)
        self.asked.append(name)
        self.open_requests += 1
        self.most_open = max(self.most_open, self.open_requests)
        self.seen.set()
        try:
            await self.gate.wait()
        finally:
            self.open_requests -= 1
        if self.failures[name] > 0:
            self.failures[name] -= 1
            return web.Response(status=self.status)
        return self._file(path)

    def _file(self, path: str) -> web.Response:
        file = self.folder / path
        return web.Response(body=file.read_bytes()) if file.is_file() else web.Response(status=404)

    def _listing(self, bucket: str) -> str:
        found = sorted(file.relative_to(self.folder / bucket) for file in (self.folder / bucket).rglob("*.xdr.*"))
        entries = "".join(
            f"<Contents><Key>{name}</Key><Size>1</Size><ETag>x</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name in found
        )
        return f"<ListBucketResult><Name>{bucket}</Name><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"


# Real ledgers


@real_ledgers
async def test_real_pubnet_ledgers_come_in_order_and_chain() -> None:
    lake = await Lake.open(str(DATA / "lake" / "pubnet"), network="pubnet")
    ledgers = await read(lake, 63092982, 63092991)
    assert [ledger.sequence for ledger in ledgers] == list(range(63092982, 63092992))
    for before, after in pairwise(ledgers):
        assert after.previous_hash == before.hash
        assert after.closed_at > before.closed_at
    assert [len(ledger.xdr) for ledger in ledgers][:3] == [1343024, 1137292, 1195000]
    assert sum(ledger.stored_bytes for ledger in ledgers) == lake.bytes_read > 1_000_000


@real_ledgers
async def test_eight_ledgers_per_object_give_the_same_bytes_as_one() -> None:
    ones = await read(await Lake.open(str(DATA / "lake" / "pubnet")), 63092982, 63092991)
    lake = await Lake.open((DATA / "lake8" / "pubnet").as_uri())
    eights = await read(lake, 63092982, 63092991)
    assert [ledger.xdr for ledger in eights] == [ledger.xdr for ledger in ones]
    assert sum(ledger.stored_bytes for ledger in eights) == lake.bytes_read
    assert [ledger.sequence for ledger in await read(lake, 63092983, 63092986)] == list(range(63092983, 63092987))


@real_ledgers
async def test_a_batch_at_the_edge_that_lacks_ledgers_names_the_first_that_lacks() -> None:
    lake = await Lake.open(str(DATA / "lake8" / "pubnet"))
    came, failure = await read_until_failure(lake, 63092980, 63092991)
    assert came == []
    assert isinstance(failure, MissingLedgerError)
    assert failure.ledger == 63092980


@real_ledgers
async def test_testnet_ledgers_with_a_content_size_in_the_frame_come() -> None:
    lake = await Lake.open(str(DATA / "lake" / "testnet"), network=TESTNET, ledgers_per_batch=1)
    ledgers = await read(lake, 997, 999)
    assert [(ledger.sequence, len(ledger.xdr)) for ledger in ledgers] == [(997, 9304), (998, 9692), (999, 6512)]


@real_ledgers
async def test_a_lake_with_the_old_extension_and_no_manifest_is_read_with_sizes_set(tmp_path: Path) -> None:
    folder = tmp_path / "FFFFFFFF--0-63999"
    folder.mkdir()
    for name in ("FFFFFC1A--997.xdr.zstd", "FFFFFC19--998.xdr.zstd", "FFFFFC18--999.xdr.zstd"):
        shutil.copy(DATA / "containers" / "galexie" / name, folder)
    with pytest.raises(LakeError, match="ledgers_per_batch and batches_per_partition must be set"):
        await Lake.open(str(tmp_path))
    lake = await Lake.open(str(tmp_path), ledgers_per_batch=1, batches_per_partition=64000)
    assert lake.layout.extension == "xdr.zstd"
    assert [ledger.sequence for ledger in await read(lake, 997, 999)] == [997, 998, 999]


@real_ledgers
async def test_a_hole_ends_a_bounded_range_after_the_ledgers_before_it() -> None:
    lake = await Lake.open(str(DATA / "lake" / "pubnet"))
    came, failure = await read_until_failure(lake, 30822018, 30822040)
    assert came == [30822018, 30822019, 30822020]
    assert isinstance(failure, MissingLedgerError)
    assert failure.ledger == 30822021
    assert str(DATA / "lake" / "pubnet") in str(failure)


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


# Opening


async def test_whatever_is_no_lake_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for url in (
        str(tmp_path / "empty"),
        str(tmp_path / "nowhere"),
        str(tmp_path / "file"),
        (tmp_path / "nowhere").as_uri(),
        "file://elsewhere/lake",
        "ftp://host/lake",
        "s3://",
        "",
    ):
        with pytest.raises(LakeError) as caught:
            await Lake.open(url, ledgers_per_batch=1, batches_per_partition=1, retries=0)
        assert "\n" not in str(caught.value)
        assert url in str(caught.value)


async def test_a_server_that_is_not_there_is_told_after_the_retries() -> None:
    with pytest.raises(LakeError, match="tried 3 times"):
        await Lake.open("http://127.0.0.1:9/lake", retries=2, retry_interval=0.001)


async def test_settings_that_contradict_the_manifest_are_all_named(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 2))
    with pytest.raises(LakeError) as caught:
        await Lake.open(str(tmp_path), network="pubnet", ledgers_per_batch=8, batches_per_partition=17)
    for part in ("network", "Public Global Stellar Network", TESTNET, "ledgers_per_batch", "batches_per_partition"):
        assert part in str(caught.value)
    assert (await Lake.open(str(tmp_path), network="testnet")).passphrase == TESTNET


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


async def test_a_range_that_is_none_is_refused(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 2))
    lake = await Lake.open(str(tmp_path))
    for first, last, options in (
        (0, 5, {}),
        (5, 4, {}),
        (2, 2**32, {}),
        (2, 3, {"prefetch_objects": 0}),
        (2, 3, {"poll_interval": 0}),
    ):
        with pytest.raises(ConfigError):
            await read(lake, first, last, **options)


# Names


def test_names_are_those_of_the_specification() -> None:
    assert LakeLayout(1, 64000).key_of(63092991) == "FC3E15FF--63040000-63103999/FC3D4700--63092991.xdr.zst"
    assert LakeLayout(1, 64000).key_of(997) == "FFFFFFFF--0-63999/FFFFFC1A--997.xdr.zst"
    assert LakeLayout(8, 17).key_of(63092990) == "FC3D4707--63092984-63093119/FC3D4707--63092984-63092991.xdr.zst"
    assert LakeLayout(64, 1, "xdr.zstd").key_of(2) == "FFFFFFFF--0-63.xdr.zstd"


@given(st.integers(2, 2**32 - 1), st.integers(1, 1000), st.integers(1, 100_000))
def test_a_ledgers_object_says_in_its_name_that_it_holds_it(sequence: int, batch: int, partition: int) -> None:
    layout = LakeLayout(batch, partition)
    key = layout.key_of(sequence)
    parsed = parse_object_name(key.rpartition("/")[2])
    assert parsed is not None
    first, last, extension = parsed
    assert first <= sequence <= last
    assert (first, last) == layout.batch_of(sequence)
    assert extension == "xdr.zst"
    assert key.count("/") == (partition > 1)


@given(st.integers(2, 2**31), st.integers(0, 500), st.integers(1, 70))
def test_the_batches_of_a_range_cover_it_without_overlap(first: int, more: int, batch: int) -> None:
    batches = list(LakeLayout(batch, 3).batches(first, first + more))
    assert batches[0][0] <= first <= batches[0][1]
    assert batches[-1][0] <= first + more <= batches[-1][1]
    for before, after in pairwise(batches):
        assert after[0] == before[1] + 1


def test_other_names_are_passed_over() -> None:
    for name in (".config.json", ".FFFFFC1A--997.xdr.zst.part", "FFFFFC1A--997.json", "fffffc1a--997.xdr.zst", ""):
        assert parse_object_name(name) is None


@pytest.mark.parametrize("extension", ["../x", "xdr.zst/..", "zst", "xdr.", "xdr...x"])
def test_an_extension_that_would_leave_the_folder_is_refused(extension: str) -> None:
    with pytest.raises(ConfigError, match="extension"):
        LakeLayout(1, 1, extension)


def test_sizes_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"ledgers_per_batch.*batches_per_partition"):
        LakeLayout(0, -1)


# Objects


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


# Reading


@pytest.mark.parametrize(("batch", "partition"), [(1, 1), (1, 10), (3, 4), (8, 1), (64, 64000)])
async def test_any_sizes_give_the_same_ledgers(tmp_path: Path, batch: int, partition: int) -> None:
    ledgers = made(2, 70)
    build_lake(tmp_path, ledgers, batch=batch, partition=partition)
    lake = await Lake.open(str(tmp_path))
    for first, last in ((2, 70), (5, 5), (31, 66)):
        came = await read(lake, first, last)
        assert [ledger.xdr for ledger in came] == [ledger.xdr for ledger in ledgers[first - 2 : last - 1]]


async def test_the_ledgers_before_a_gap_inside_a_batch_come(tmp_path: Path) -> None:
    build_lake(tmp_path, made(8, 13), batch=8)
    came, failure = await read_until_failure(await Lake.open(str(tmp_path)), 10, 20)
    assert came == [10, 11, 12, 13]
    assert isinstance(failure, MissingLedgerError)
    assert failure.ledger == 14


async def test_a_failed_stream_fails_again_instead_of_ending(tmp_path: Path) -> None:
    build_lake(tmp_path, made(5, 6))
    async with (await Lake.open(str(tmp_path))).open_ledgers(5, 9) as ledgers:
        for _ in range(2):
            with pytest.raises(MissingLedgerError):
                async for _ledger in ledgers:
                    pass


@pytest.mark.parametrize("harm", ["flip", "cut", "foreign"])
async def test_a_harmed_object_is_named_after_the_ledgers_before_it(tmp_path: Path, harm: str) -> None:
    layout = build_lake(tmp_path, made(2, 9))
    path = tmp_path / layout.key_of(6)
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
    elif harm == "cut":
        del data[-3:]
    else:
        data[:] = encode_object(made(7, 7))
    path.write_bytes(data)
    came, failure = await read_until_failure(await Lake.open(str(tmp_path)), 2, 9, retries=1, retry_interval=0.001)
    assert came == [2, 3, 4, 5]
    assert isinstance(failure, LakeError)
    assert layout.key_of(6) in str(failure)
    assert "tried 2 times" in str(failure)


async def test_an_object_above_the_limit_is_not_retried(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 3))
    size = (tmp_path / layout.key_of(2)).stat().st_size
    lake = await Lake.open(str(tmp_path))
    _, failure = await read_until_failure(lake, 2, 2, max_object_bytes=1000)
    assert isinstance(failure, FrameTooLargeError)
    assert lake.bytes_read == size


async def test_a_ledger_that_does_not_follow_the_one_before_names_both_hashes(tmp_path: Path) -> None:
    ours, theirs = made(2, 4), made(5, 7, seed=1)
    build_lake(tmp_path, [*ours, *theirs])
    lake = await Lake.open(str(tmp_path))
    came, failure = await read_until_failure(lake, 2, 7)
    assert came == [2, 3, 4]
    assert isinstance(failure, LakeError)
    assert ours[-1].hash.hex() in str(failure)
    assert theirs[0].previous_hash.hex() in str(failure)
    assert len(await read(lake, 2, 7, verify_chain=False)) == 6


async def test_what_the_body_raises_leaves_as_itself(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 9))
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with (await Lake.open(str(tmp_path))).open_ledgers(2, 9):
            raise mine
    assert caught.value is mine


async def test_a_stream_that_was_left_says_so_instead_of_waiting(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 9))
    async with (await Lake.open(str(tmp_path))).open_ledgers(2, 9) as stream:
        await anext(stream)
    with pytest.raises(UsageError, match="closed"):
        await anext(stream)


async def test_who_waits_for_a_ledger_when_the_stream_is_left_is_told(tmp_path: Path) -> None:
    build_lake(tmp_path, [])
    waiter = await Lake.open(str(tmp_path))
    told: list[BaseException] = []

    async def wait(stream: LedgerStream) -> None:
        try:
            await anext(stream)
        except UsageError as error:
            told.append(error)

    async with anyio.create_task_group() as tasks, waiter.open_ledgers(2, poll_interval=60) as stream:
        tasks.start_soon(wait, stream)
        await anyio.wait_all_tasks_blocked()
    assert len(told) == 1


async def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(LakeError, match=r"http://127\.0\.0\.1:9/lake: .*password") as caught:
        await Lake.open("http://me:secret@127.0.0.1:9/lake", retries=0)
    assert "secret" not in str(caught.value)


async def test_no_more_objects_than_the_bound_are_in_flight_or_waiting(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 41), batch=2)
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        server.gate = anyio.Event()
        async with lake.open_ledgers(2, 41, prefetch_objects=3) as ledgers:
            await server.wait_open(3)
            server.gate.set()
            taken = 0
            async for _ in ledgers:
                taken += 1
                assert len(server.asked) <= taken // 2 + 3
        assert taken == 40
        assert server.most_open == 3
        assert len(server.asked) == len(set(server.asked)) == 20


async def test_waiting_bytes_above_their_bound_stop_the_fetching(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 21))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        async with lake.open_ledgers(2, 21, prefetch_objects=2, prefetch_bytes=1) as ledgers:
            taken = 0
            async for _ in ledgers:
                taken += 1
                assert len(server.asked) <= taken + 2
            assert taken == 20


async def test_a_server_that_fails_for_a_while_loses_nothing(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 9))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        name = layout.key_of(5).rpartition("/")[2]
        server.failures[name] = 2
        ledgers = await read(lake, 2, 9, retries=2, retry_interval=0.001)
        assert [ledger.sequence for ledger in ledgers] == list(range(2, 10))
        assert server.asked.count(name) == 3
        server.failures[name] = 3
        came, failure = await read_until_failure(lake, 2, 9, retries=2, retry_interval=0.001)
        assert came == [2, 3, 4]
        assert isinstance(failure, LakeError)
        assert name in str(failure)
        assert "\n" not in str(failure)


async def test_a_server_that_refuses_is_not_asked_again(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 3))
    async with RoughServer(tmp_path).serve() as server:
        server.status = 403
        lake = await Lake.open(server.url)
        name = layout.key_of(3).rpartition("/")[2]
        server.failures[name] = 9
        came, failure = await read_until_failure(lake, 2, 3)
        assert came == [2]
        assert isinstance(failure, LakeError)
        assert server.asked.count(name) == 1


@pytest.mark.parametrize("list_failures", [[], [503, 503], [403]])
async def test_a_public_bucket_is_read_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, list_failures: list[int]
) -> None:
    ledgers = made(2, 9)
    build_lake(tmp_path / "bucket" / "v1" / "testnet", ledgers)
    async with RoughServer(tmp_path).serve() as server:
        monkeypatch.setenv("AWS_ENDPOINT", server.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        server.list_failures = list_failures
        settings = {"network": "testnet", "region": "us-east-2", "retry_interval": 0.001}
        lake = await Lake.open("s3://bucket/v1/testnet", anonymous=True, **settings)  # type: ignore[arg-type]
        assert not server.list_failures
        assert [ledger.xdr for ledger in await read(lake, 2, 9)] == [ledger.xdr for ledger in ledgers]
        assert server.headers
        assert not any("Authorization" in headers for headers in server.headers)


# Following, and giving up


async def test_a_lake_that_grows_is_followed(tmp_path: Path) -> None:
    ledgers = made(2, 12)
    layout = build_lake(tmp_path, ledgers[:2])
    lake = await Lake.open(str(tmp_path))
    came = []
    async with lake.open_ledgers(2, poll_interval=0.005, prefetch_objects=4) as stream:
        async for ledger in stream:
            came.append(ledger)
            if ledger.sequence == 12:
                break
            if ledger.sequence >= 3:
                write_object(tmp_path, layout, [ledgers[ledger.sequence - 1]])
    assert [ledger.xdr for ledger in came] == [ledger.xdr for ledger in ledgers]


async def test_a_waiting_reader_gets_what_is_written_while_it_waits(tmp_path: Path) -> None:
    ledgers = made(2, 5)
    layout = build_lake(tmp_path, ledgers[:1])
    lake = await Lake.open(str(tmp_path))
    send, receive = anyio.create_memory_object_stream[int](10)

    async def follow() -> None:
        async with send, lake.open_ledgers(2, poll_interval=0.005) as stream:
            async for ledger in stream:
                await send.send(ledger.sequence)

    async with anyio.create_task_group() as tasks, receive:
        tasks.start_soon(follow)
        assert await receive.receive() == 2
        await anyio.wait_all_tasks_blocked()
        # The later ones first: they may not overtake.
        for ledger in reversed(ledgers[1:]):
            write_object(tmp_path, layout, [ledger])
        assert [await receive.receive() for _ in range(3)] == [3, 4, 5]
        tasks.cancel_scope.cancel()


async def test_an_object_that_is_still_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    ledgers = made(2, 3)
    layout = build_lake(tmp_path, ledgers[:1])
    lake = await Lake.open(str(tmp_path))
    data = encode_object(ledgers[1:])
    path = tmp_path / layout.key_of(3)
    async with lake.open_ledgers(2, poll_interval=0.005, retries=10_000, retry_interval=0.001) as stream:
        assert (await anext(stream)).sequence == 2
        before = lake.bytes_read
        path.write_bytes(data[:100])
        while lake.bytes_read == before:  # noqa: ASYNC110 - a count has no event
            await anyio.sleep(0.001)
        path.write_bytes(data)
        assert (await anext(stream)).xdr == ledgers[1].xdr


async def test_only_the_next_ledger_is_asked_for_again_and_again(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, made(2, 3))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        name = layout.key_of(4).rpartition("/")[2]
        async with lake.open_ledgers(2, poll_interval=0.001, prefetch_objects=5) as stream:
            assert [(await anext(stream)).sequence for _ in range(2)] == [2, 3]
            while server.asked.count(name) < 20:
                server.seen = anyio.Event()
                await server.seen.wait()
            write_object(tmp_path, layout, made(4, 4))
            assert (await anext(stream)).sequence == 4
        others = Counter(server.asked)
        del others[name]
        later = [count for asked, count in others.items() if asked != layout.key_of(5).rpartition("/")[2]]
        assert set(later) == {1}


async def test_a_new_lake_without_ledgers_can_be_followed(tmp_path: Path) -> None:
    layout = build_lake(tmp_path, [])
    lake = await Lake.open(str(tmp_path))
    async with lake.open_ledgers(2, poll_interval=0.005) as stream:
        await anyio.wait_all_tasks_blocked()
        write_object(tmp_path, layout, made(2, 2))
        assert (await anext(stream)).sequence == 2


async def test_a_later_ledger_without_the_one_waited_for_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layout = build_lake(tmp_path, made(3, 3))
    lake = await Lake.open(str(tmp_path))
    async with lake.open_ledgers(2, poll_interval=0.001) as stream:
        while not caplog.records:  # noqa: ASYNC110 - a log has no event
            await anyio.sleep(0.001)
        assert layout.key_of(2) in caplog.text
        write_object(tmp_path, layout, made(2, 2))
        assert [(await anext(stream)).sequence for _ in range(2)] == [2, 3]
    assert len(caplog.records) == 1


async def test_cancelling_a_waiting_reader_loses_no_ledger(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 5))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        server.gate = anyio.Event()
        async with lake.open_ledgers(2, 5, prefetch_objects=2) as stream:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, stream)
                await server.wait_open(2)
                tasks.cancel_scope.cancel()
            server.gate.set()
            assert [ledger.sequence async for ledger in stream] == [2, 3, 4, 5]


@pytest.mark.parametrize("held", [True, False])
async def test_leaving_early_leaves_no_task(tmp_path: Path, held: bool) -> None:
    build_lake(tmp_path, made(2, 40))
    async with RoughServer(tmp_path).serve() as server:
        lake = await Lake.open(server.url)
        before = {task for task in asyncio.all_tasks() if "lake object" in task.get_name()}
        async with lake.open_ledgers(2, 40) as stream:
            await anext(stream)
            if held:
                server.gate = anyio.Event()
                await anext(stream)
            assert "held=" in repr(stream)
        assert {task for task in asyncio.all_tasks() if "lake object" in task.get_name()} == before == set()


async def test_cancelling_the_whole_leaves_no_task(tmp_path: Path) -> None:
    build_lake(tmp_path, made(2, 5))
    lake = await Lake.open(str(tmp_path))
    waiting = anyio.Event()

    async def follow() -> None:
        async with lake.open_ledgers(2, poll_interval=60) as stream:
            async for ledger in stream:
                if ledger.sequence == 5:
                    waiting.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await waiting.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert not [task for task in asyncio.all_tasks() if "lake object" in task.get_name()]


@given(st.integers(1, 100), st.floats(0.001, 100), st.floats(0, 1))
def test_a_pause_between_attempts_is_bounded_on_both_sides(failed: int, interval: float, jitter: float) -> None:
    pause = retry_pause(failed, interval, jitter=jitter)
    assert min(interval, MAX_RETRY_PAUSE) / 2 <= pause <= MAX_RETRY_PAUSE
