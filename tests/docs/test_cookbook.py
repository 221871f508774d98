"""The programs of the cookbook, and of the page on exactness, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "cookbook.md").read_text()
SECTIONS = {title: text for title, _, text in (part.partition("\n") for part in PAGE.split("\n## ")[1:])}
BASE = "pyarrow alone"
FOREIGN = ("duckdb", "polars")


def programs(title: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[title], re.DOTALL)


def need_for(program: str) -> None:
    """Skips where a library is not installed that the program imports."""
    for name in FOREIGN:
        if f"import {name}" in program and find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install {name}")


@pytest.fixture
def found() -> dict[str, Any]:
    """What the first section leaves behind, which the others begin with."""
    names: dict[str, Any] = {}
    for program in [*programs(BASE, "python"), *programs("Batches without a copy", "python")]:
        exec(program, names)  # the page is ours
    return names


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Runs a program of the page in a folder of its own, where `flowctl-aio` and `python` are those of the tests."""
    tools, folder = tmp_path / "tools", tmp_path / "folder"
    for path in (tools, folder):
        path.mkdir()
    for name, command in (("python", ""), ("flowctl-aio", "-m flowctl_aio")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(DOCS.parent))
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(folder)

    def run(program: str) -> str:
        done = subprocess.run(["sh", "-ec", program], capture_output=True, text=True, check=False, timeout=50)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def total(rows: list[Any], kind: str, asset: str) -> int:
    return sum(row[11] for row in rows if (row[7], row[8]) == (kind, asset))


def test_the_programs_with_pyarrow_give_what_the_rows_say(found):
    moved = [int(row[11]) for row in found["rows"] if row[7] == "transfer"]
    assert sum(found["volume"]["units_sum"].to_pylist()) == sum(moved)
    assert found["payers"].num_rows == 3
    assert found["again"].equals(found["pa"].table(found["events"]))
    assert 0 < found["events"].num_rows < len(found["rows"])
    joined = found["joined"].to_pylist()
    assert [row["sequence"] for row in sorted(joined, key=lambda row: row["sequence"])] == list(range(2, 12))
    assert sum(row["kind_count"] for row in joined) == len(found["rows"])
    assert found["as_table"].equals(found["transfers"])


def test_duckdb_reads_a_batch_and_sums_to_the_stroop(found):
    for program in programs("DuckDB", "python"):
        need_for(program)
        exec(program, found)
    moved = Counter(row[8] for row in found["rows"] if row[7] == "transfer")
    assert {asset: (count, units) for asset, count, units in found["moved"]} == {
        asset: (count, total(found["rows"], "transfer", asset)) for asset, count in moved.items()
    }
    holder, asset, units = found["net"][0]
    told = [((row[10] == holder) - (row[9] == holder)) * row[11] for row in found["rows"] if row[8] == asset]
    assert units == sum(told) > 0


def test_duckdb_and_polars_do_beyond_128_bits_what_the_page_says():
    need_for("import duckdb, import polars")
    import duckdb
    import polars as pl

    most = str(2**127 - 1)
    with pytest.raises(duckdb.OutOfRangeException):
        duckdb.sql(f"SELECT sum(x::HUGEINT) FROM (VALUES ('{most}'), ('1')) t(x)").fetchall()
    assert duckdb.sql(f"SELECT sum(x::HUGEINT) FROM (VALUES ('{most}'), ('0')) t(x)").fetchall() == [(2**127 - 1,)]
    assert pl.DataFrame({"x": [most, "1"]}).select(pl.col("x").cast(pl.Int128).sum()).item() == -(2**127)


def test_polars_reads_a_batch_and_sums_to_the_stroop(found):
    for program in programs("Polars", "python"):
        need_for(program)
        exec(program, found)
    for row in found["by_asset"].iter_rows(named=True):
        assert row["units"] == total(found["rows"], "transfer", row["asset"])
    assert found["per_ledger"]["len"].sum() == len(found["rows"])


def test_parquet_of_the_command_line_is_read_by_both(found, shell):
    section = "Parquet, from the command line"
    for program in programs(section, "sh"):
        shell(program)
    for program in programs(section, "python"):
        need_for(program)
        exec(program, found)
    assert [sequence for sequence, _, _ in found["fees"]] == list(range(2, 12))
    assert all(charged == told for _, charged, told in found["fees"])
    assert found["lazy"] == sum(row[8] == "native" for row in found["rows"])


@pytest.mark.parametrize("program", programs("Arrow, through a pipe", "sh"), ids=FOREIGN)
def test_arrow_goes_through_a_pipe(program, found, shell):
    need_for(program.replace(", pyarrow", ""))
    shown = re.sub(r"[│|┆]", " ", shell(program))
    for kind, count in Counter(row[7] for row in found["rows"]).items():
        assert re.search(rf"{kind} +{count}\b", shown), shown


def test_the_program_on_exactness_runs():
    names: dict[str, Any] = {}
    for program in re.findall(r"```python\n(.*?)```", (DOCS / "exactness.md").read_text(), re.DOTALL):
        exec(program, names)
    assert names["checked"].rows


def test_the_tests_that_exactness_names_are_there():
    named = re.findall(r"tests/[\w/.]+", (DOCS / "exactness.md").read_text())
    assert len(named) >= 10
    assert all((DOCS.parent / name).exists() for name in named)
