"""Ledgers out of plain files: every form, in order, none missing, none twice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from flowctl_aio.components.stellar.files import LedgerFiles
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.errors import CodecError, ConfigError, FrameCorruptError, FrameTooLargeError, MissingLedgerError

from .forms import FORMS, MADE, PACKINGS, answer, bare, batch, ledgers, lines, marked, zstd

pytestmark = pytest.mark.anyio


async def read(
    paths: Sequence[Path], first: int | None = None, last: int | None = None, found: list[int] | None = None
) -> list[int]:
    files = await LedgerFiles.open(paths, network="testnet")
    found = [] if found is None else found
    async with files.open_ledgers(files.first if first is None else first, last) as inside:
        async for ledger in inside:
            assert ledger.xdr == MADE.ledger(ledger.sequence).xdr
            found.append(ledger.sequence)
    return found


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def open_files() -> int:
    return psutil.Process().num_fds()


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("form", FORMS)
async def test_every_form_is_known_by_its_content(tmp_path, form, packing):
    numbers = [2] if form == "bare" else [2, 3, 4]
    path = put(tmp_path, "x", PACKINGS[packing](FORMS[form](ledgers(*numbers))))
    files = await LedgerFiles.open([path], network="testnet")
    assert files.first == 2
    assert await files.find_last() == numbers[-1]
    assert await read([path]) == numbers


async def test_all_files_of_a_folder_are_one_run_whatever_their_names(tmp_path):
    put(tmp_path, "a", zstd(batch(ledgers(9, 10))))
    put(tmp_path, "b", bare(ledgers(5)))
    (tmp_path / "below").mkdir()
    put(tmp_path / "below", "c", marked(ledgers(6, 7, 8)))
    put(tmp_path, ".config.json", b"{}")
    assert await read([tmp_path]) == [5, 6, 7, 8, 9, 10]
    assert await read([tmp_path], 7, 9) == [7, 8, 9]
    assert await read([tmp_path], 10) == [10]
    assert await read([tmp_path], 6, 6) == [6]


async def test_files_before_the_range_are_not_read(tmp_path):
    put(tmp_path, "a", lines(ledgers(5)))
    late = put(tmp_path, "b", lines(ledgers(6, 7)))
    files = await LedgerFiles.open([tmp_path], network="testnet")
    async with files.open_ledgers(6, 7) as inside:
        assert [ledger.sequence async for ledger in inside] == [6, 7]
    assert files.bytes_read == late.stat().st_size


async def test_a_gap_is_named_behind_the_ledgers_before_it(tmp_path):
    put(tmp_path, "a", marked(ledgers(5, 6, 9)))
    found: list[int] = []
    with pytest.raises(MissingLedgerError) as caught:
        await read([tmp_path], found=found)
    assert (found, caught.value.ledger) == ([5, 6], 7)
    assert await read([tmp_path], 9) == [9]


@pytest.mark.parametrize(("first", "last", "missing"), [(4, 6, 4), (5, 8, 7), (7, None, 7), (9, 9, 9)])
async def test_a_range_outside_of_the_files_names_what_is_missing(tmp_path, first, last, missing):
    put(tmp_path, "a", lines(ledgers(5, 6)))
    with pytest.raises(MissingLedgerError) as caught:
        await read([tmp_path], first, last)
    assert caught.value.ledger == missing


@pytest.mark.parametrize(
    ("one", "two", "says"),
    [
        (marked(ledgers(5, 6)), marked(ledgers(6, 7)), "ledger 6 comes again"),
        (marked(ledgers(5, 6, 7)), marked(ledgers(6, 7)), "ledger 6 comes behind ledger 7"),
        (marked(ledgers(6, 5)), marked(ledgers(8)), "ledger 5 comes behind ledger 6"),
        (marked(ledgers(5)), bare([SyntheticLedgers(seed=1).ledger(6)]), "ledger 6 follows a ledger with hash"),
    ],
)
async def test_ledgers_out_of_order_twice_or_of_another_chain_are_an_error(tmp_path, one, two, says):
    put(tmp_path, "a", one)
    put(tmp_path, "b", two)
    with pytest.raises(FrameCorruptError, match=says):
        await read([tmp_path])


BROKEN = {
    "empty": b"",
    "short": b"\0\0\0",
    "text": b"# ledgers, to be read",
    "mark alone": marked(ledgers(5))[:4] + bytes(20),
    "record cut": marked(ledgers(5, 6))[:-3],
    "mark cut": marked(ledgers(5)) + b"\x80\0",
    "no mark": marked(ledgers(5)) + bytes(8),
    "more after": bare(ledgers(5)) + bytes(4),
    "bare cut": bare(ledgers(5))[:-4],
    "batch cut": batch(ledgers(5, 6))[:-4],
    "batch short": batch(ledgers(5, 6))[:8],
    "batch of another": batch(ledgers(5, 6))[:12] + bare(ledgers(5)) + bare(ledgers(7)),
    "line cut": lines(ledgers(5))[:-40],
    "line broken": lines(ledgers(5)) + b"!!!!\n",
    "answer without": b'{"result":{"ledgers":[],"latestLedger":7}}',
    "answer cut": answer(ledgers(5))[:-9],
    "answer with a bad one": answer(ledgers(5, 7)),
    "request": b'{"jsonrpc":"2.0","id":1,"method":"getLedgers"}',
    "refusal": b'{"error":{"code":-32600,"message":"no"}}',
    **{
        f"{name} {what}": change(PACKINGS[name](marked(ledgers(5, 6))))
        for name in ("zstd", "gzip", "both", "frames")
        for what, change in {
            "cut": lambda data: data[:-6],
            "changed": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
            "with more": lambda data: data + b"behind the end",
        }.items()
    },
    "zstd cut between records": zstd(marked(ledgers(5)))[:-4],
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_file_is_an_error_that_names_it(tmp_path, name):
    path = put(tmp_path, "broken", BROKEN[name])
    with pytest.raises(CodecError) as caught:
        await read([path])
    assert str(path) in str(caught.value)


async def test_a_small_file_that_stands_for_a_huge_one_is_refused(tmp_path):
    path = put(tmp_path, "bomb", zstd(bare(ledgers(5)) + bytes(300 << 20)))
    began = time.process_time()
    with pytest.raises(FrameTooLargeError):
        await read([path])
    assert time.process_time() - began < 30
    path = put(tmp_path, "mark", b"\xff\xff\xff\xff" + bare(ledgers(5)))
    with pytest.raises(FrameTooLargeError, match="record 1 of"):
        await read([path])


async def test_no_files_and_no_network_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no file in"):
        await LedgerFiles.open([tmp_path], network="testnet")
    with pytest.raises(ConfigError, match="atlantis"):
        await LedgerFiles.open([tmp_path], network="atlantis")
    with pytest.raises(FileNotFoundError):
        await LedgerFiles.open([tmp_path / "nowhere"], network="testnet")


async def test_leaving_in_the_middle_leaves_no_file_open(tmp_path):
    path = put(tmp_path, "a", marked(ledgers(*range(5, 60))))
    files = await LedgerFiles.open([path], network="testnet")
    before = open_files()
    async with files.open_ledgers(5) as inside:
        async for ledger in inside:
            if ledger.sequence == 7:
                break
    assert open_files() == before


async def test_every_container_of_real_ledgers_gives_them_exactly(real):
    found = 0
    for name in real.names():
        if not name.startswith(("coretest", "loadtest")):
            continue
        folder = real.root / "containers"
        rest = name.split("-", 1)[1]
        path = folder / "record-marked" / "stellar-core" / f"{rest.replace('-', '/')}.xdr"
        if name.startswith("loadtest"):
            path = folder / "record-marked-zstd" / f"{rest}.xdr.zstd"
        files = await LedgerFiles.open([path], network=name.split("-")[0])
        last = 63 if name.startswith("loadtest") else None
        async with files.open_ledgers(files.first, last) as inside:
            inside_file = [ledger.xdr async for ledger in inside]
        assert inside_file == real.ledgers(name)[: len(inside_file)]
        found += len(inside_file)
    assert found == 602


async def test_loose_objects_of_a_lake_and_other_single_files(real):
    folder = real.root / "containers"
    for network, paths, numbers in (
        ("testnet", sorted(folder.glob("galexie/FFFF*")), [997, 998, 999]),
        ("pubnet", [real.root / "lake8" / "pubnet"], list(range(63092982, 63092992))),
        ("pubnet", [folder / "bare-lcm-gz"], [63092989]),
        ("pubnet", [folder / "rpc" / "getLedgers.pubnet.response.json.gz"], [63092988, 63092989]),
        ("testnet", sorted(folder.glob("rpc/getLedgers.testnet.page*.response.json")), [997, 998, 999]),
    ):
        files = await LedgerFiles.open(paths, network=network)
        async with files.open_ledgers(files.first) as inside:
            got = {ledger.sequence: ledger.xdr async for ledger in inside}
        assert list(got) == numbers
        assert got == {number: real.ledgers(f"{network}-{number}")[0] for number in numbers}
    files = await LedgerFiles.open([folder / "base64-lines" / "ledgers-base64.txt"], network="pubnet")
    for number in (6154623, 16154623):
        async with files.open_ledgers(number, number) as inside:
            assert [ledger.xdr async for ledger in inside] == real.ledgers(f"pubnet-{number}")
