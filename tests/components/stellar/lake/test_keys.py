"""Claims about the names of objects: those of the specification, and nothing else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.components.stellar.lake import LakeLayout
from flowctl_aio.components.stellar.lake.keys import parse_object_name
from flowctl_aio.errors import ConfigError


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
