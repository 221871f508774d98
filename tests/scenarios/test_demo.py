"""`flowctl-aio demo`, as a user runs it: real processes, real ledgers, real files."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from flowctl_aio.cli.app import run
from flowctl_aio.components.stellar.transfers import batch_to_golden

from .conftest import golden_lines

FIRST, LAST = 63092982, 63092991


def rows_of(folder: Path) -> list[dict]:
    """All rows under a folder of Parquet files, as the goldens write them, in the order of their files."""
    rows = []
    for file in sorted(folder.rglob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches():
            rows.extend(batch_to_golden(batch))
    return rows


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lake", ["lake", "lake8"])
def test_the_files_hold_exactly_the_expected_events(cli, data, tmp_path, lake):
    done = cli.run(
        "demo", "--lake", data / lake / "pubnet", "--network", "pubnet",
        "--from", str(FIRST), "--to", str(LAST), "--out", tmp_path, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = [json.loads(line) for line in golden_lines(data, "pubnet", "unified", FIRST, LAST)]
    assert rows_of(tmp_path) == expected
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ledgers"] == 10
    assert report["events"] == Counter(row["kind"] for row in expected)
    assert report["rows_written"] == len(expected)
    assert report["files"] == len(list(tmp_path.rglob("*.parquet"))) == 1
    objects = {
        "lake": [next((data / "lake" / "pubnet").rglob(f"*--{ledger}.xdr.zst")) for ledger in range(FIRST, LAST + 1)],
        "lake8": list((data / "lake8" / "pubnet").rglob("*.zst")),
    }
    assert report["bytes_read"] == sum(path.stat().st_size for path in objects[lake])
    assert report["heartbeats"] >= 3


@pytest.mark.timeout(120)
def test_running_it_twice_replaces_the_rows(cli, tmp_path):
    for _ in range(2):
        done = cli.run("demo", "--from", "100", "--to", "130", "--transactions", "5", "--out", tmp_path, "--json")
        assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(rows_of(tmp_path)) == report["rows_written"]


def test_without_json_it_ends_with_a_summary(cli, tmp_path):
    done = cli.run("demo", "--from", "100", "--to", "110", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "events: transfer" in done.stdout
    assert "rows written" in done.stdout


@pytest.mark.timeout(120)
def test_ctrl_c_leaves_no_process_and_no_unfinished_file(cli, tmp_path):
    demo = cli.start("demo", "--from", "2", "--to", "1000000", "--out", tmp_path, "--json")
    services = wait_for_services(demo)
    wait_for_traffic(demo, tmp_path)
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=30)
    assert demo.returncode == 130, err
    _, alive = psutil.wait_procs(services.values(), timeout=10)
    assert not alive
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".parquet"] == []
    rows_of(tmp_path)  # whatever is there can be read


@pytest.mark.timeout(120)
def test_a_demo_that_is_killed_takes_its_services_with_it(cli, tmp_path):
    demo = cli.start("demo", "--from", "2", "--to", "1000000", "--out", tmp_path, "--json")
    services = wait_for_services(demo)
    demo.kill()
    demo.communicate(timeout=30)
    _, alive = psutil.wait_procs(services.values(), timeout=30)
    assert not alive
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".parquet"] == []


@pytest.mark.timeout(120)
def test_the_data_flows_on_while_the_plane_is_killed_and_comes_back(cli, tmp_path):
    demo = cli.start(
        "demo", "--from", "2", "--to", "4001", "--transactions", "20",
        "--heartbeat-interval", "0.3", "--out", tmp_path, "--json",
    )  # fmt: skip
    services = wait_for_services(demo)
    wait_for_traffic(demo, tmp_path)
    services["plane"].kill()
    out, err = demo.communicate(timeout=90)
    assert demo.returncode == 0, err
    report = json.loads(out.splitlines()[-1])
    assert report["plane_restarts"] == 1
    assert report["ledgers"] == 4000
    assert len(rows_of(tmp_path)) == report["rows_written"] == sum(report["events"].values())
    # The numbers come from the plane that was started again: the services have come back to it by themselves.
    assert report["services"] == {
        "arrow-analytics-sink": "healthy",
        "flowctl-aio-demo": "healthy",
        "stellar-arrow-source": "healthy",
        "ttp-arrow-processor": "healthy",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--lake", "{tmp}/nowhere", "--from", "1", "--to", "2"], 1, "no such folder"),
        (["--lake", "{tmp}", "--from", "5", "--to", "6"], 1, "{tmp}"),
        (["--lake", "{tmp}"], 2, "--from"),
        (["--lake", "carrier://pigeon", "--from", "1", "--to", "2"], 1, "carrier"),
        (["--from", "9", "--to", "3"], 2, "ends before it starts"),
        (["--from", "0", "--to", "3"], 2, "0 to 3"),
        (["--from", "1", "--to", "3"], 2, "2 to 2147483647"),
        (["--from", "x"], 2, "--from"),
        (["--network", "atlantis"], 2, "atlantis"),
        (["--mode", "guessed"], 2, "guessed"),
        (["--frobnicate"], 2, "--frobnicate"),
    ],
)
def test_a_mistake_gets_one_clear_line(capsys, tmp_path, arguments, code, words):
    assert run(["demo", *(argument.format(tmp=tmp_path) for argument in arguments)]) == code
    done = capsys.readouterr()
    (line,) = done.err.splitlines()
    assert line.startswith("flowctl-aio: ")
    assert words.format(tmp=tmp_path) in line
    assert done.out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "9", "--to", "3"], "ends before it starts"),
        (["--out", "{file}/out"], "{file}"),
        (["--heartbeat-interval", "0"], "heartbeat_interval"),
    ],
)
def test_a_mistake_ends_the_process_with_one_clear_line_too(cli, tmp_path, arguments, words):
    """Also one that only a service notices."""
    file = tmp_path / "file"
    file.touch()
    done = cli.run("demo", *(argument.format(file=file) for argument in arguments))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("flowctl-aio: ")
    assert words.format(file=file) in line


def test_a_missing_ledger_is_named(cli, data, tmp_path):
    done = cli.run(
        "demo", "--lake", data / "lake" / "pubnet", "--from", str(LAST), "--to", str(LAST + 5), "--out", tmp_path
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"flowctl-aio: ledger {LAST + 1} is not in {data / 'lake' / 'pubnet'}\n"
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_demo_of_ledgers_without_unified_events_says_so_in_one_line(cli, data, tmp_path):
    done = cli.run("demo", "--lake", data / "lake" / "testnet", "--from", "998", "--to", "998", "--out", tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("flowctl-aio: ledger 998")


@pytest.mark.timeout(120)
def test_sigterm_ends_the_demo_and_all_that_came_of_it(cli, tmp_path):
    demo = cli.start("demo", "--from", "2", "--to", "1000000", "--out", tmp_path, "--json")
    services = wait_for_services(demo)
    wait_for_traffic(demo, tmp_path)
    demo.terminate()
    _, err = demo.communicate(timeout=30)
    assert (demo.returncode, err) == (143, "")
    _, alive = psutil.wait_procs(services.values(), timeout=10)
    assert not alive
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".parquet"] == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("verb", ["source", "processor", "sink"])
def test_a_service_that_dies_is_named(cli, tmp_path, verb):
    demo = cli.start("demo", "--from", "2", "--to", "1000000", "--out", tmp_path, "--json")
    services = wait_for_services(demo)
    wait_for_traffic(demo, tmp_path)
    services[verb].kill()
    _, err = demo.communicate(timeout=30)
    assert (demo.returncode, err) == (1, f"flowctl-aio: the {verb} ended with exit code -9\n")


@pytest.mark.parametrize("mode", ["unified", "derived"])
def test_transfers_prints_the_goldens_byte_for_byte(cli, data, mode):
    done = cli.run(
        "transfers", "--lake", data / "lake" / "pubnet", "--network", "pubnet",
        "--from", str(FIRST), "--to", str(LAST), "--mode", mode,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == golden_lines(data, "pubnet", mode, FIRST, LAST)


def test_transfers_ends_quietly_when_nobody_reads_on(cli, data):
    process = cli.start("transfers", "--lake", data / "lake" / "pubnet", "--from", str(FIRST), "--to", str(LAST))
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    assert process.stderr.read() == ""


def test_transfers_of_a_ledger_without_unified_events_says_so(cli, data):
    done = cli.run(
        "transfers", "--lake", data / "lake" / "testnet", "--from", "998", "--to", "998", "--mode", "unified"
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "998" in line
    assert "derived" in line


POLL = 0.02  # seconds between two looks at what nobody announces; looking all the time would hold the demo up
VERBS = ("plane", "source", "processor", "sink")


def wait_for_services(demo: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """Return the demo's four processes, by verb, once they run; the test's timeout bounds the wait."""
    found: dict[str, psutil.Process] = {}
    while len(found) < len(VERBS):
        assert demo.poll() is None, demo.communicate()
        for child in psutil.Process(demo.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.update({verb: child for verb in VERBS if verb in child.cmdline()[:5]})
        time.sleep(POLL)
    return found


def wait_for_traffic(demo: subprocess.Popen[str], out: Path) -> None:
    """Return once the sink has written something."""
    while not any(out.rglob("*.parquet")):
        assert demo.poll() is None, demo.communicate()
        time.sleep(POLL)
