"""Where the real ledgers are, and how to get at them by the names that the goldens use."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import zstandard

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
MISSING = f"the real ledgers are not there: {DATA} is missing"


class RealLedgers:
    """The data tree, by name: `pubnet-63092991`, `coretest-MergeTests-7b2e6a32c85708f5`, ..."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def golden(self, name: str, mode: str) -> list[str]:
        with gzip.open(self.root / "golden" / f"{name}.{mode}.jsonl.gz", "rt", encoding="utf-8") as file:
            return file.read().splitlines()

    def goldens(self) -> list[tuple[str, str]]:
        """Name and mode of each file of expectations."""
        names = sorted(path.name.split(".") for path in (self.root / "golden").glob("*.jsonl.gz"))
        return [(name, mode) for name, mode, *_ in names]

    def names(self) -> list[str]:
        return sorted({name for name, _ in self.goldens()})

    @lru_cache(maxsize=8)  # noqa: B019 - one of these lives as long as the tests
    def ledgers(self, name: str) -> list[bytes]:
        """The bare LedgerCloseMetas behind a golden, in order."""
        network, rest = name.split("-", 1)
        if network == "coretest":
            path = self.root / "containers" / "record-marked" / "stellar-core" / rest.replace("-", "/")
            return list(unmark(path.with_suffix(".xdr").read_bytes()))
        if network == "loadtest":
            return list(unmark(decompress(self.root / "containers" / "record-marked-zstd" / f"{rest}.xdr.zstd")))
        (path,) = (self.root / "lake" / network).glob(f"*/*--{rest}.xdr.zst")
        return [decompress(path)[12:]]  # after start, end and count of the batch


def decompress(path: Path) -> bytes:
    """Frames of a lake do not tell their size, so only a stream reads them."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        return reader.read()


def unmark(stream: bytes) -> Iterator[bytes]:
    """Cuts a record-marked stream (RFC 5531, one fragment each)."""
    at = 0
    while at < len(stream):
        size = int.from_bytes(stream[at : at + 4], "big") - 0x80000000
        yield stream[at + 4 : at + 4 + size]
        at += 4 + size


_REAL = RealLedgers(DATA)


@pytest.fixture(scope="session")
def real() -> RealLedgers:
    if not DATA.is_dir():
        pytest.skip(MISSING)
    return _REAL


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives `golden` every pair of name and mode, and `real_name` every name."""
    for fixture, values in (("golden", _REAL.goldens), ("real_name", _REAL.names)):
        if fixture in metafunc.fixturenames:
            found = values()
            if not found:
                missing = pytest.param(None, marks=pytest.mark.skip(reason=MISSING))
                metafunc.parametrize(fixture, [missing])
                continue
            ids = ["-".join(value) if isinstance(value, tuple) else str(value) for value in found]
            metafunc.parametrize(fixture, found, ids=ids)
