"""A line is written once, seldom again, and once more when it is over."""

from __future__ import annotations

import logging

import pytest

from flowctl_aio.observe.repeats import MAX_KEYS, Repeats

logger = logging.getLogger("flowctl_aio.tests.repeats")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def repeats(clock, caplog) -> Repeats:
    caplog.set_level(logging.INFO, logger=logger.name)
    return Repeats(logger, interval=60, fields={"service_id": "s1"}, clock=clock)


def test_the_first_the_tenth_and_the_hundredth_are_written(repeats, clock, caplog):
    written = []
    for count in range(1, 201):
        clock.now += 0.1
        if repeats.failed("plane", "%s: the plane is away (%s)", "s1", "refused"):
            written.append(count)
    assert written == [1, 10, 100]
    assert [record.getMessage() for record in caplog.records] == [
        "s1: the plane is away (refused)",
        "s1: the plane is away (refused) (10 times in 0.9 s)",
        "s1: the plane is away (refused) (100 times in 9.9 s)",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_one_is_written_when_an_interval_has_passed_in_silence(repeats, clock):
    written = []
    for count in range(1, 9):
        if repeats.failed("plane", "away"):
            written.append(count)
        clock.now += 30
    assert written == [1, 3, 5, 7]


def test_the_end_is_written_with_its_length(repeats, clock, caplog):
    for _ in range(3):
        repeats.failed("plane", "away")
        clock.now += 15
    assert repeats.recovered("plane", "%s: the plane is back", "s1")
    assert not repeats.recovered("plane", "%s: the plane is back", "s1")
    record = caplog.records[-1]
    assert record.getMessage() == "s1: the plane is back after 3 failures in 45.0 s"
    assert (record.levelno, record.repeats, record.outage_seconds) == (logging.INFO, 3, 45.0)
    # The next outage is a new one.
    assert repeats.failed("plane", "away")
    repeats.recovered("plane", "back")
    assert caplog.messages[-1] == "back after 1 failure in 0.0 s"


def test_what_never_failed_does_not_recover(repeats, caplog):
    assert not repeats.recovered("plane", "back")
    assert not caplog.records


def test_fields_go_with_every_line(repeats, caplog):
    repeats.failed("plane", "away", fields={"state": "degraded"})
    (record,) = caplog.records
    assert (record.service_id, record.state, record.repeats) == ("s1", "degraded", 1)


def test_things_fail_each_for_itself(repeats, caplog):
    for key in ("plane", "peer", "plane", "peer"):
        repeats.failed(key, key)
    assert caplog.messages == ["plane", "peer"]


def test_the_things_that_are_remembered_have_a_bound(repeats):
    for number in range(MAX_KEYS + 1):
        repeats.failed(str(number), "away")
    assert not repeats.recovered("0", "back")
    assert repeats.recovered("1", "back")


def test_a_percent_sign_in_a_line_without_arguments_is_just_that(repeats, caplog):
    for _ in range(10):
        repeats.failed("disk", "90% full")
    repeats.recovered("disk", "50% full")
    assert caplog.messages[0] == "90% full"
    assert caplog.messages[2].startswith("50% full after 10 failures")
