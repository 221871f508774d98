"""`flowctl-aio services`, `topology` and `health`: asked without being registered."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from anyio import to_thread
from rich.console import Console

from flowctl_aio import FlowctlSession, Health, ServiceInfo, ServiceStatus, ServiceType
from flowctl_aio.cli.services import rows_of, table_of
from flowctl_aio.transport.status import Refused

pytestmark = pytest.mark.anyio
SOURCE = ServiceInfo("src", ServiceType.SOURCE, output_event_types=("L",), endpoint="127.0.0.1:4")
SINK = ServiceInfo("out", ServiceType.SINK, input_event_types=("L", "M"))


async def test_the_services_of_a_plane_are_told_in_every_form(shell, plane, config):
    async with FlowctlSession(SOURCE, config), FlowctlSession(SINK, config):
        for one in (SOURCE, SINK):
            await plane.wait_for_service(one.component_id, Health.HEALTHY)

        async def ask(*arguments: str) -> str:
            done = await to_thread.run_sync(lambda: shell.run(*arguments, FLOWCTL_ENDPOINT=plane.endpoint))
            assert (done.returncode, done.stderr) == (0, "")
            return done.stdout

        found = {one["id"]: one for one in json.loads(await ask("services", "--json"))}
        assert sorted(found) == ["out", "src"], "who asks is not there itself"
        assert found["src"].pop("age") < 60
        assert datetime.fromisoformat(found["src"].pop("last_heartbeat")).tzinfo is not None
        assert found["src"] == {
            "id": "src", "type": "source", "health": "healthy", "endpoint": "127.0.0.1:4",
            "inputs": [], "outputs": ["L"],
        }  # fmt: skip
        rows = [line.split("\t") for line in (await ask("services")).splitlines()]
        assert sorted((row[0], row[1], row[2], row[5], row[6]) for row in rows) == [
            ("out", "sink", "healthy", "L, M", "-"),
            ("src", "source", "healthy", "-", "L"),
        ]
        assert (await ask("topology")).splitlines() == ["src -> out", "nobody gives out: M"]
        assert json.loads(await ask("topology", "--json"))["edges"] == [
            {"from": "src", "to": "out", "event_types": ["L"]}
        ]
        assert (await ask("topology", "--mermaid")).startswith("flowchart")
        assert (await ask("topology", "--dot")).startswith("digraph")
        assert (await ask("health")).splitlines()[0] == "healthy: 2 of 2 services are healthy"
        assert json.loads(await ask("health", "--json"))["pipeline_health"]["total_services"] == 2


async def test_a_watch_on_a_terminal_survives_the_plane_and_ends_with_ctrl_c(shell, plane, config):
    ours, theirs = pty.openpty()
    async with FlowctlSession(SOURCE, config):
        await plane.wait_for_service("src", Health.HEALTHY)
        process = shell.start_at(theirs, "services", "--watch", "--interval=0.05", f"--plane={plane.endpoint}")
        os.close(theirs)
        seen = ""

        async def until_seen(words: str) -> None:
            nonlocal seen
            while words not in seen:
                seen += (await to_thread.run_sync(os.read, ours, 4096)).decode(errors="replace")

        with anyio.fail_after(30):
            await until_seen("healthy")
    plane.gate = refuse
    with anyio.fail_after(30):
        await until_seen("the plane is away")
        process.send_signal(signal.SIGINT)
        await to_thread.run_sync(lambda: drain(ours))
        assert await to_thread.run_sync(process.wait) == 130
    os.close(ours)
    assert "Traceback" not in seen


async def refuse(method, request):
    raise Refused("UNAVAILABLE", "gone")


def drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except OSError:  # the other end has closed
        return


async def test_the_age_of_a_beat_has_the_colour_of_what_it_means():
    now = datetime.now(UTC)
    ages = {"fresh": 1, "late": 20, "lost": 40}
    statuses = [
        ServiceStatus(name, ServiceInfo(name, ServiceType.SINK), Health.HEALTHY, now - timedelta(seconds=age))
        for name, age in ages.items()
    ]
    statuses.append(ServiceStatus("[red]\x1b[2J", SINK, Health.UNKNOWN))
    table = table_of(statuses, 30.0)
    assert [cell.spans[0].style for cell in table.columns[3].cells] == ["green", "yellow", "red", "dim"]
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    assert "[red]?[2J" in console.file.getvalue()
    assert rows_of(statuses)[3][:4] == ["[red]?[2J", "sink", "unknown", "-"]


@pytest.mark.parametrize("verb", ["services", "topology", "health"])
async def test_a_plane_that_is_not_there_is_one_line(shell, free_port, verb):
    done = await to_thread.run_sync(lambda: shell.run(verb, f"--plane=127.0.0.1:{free_port}"))
    assert done.returncode == 1
    lines = (done.stdout + done.stderr).splitlines()
    assert f"127.0.0.1:{free_port}" in lines[0]
    assert verb == "health" or len(lines) == 1


async def test_an_empty_plane_is_told_too(shell, plane):
    done = await to_thread.run_sync(lambda: shell.run("health", f"--plane={plane.endpoint}"))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == ["unknown: 0 of 0 services are healthy", "No services are registered."]
