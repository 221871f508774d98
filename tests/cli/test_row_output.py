"""Claims about `transfers` and `ledgers` in columns: the same rows, whole files or none, and no bytes on a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from anyio import to_thread

from flowctl_aio.cli import row_output
from flowctl_aio.cli.app import run
from flowctl_aio.components.stellar import ledgers as ledger_columns
from flowctl_aio.components.stellar import transfers as transfer_columns
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.transfers import batch_to_golden, golden_line
from tests.components.stellar.lake.lakes import build_lake, made
from tests.components.stellar.rpc.shaky_server import ShakyServer

RANGE = ("--from=5", "--to=30", "--transactions=20")
MADE = SyntheticLedgers("testnet", transactions_per_ledger=20)


def table_of(data: bytes, kind: str) -> pa.Table:
    return pq.read_table(io.BytesIO(data)) if kind == "parquet" else pa.ipc.open_stream(data).read_all()


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_columns_hold_what_the_lines_say(kind, tmp_path, capfdbinary, monkeypatch):
    monkeypatch.setattr(row_output, "BATCH_ROWS", 100)
    monkeypatch.setattr(row_output, "GROUP_ROWS", 100)
    assert run(["transfers", *RANGE]) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert run(["transfers", *RANGE, f"--format={kind}"]) == 0
    data = capfdbinary.readouterr().out
    table = table_of(data, kind)
    assert table.schema.equals(transfer_columns.SCHEMA, check_metadata=True)
    assert [golden_line(row) for batch in table.to_batches() for row in batch_to_golden(batch)] == lines
    if kind == "parquet":
        assert 1 < pq.ParquetFile(io.BytesIO(data)).num_row_groups < 26
    else:
        assert 1 < len(table.to_batches()) < 26
    # A file is the same, byte for byte.
    out = tmp_path / "file"
    assert run(["transfers", *RANGE, f"--format={kind}", f"--out={out}"]) == 0
    assert out.read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert capfdbinary.readouterr().out == b""


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_no_rows_are_a_table_without_rows(kind, capfdbinary):
    assert run(["transfers", *RANGE, "--kind=clawback", f"--format={kind}"]) == 0
    table = table_of(capfdbinary.readouterr().out, kind)
    assert (table.num_rows, table.schema) == (0, transfer_columns.SCHEMA)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_ledgers_are_ledger_rows_with_their_bytes_on_request(kind, capfdbinary):
    assert run(["ledgers", *RANGE, f"--format={kind}"]) == 0
    table = table_of(capfdbinary.readouterr().out, kind)
    assert table.schema.equals(ledger_columns.SCHEMA, check_metadata=True)
    assert table["sequence"].to_pylist() == list(range(5, 31))
    assert table["hash"].to_pylist() == [MADE.ledger(sequence).hash for sequence in range(5, 31)]
    assert set(table["ledger_xdr"].to_pylist()) == {b""}
    assert set(table["source_type"].to_pylist()) == {"synthetic"}
    assert run(["ledgers", *RANGE, f"--format={kind}", "--xdr"]) == 0
    table = table_of(capfdbinary.readouterr().out, kind)
    assert table["ledger_xdr"].to_pylist() == [MADE.ledger(sequence).xdr for sequence in range(5, 31)]


def test_a_file_keeps_what_it_was_when_the_range_cannot_be_read(tmp_path, capsys):
    build_lake(tmp_path / "lake", [*made(2, 9), *made(11, 12)])
    out = tmp_path / "rows.parquet"
    out.write_text("as it was")
    for kind in ("parquet", "arrow", "jsonl"):
        arguments = ["ledgers", f"--lake={tmp_path / 'lake'}", "--from=2", "--to=12", f"--format={kind}"]
        assert run([*arguments, f"--out={out}"]) == 1
        assert "ledger 10" in capsys.readouterr().err
        assert out.read_text() == "as it was"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "rows.parquet"]


def test_half_a_parquet_file_does_not_look_whole(tmp_path, capfdbinary, monkeypatch):
    monkeypatch.setattr(row_output, "GROUP_ROWS", 1)
    build_lake(tmp_path, [*made(2, 9), *made(11, 12)])
    assert run(["ledgers", f"--lake={tmp_path}", "--from=2", "--to=12", "--format=parquet"]) == 1
    data = capfdbinary.readouterr().out
    assert data.startswith(b"PAR1")
    with pytest.raises(pa.ArrowInvalid):
        table_of(data, "parquet")


def test_checked_balances_change_nothing_where_the_law_holds(capsys):
    assert run(["transfers", *RANGE]) == 0
    unchecked = capsys.readouterr().out
    assert run(["transfers", *RANGE, "--check-balances"]) == 0
    assert capsys.readouterr().out == unchecked


def at_terminal(shell, *arguments: str, stdout: int | None) -> tuple[int, str]:
    """Runs it with its errors, and without another place its output, at a terminal; gives what that shows."""
    terminal, slave = pty.openpty()
    code = (
        "import sys, flowctl_aio.cli.progress as p; p.INTERVAL = 0\n"
        "from flowctl_aio.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=slave if stdout is None else stdout,
        stderr=slave,
        env={**shell.environ, "TERM": "xterm"},
    )
    shell.started.append(process)
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # nobody is at the other end any more
            break
    os.close(terminal)
    return process.wait(), shown.decode()


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_no_bytes_go_to_a_terminal(shell, kind):
    code, shown = at_terminal(shell, "ledgers", *RANGE, f"--format={kind}", stdout=None)
    assert code == 2
    assert (
        shown.split()
        == (
            f"flowctl-aio: --format={kind} is no text, and standard output is a terminal: redirect it, or give --out"
        ).split()
    )


def test_a_file_that_is_written_shows_how_far_it_is(shell, tmp_path):
    out = tmp_path / "rows.arrow"
    code, shown = at_terminal(shell, "ledgers", *RANGE, "--format=arrow", f"--out={out}", stdout=None)
    assert code == 0, shown
    assert "ledger 20, 16 of 26" in shown
    assert table_of(out.read_bytes(), "arrow").num_rows == 26


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_a_full_disk_is_told_with_what_could_not_be_written(shell, kind):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flowctl_aio", "ledgers", *RANGE, f"--format={kind}"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=shell.environ,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"flowctl-aio: standard output: No space left on device\n")


@pytest.mark.parametrize("verb", ["ledgers", "transfers"])
def test_a_closed_standard_output_is_told_before_a_ledger_is_read(shell, verb):
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "flowctl_aio", verb, *RANGE],
        stderr=subprocess.PIPE,
        env=shell.environ,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, b"flowctl-aio: standard output is closed: open it, or give --out\n")


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_a_reader_that_has_seen_enough_ends_it_quietly(shell, kind):
    code = (
        "import sys, flowctl_aio.cli.row_output as o; o.BATCH_ROWS = o.GROUP_ROWS = 1\n"
        "from flowctl_aio.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "transfers", "--from=2", "--to=100000", f"--format={kind}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shell.environ,
    )
    shell.started.append(process)
    assert len(process.stdout.read(1000)) == 1000
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr.read() == b""


@pytest.mark.anyio
async def test_whoever_follows_a_tip_in_columns_has_each_ledger_when_it_closes(shell):
    async with ShakyServer().serve() as server:
        process = shell.start_bytes("ledgers", f"--rpc={server.url}", "--format=arrow")
        reader = await to_thread.run_sync(pa.ipc.open_stream, process.stdout)
        assert (await to_thread.run_sync(reader.read_next_batch)).column("sequence").to_pylist() == [130]
        server.latest = 131
        assert (await to_thread.run_sync(reader.read_next_batch)).column("sequence").to_pylist() == [131]


@pytest.mark.anyio
async def test_a_file_of_what_has_no_end_is_refused(shell, tmp_path):
    async with ShakyServer().serve() as server:
        for more in (["--format=parquet"], [f"--out={tmp_path / 'x'}"]):
            done = await to_thread.run_sync(partial(shell.run, "ledgers", f"--rpc={server.url}", *more))
            assert (done.returncode, done.stdout) == (2, "")
            assert "give --to" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_latest_of_a_lake_is_where_it_ends(tmp_path, capsys):
    build_lake(tmp_path, made(2, 9))
    arguments = ["ledgers", f"--lake={tmp_path}", "--from=latest", "--to=9"]
    assert run(arguments) == 0
    assert [json.loads(line)["sequence"] for line in capsys.readouterr().out.splitlines()] == [9]
    assert run([*arguments[:-1], "--to=8"]) == 2
    assert "9 to 8" in capsys.readouterr().err
