"""A processor whose work is done by worker processes: real ones, over real streams, that fail in every way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import psutil
import pytest

from flowctl_aio import FlowctlConfig, FlowctlSession, LedgerBatch, RawLedger
from flowctl_aio.errors import ConfigError, LedgerDecodeError, PeerError
from flowctl_aio.types import Cursor, Dialect
from tests.serving.hard_work import Counting, Static, Unfit, Working, event, number

pytestmark = pytest.mark.anyio


def living() -> set[int]:
    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            if any("flowctl_aio.worker" in part for part in child.cmdline()):
                found.add(child.pid)
        except psutil.NoSuchProcess:
            continue
    return found


async def feed(batches):
    for batch in batches:
        yield batch


async def outputs(driver, session, batches, dialect: Dialect | None = None) -> list:
    async with (
        driver.processor(session.endpoint, dialect=dialect) as client,
        client.stream(feed(batches)) as stream,
    ):
        return [batch async for batch in stream]


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_work_is_done_by_other_processes_and_keeps_its_order(serve, driver, dialect):
    session = await serve(Working())
    got = await outputs(driver, session, [event(n, b"pid") for n in range(40)], dialect)
    assert [number(batch) for batch in got] == list(range(40))
    pids = {int(row.payload) for batch in got for row in batch}
    assert pids <= living()
    assert os.getpid() not in pids


async def test_what_is_done_first_waits_for_its_turn(serve, driver, until, tmp_path):
    session = await serve(Working(tmp_path))
    begun = [tmp_path / "0.begun", tmp_path / "1.begun"]
    batches = [event(n, b"wait") for n in range(2)]
    async with driver.processor(session.endpoint) as client, client.stream(feed(batches)) as stream:
        await until(lambda: all(path.exists() for path in begun))
        (tmp_path / "1").touch()
        await until(lambda: len(session._life.served.work) == 1)
        (tmp_path / "0").touch()
        assert [number(batch) async for batch in stream] == [0, 1]


async def test_every_shape_of_answer_comes_back(serve, driver):
    session = await serve(Working())
    asked = [b"nothing", b"same", b"twice"]
    got = await outputs(driver, session, [event(n, what) for n, what in enumerate(asked)])
    assert [number(batch) for batch in got] == [1, 2, 2]


async def test_batches_keep_all_that_belongs_to_them(serve):
    session = await serve(Working(processes=1))
    ledgers = LedgerBatch.from_ledgers(RawLedger(n, b"x" * n, network="testnet") for n in range(5, 9)).slice(1, 2)
    workers = session._life.served.workers
    ledgers.trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    back = await workers.run(ledgers)
    assert (type(back), back.record_batch, back.trace) == (LedgerBatch, ledgers.record_batch, ledgers.trace)
    assert (back.first_cursor, back.last_cursor) == (Cursor(6), Cursor(7))
    own = await workers.run(event(3, b"own"))
    assert (own.event_type, own.first_cursor, own.last_cursor, len(own)) == ("Own", Cursor(3), Cursor(9, 3), 1)
    assert own.record_batch.schema.names == ["payload"]


async def test_what_workers_answer_is_counted_where_the_session_is(serve, driver):
    session = await serve(Counting(processes=1))
    got = await outputs(driver, session, [event(n) for n in range(3)])
    assert session.component.made == 3
    assert {int(row.payload) for batch in got for row in batch} == {os.getpid()}


async def test_without_processes_work_runs_in_a_thread(serve, driver):
    session = await serve(Working(processes=0))
    got = await outputs(driver, session, [event(0, b"pid"), event(1, b"twice")])
    assert [number(batch) for batch in got] == [0, 1, 1]
    assert next(iter(got[0])).payload == str(os.getpid()).encode()
    assert living() == set()


async def test_a_component_that_cannot_be_pickled_gives_a_function(serve, driver):
    session = await serve(Static())
    assert len(await outputs(driver, session, [event(1)])) == 1


async def test_work_that_cannot_be_sent_is_refused_on_entering(serve):
    with pytest.raises(ConfigError, match="`work` of unfit cannot be sent to a worker process"):
        await serve(Unfit())


@pytest.mark.parametrize("count", [-1, 1.5, 257])
async def test_a_number_of_processes_that_is_none_is_refused(serve, count):
    with pytest.raises(ConfigError, match=f"processes of Working .* {count}"):
        await serve(Working(processes=count))


async def test_an_error_of_the_work_comes_out_as_itself(serve, driver, caplog):
    session = await serve(Working())
    workers = session._life.served.workers
    with pytest.raises(ValueError, match="abc123") as caught:
        await workers.run(event(1, b"value"))
    assert 'in value\n    raise ValueError("token=abc123")' in caught.value.__notes__[0]
    with pytest.raises(LedgerDecodeError) as told:
        await workers.run(event(1, b"ledger"))
    assert (told.value.ledger, told.value.offset) == (7, 8)


@pytest.mark.parametrize(
    ("what", "told"),
    [(b"value", "ValueError in working"), (b"local", "LocalError in a worker"), (b"text", "TypeError")],
)
async def test_a_fault_of_the_work_is_counted_and_tells_no_secret(serve, driver, what, told):
    session = await serve(Working())
    with pytest.raises(PeerError, match=told) as caught:
        await outputs(driver, session, [event(1, what)])
    assert "abc123" not in f"{caught.value}{caught.value.details}"
    assert session.metrics()["errors_total"] == 1


@pytest.mark.parametrize(("what", "fate"), [(b"killed", "was killed by signal 9"), (b"left", "exited with code 3")])
async def test_a_worker_that_dies_is_told_with_its_batch_and_replaced(serve, driver, what, fate):
    session = await serve(Working(processes=1))
    (before,) = living()
    with pytest.raises(PeerError, match=rf"worker process {before} of working {fate} with <EventBatch 1 rows .* 7"):
        await outputs(driver, session, [event(7, what)])
    (again,) = await outputs(driver, session, [event(8, b"pid")])
    assert living() == {int(next(iter(again)).payload)} != {before}


async def test_a_dying_worker_takes_no_other_batch_with_it(serve, driver, until, tmp_path):
    session = await serve(Working(tmp_path))
    async with driver.processor(session.endpoint) as client, client.stream(feed([event(0, b"wait")])) as stream:
        await until((tmp_path / "0.begun").exists)
        with pytest.raises(PeerError, match="exited"):
            await outputs(driver, session, [event(7, b"left")])
        (tmp_path / "0").touch()
        assert [number(batch) async for batch in stream] == [0]


async def test_a_worker_that_died_with_nothing_to_do_harms_no_batch(serve, driver, until):
    session = await serve(Working(processes=1))
    (before,) = living()
    os.kill(before, signal.SIGKILL)
    await until(lambda: psutil.Process(before).status() == psutil.STATUS_ZOMBIE)
    assert len(await outputs(driver, session, [event(1)])) == 1
    assert before not in living()


async def test_a_client_that_leaves_waits_for_nobody_and_the_worker_goes_on(serve, driver, until, tmp_path):
    session = await serve(Working(tmp_path, processes=1))
    before = living()
    async with driver.processor(session.endpoint) as client, client.stream(feed([event(0, b"wait")])):
        await until((tmp_path / "0.begun").exists)
    await until(lambda: session.metrics()["streams"] == 0)
    assert len(session._life.served.work) == 0
    (tmp_path / "0").touch()
    assert len(await outputs(driver, session, [event(1)])) == 1
    assert living() == before


async def test_no_worker_outlives_its_session_whatever_it_is_at(driver, until, tmp_path):
    config = FlowctlConfig(enabled=False, drain_timeout=0.2)
    async with FlowctlSession(Working(tmp_path), config) as session:
        pids = living()
        assert len(pids) == 2
        async with driver.processor(session.endpoint) as client, client.stream(feed([event(0, b"wait")])):
            await until((tmp_path / "0.begun").exists)
            with anyio.fail_after(10):
                await session.aclose()
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_entering_that_is_cancelled_leaves_no_worker():
    for delay in (0.0, 0.05, 0.2):
        with anyio.move_on_after(delay):
            async with FlowctlSession(Working(), FlowctlConfig(enabled=False)):
                pass
        assert living() == set()


PROGRAM = """
import asyncio, os, sys, time
from flowctl_aio import EventBatch, FlowctlConfig, FlowctlSession, Processor, Event, ServiceInfo, ServiceType

class Here(Processor):
    processes = 1

    def work(self, batch):
        print(f"working {os.getpid()}", file=sys.stderr, flush=True)
        if next(iter(batch)).payload:
            time.sleep(600)
        return batch

async def one(payload):
    yield EventBatch.from_events([Event("E", payload)])

async def main(payload):
    config = FlowctlConfig(enabled=False)
    async with FlowctlSession(Here(), config) as session, session.processor(session.endpoint) as client:
        async with client.stream(one(payload)) as stream:
            print("answered", len([batch async for batch in stream]), flush=True)

GUARD
    asyncio.run(main(sys.argv[1].encode()))
"""


def program(tmp_path: Path, guard: str) -> Path:
    path = tmp_path / "pipeline.py"
    path.write_text(PROGRAM.replace("GUARD", guard))
    return path


def test_a_processor_may_be_defined_in_the_program_that_is_run(tmp_path):
    path = program(tmp_path, 'if __name__ == "__main__":')
    run = subprocess.run([sys.executable, path, ""], capture_output=True, text=True, timeout=50)
    assert (run.returncode, run.stdout) == (0, "answered 1\n"), run.stderr


def test_a_program_without_a_guard_is_told_what_it_lacks(tmp_path):
    path = program(tmp_path, "if True:")
    run = subprocess.run([sys.executable, path, ""], capture_output=True, text=True, timeout=50)
    assert run.returncode == 1
    assert "ConfigError" in run.stderr.splitlines()[-1]
    assert "put what runs it under `if __name__ == '__main__'`" in run.stderr.splitlines()[-1]


async def test_workers_end_with_a_parent_that_is_killed(tmp_path, until):
    path = program(tmp_path, 'if __name__ == "__main__":')
    async with await anyio.open_process([sys.executable, str(path), "long"]) as parent:
        assert parent.stderr is not None
        pid = int((await parent.stderr.receive()).split()[1])
        parent.kill()
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
