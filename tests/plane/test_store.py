"""Claims about the file of a plane: who may open it, what is in it, and what happens when it cannot be written."""

import logging
import os
import sqlite3
import stat
import subprocess
import sys

import anyio
import pytest

from flowctl_aio.errors import ConfigError
from flowctl_aio.plane.store import StoreError, open_store

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plane.db"


async def found_in(path):
    async with open_store(path) as store:
        return store.found


async def keep(path, **records):
    async with open_store(path) as store:
        for record_id, record in records.items():
            store.put("run", record_id, lambda record=record: record)
        await store.saved()


async def test_what_was_saved_is_found_in_the_order_in_which_it_came(path):
    async with open_store(path) as store:
        assert store.found == {}
        for record_id in ("b", "a", "c"):
            store.put("run", record_id, lambda: b"first")
        store.put("chunk", "a", lambda: b"other")
        await store.saved()
        store.put("run", "b", lambda: b"second")
        store.put("run", "c", None)
        store.put("run", "never there", None)
        await store.saved()
    found = await found_in(path)
    assert found == {"run": {"b": b"second", "a": b"first"}, "chunk": {"a": b"other"}}
    assert list(found["run"]) == ["b", "a"]


@pytest.mark.parametrize("count", [1, 15, 16, 17, 127, 128, 129, 1000])
async def test_groups_of_any_size_are_saved_whole(path, count):
    async with open_store(path) as store:
        store.put("run", "gone", lambda: b"x")
        await store.saved()
        for n in range(count):
            store.put("beat", f"s{n}", lambda n=n: str(n).encode())
        if count % 2:
            store.put("run", "gone", None)
        await store.saved()
    found = await found_in(path)
    assert found["beat"] == {f"s{n}": str(n).encode() for n in range(count)}
    assert ("run" in found) is (count % 2 == 0)


async def test_what_nobody_waited_for_is_written_at_the_end(path):
    async with open_store(path) as store:
        store.put("run", "a", lambda: b"x")
    assert await found_in(path) == {"run": {"a": b"x"}}


async def test_changes_that_arrive_during_a_commit_share_the_next_one(path):
    async with open_store(path) as store:
        commits = []
        store._connection.set_trace_callback(lambda sql: commits.append(sql) if sql.startswith("INSERT") else None)

        async def change(n):
            store.put("beat", f"s{n}", lambda: b"x")
            await store.saved()

        async with anyio.create_task_group() as tasks:
            for n in range(100):
                tasks.start_soon(change, n)
    assert len(commits) <= 3
    assert len((await found_in(path))["beat"]) == 100


async def test_waiting_with_nothing_to_write_returns(path):
    async with open_store(path) as store:
        await store.saved()
        store.put("run", "a", lambda: b"x")
        await store.saved()
        await store.saved()


async def test_a_wait_that_is_cancelled_loses_nothing(path):
    async with open_store(path) as store:
        store.put("run", "a", lambda: b"x")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.saved()
        await store.saved()
    assert await found_in(path) == {"run": {"a": b"x"}}


async def test_the_file_is_for_its_owner_only(path):
    async with open_store(path) as store:
        store.put("run", "a", lambda: b"x")
        await store.saved()
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"plane.db": 0o600, "plane.db-wal": 0o600}
    path.chmod(0o644)
    await found_in(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["plane.db"]


async def test_a_relative_name_is_a_file_whatever_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (":memory:", "file:x?mode=memory"):
        await keep(type(tmp_path)(name), a=b"x")
        assert (tmp_path / name).stat().st_size > 0


# Whose file it is


async def test_a_second_plane_on_the_file_is_told_so_at_once(path):
    async with open_store(path):
        with pytest.raises(ConfigError, match=r"plane.db is in use: another plane has it open"):
            await found_in(path)
        program = (
            f"import anyio, pathlib\nfrom flowctl_aio.plane.store import _open\n_open(pathlib.Path({str(path)!r}))"
        )
        done = await anyio.run_process([sys.executable, "-c", program], check=False, stderr=subprocess.PIPE)
        assert b"ConfigError" in done.stderr
        assert b"is in use" in done.stderr
    await found_in(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"no database at all, but long enough to have a header" * 100, "file is not a database"),
        (b"x", "file is not a database"),
    ],
)
async def test_what_is_no_database_is_refused_and_left_alone(path, content, text):
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"cannot use .*plane.db as the file of a plane: {text}"):
        await found_in(path)
    assert path.read_bytes() == content


async def test_a_database_of_somebody_else_is_refused_and_left_alone(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"plane.db is a database, but not one of a plane"):
        await found_in(path)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


async def test_a_file_of_a_later_format_is_refused(path):
    await keep(path, a=b"x")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(ConfigError, match=r"plane.db has format 7, and this version of the plane reads format 1"):
        await found_in(path)


async def test_a_damaged_file_is_refused(path):
    await keep(path, **{f"r{n}": os.urandom(900) for n in range(100)})
    with path.open("r+b") as file:
        for page in range(2, 10):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    with pytest.raises(ConfigError, match=r"plane.db (is damaged|as the file of a plane: .*malformed)"):
        await found_in(path)


async def test_an_empty_file_becomes_one_of_a_plane(path):
    path.touch()
    await keep(path, a=b"x")
    assert await found_in(path) == {"run": {"a": b"x"}}


async def test_a_place_where_no_file_can_be_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot make .*/nowhere/plane.db: No such file or directory"):
        await found_in(tmp_path / "nowhere" / "plane.db")
    with pytest.raises(ConfigError, match="unable to open database file"):
        await found_in(tmp_path)


# What cannot be written


@pytest.mark.parametrize(
    ("ail", "heal", "text"),
    [
        ("PRAGMA query_only = 1", "PRAGMA query_only = 0", "attempt to write a readonly database"),
        ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 100000", "database or disk is full"),
    ],
)
async def test_a_change_that_cannot_be_written_is_reported_and_written_later(path, caplog, ail, heal, text):
    caplog.set_level(logging.WARNING, "flowctl_aio.plane")
    async with open_store(path) as store:
        store.put("run", "before", lambda: b"x")
        await store.saved()
        store._connection.execute(ail)
        for n in range(3):
            store.put("run", f"during {n}", lambda: b"x" * 10_000)
            with pytest.raises(StoreError, match=text):
                await store.saved()
        store.put("run", "before", None)
        with pytest.raises(StoreError, match=text):
            await store.saved()
        store._connection.execute(heal)
        await store.saved()
        assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
        assert "can be written again" in caplog.text
    assert list((await found_in(path))["run"]) == ["during 0", "during 1", "during 2"]


async def test_a_record_that_cannot_be_made_ends_the_store_and_is_not_called_saved(path):
    def fail():
        raise LookupError("ours")

    async def lose():
        async with open_store(path) as store:
            store.put("run", "a", fail)
            with anyio.CancelScope(shield=True), pytest.raises(StoreError, match="ended before"):
                await store.saved()
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await lose()
    assert caught.group_contains(LookupError)
