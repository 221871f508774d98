"""A value follows its files, looks at them seldom, and keeps what was good."""

from __future__ import annotations

import logging
import os
from threading import Thread

import pytest

from flowctl_aio.errors import ConfigError
from flowctl_aio.transport.security.reloaded import Reloaded


class Number:
    """Reads a number, and counts how often."""

    def __init__(self, path):
        self.path, self.loads = path, 0

    def __call__(self) -> int:
        self.loads += 1
        text = self.path.read_text() if self.path.exists() else ""
        if not text.isdigit():
            raise ConfigError(f"{self.path} is no number")
        return int(text)


@pytest.fixture
def number(tmp_path):
    path = tmp_path / "number"
    path.write_text("1")
    return Number(path)


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr("flowctl_aio.transport.security.reloaded.LOOK_INTERVAL", 0.0)


def test_a_file_is_read_again_only_when_it_has_changed(number, eager, caplog):
    caplog.set_level(logging.INFO)
    value = Reloaded("the number", number, [number.path])
    assert [value.get(), value.get()] == [1, 1]
    assert number.loads == 1
    number.path.write_text("22")
    assert [value.get(), value.get()] == [22, 22]
    assert number.loads == 2
    assert caplog.messages == ["the number is read again, because its files have changed"]


def test_a_file_is_looked_at_once_in_a_while_unless_each_look_is_wanted(number, monkeypatch):
    now = 100.0
    monkeypatch.setattr("flowctl_aio.transport.security.reloaded.time.monotonic", lambda: now)
    seldom, always = (Reloaded("it", number, [number.path], every_look=eager) for eager in (False, True))
    number.path.write_text("22")
    assert (seldom.get(), always.get()) == (1, 22)
    now = 100.9
    assert seldom.get() == 1
    now = 101.0
    assert seldom.get() == 22


def test_a_file_that_is_swapped_for_another_of_the_same_age_and_size_is_read_again(number, eager, tmp_path):
    value = Reloaded("it", number, [number.path])
    found = number.path.stat()
    (tmp_path / "new").write_text("2")
    os.utime(tmp_path / "new", ns=(found.st_atime_ns, found.st_mtime_ns))
    (tmp_path / "new").replace(number.path)
    assert value.get() == 2


def test_a_link_that_points_elsewhere_is_read_again(number, eager, tmp_path):
    """As a secret that Kubernetes mounts changes."""
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_text("2")
    link.symlink_to(number.path)
    number.path = link
    value = Reloaded("it", number, [link])
    (tmp_path / "new").symlink_to(other)
    (tmp_path / "new").replace(link)
    assert value.get() == 2


def test_a_bad_change_keeps_the_value_and_is_said_once_for_each_reason(number, eager, caplog):
    value = Reloaded("it", number, [number.path])
    for text in ("bad", "worse"):
        number.path.write_text(text)
        assert [value.get(), value.get()] == [1, 1]
    number.path.unlink()
    assert value.get() == 1
    assert len(caplog.messages) == 1
    number.path.write_text("3")
    assert value.get() == 3
    number.path.write_text("bad again")
    assert value.get() == 3
    assert len(caplog.messages) == 2


def test_a_bad_file_is_not_read_at_every_look(number, monkeypatch):
    now = 100.0
    monkeypatch.setattr("flowctl_aio.transport.security.reloaded.time.monotonic", lambda: now)
    value = Reloaded("it", number, [number.path], every_look=True)
    number.path.write_text("bad")
    for _ in range(10):
        value.get()
    assert number.loads == 2
    number.path.write_text("worse")  # another one is read at once
    value.get()
    assert number.loads == 3
    now = 101.0  # what may have been mended without a trace, as by leave to read it
    value.get()
    assert number.loads == 4


def test_a_change_back_to_what_was_good_is_no_change(number, eager, caplog):
    value = Reloaded("it", number, [number.path])
    good = number.path.rename(number.path.with_name("aside"))
    assert value.get() == 1
    good.rename(number.path)
    assert value.get() == 1
    number.path.unlink()
    assert value.get() == 1
    assert len(caplog.messages) == 1


def test_the_first_value_must_be_good(tmp_path):
    with pytest.raises(ConfigError, match="is no number"):
        Reloaded("it", Number(tmp_path / "missing"), [tmp_path / "missing"])


def test_threads_that_ask_at_once_read_once(number, eager):
    value = Reloaded("it", number, [number.path])
    number.path.write_text("22")
    threads = [Thread(target=value.get) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (value.get(), number.loads) == (22, 2)
