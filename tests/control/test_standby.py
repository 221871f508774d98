"""The thread that beats while the loop is blocked."""

from __future__ import annotations

import threading

import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.control.clock import since_boot
from flowctl_aio.control.standby import Standby
from flowctl_aio.errors import PlaneUnavailableError

BEAT = wire.ServiceHeartbeat(service_id="svc")


class Plane:
    """Notes the beats that come in, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.failures = 0
        self.is_closed = False
        self.heard = threading.Condition()

    def call(self, method, request, answer, *, timeout):
        assert (method, request, answer) == ("/x", BEAT, wire.Empty)
        if self.failures:
            self.failures -= 1
            raise PlaneUnavailableError("away")
        with self.heard:
            self.moments.append(since_boot())
            self.heard.notify_all()

    def close(self):
        self.is_closed = True

    def wait(self, beats):
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.moments) >= beats, timeout=5)


@pytest.fixture
def plane():
    return Plane()


@pytest.fixture
def standby(plane):
    standby = Standby(plane, lambda beat: None, interval=0.05, timeout=1)
    with standby.running("standby under test"):
        yield standby
    assert not any(thread.name == "standby under test" for thread in threading.enumerate())


def test_it_steps_in_when_a_beat_is_late_and_goes_on_at_the_pace(plane, standby):
    standby.load("/x", BEAT)
    due = since_boot() + 0.05
    standby.expect(0.05)
    plane.wait(4)
    assert plane.moments[0] >= due
    assert standby.beats >= 3
    assert standby.heard_at >= plane.moments[0]


def test_a_loop_that_beats_in_time_leaves_it_nothing_to_do(plane, standby):
    standby.load("/x", BEAT)
    for _ in range(20):
        standby.expect(60)
    assert standby.beats == 0


def test_it_is_quiet_before_the_first_beat_and_after_a_doubt(plane, standby):
    standby.load("/x", BEAT)
    standby.expect(0)
    plane.wait(1)
    standby.rest()
    before = len(plane.moments)
    standby.expect(60)
    assert len(plane.moments) <= before + 1


def test_a_beat_that_fails_is_tried_again_at_the_next_interval(plane, standby):
    plane.failures = 2
    standby.load("/x", BEAT)
    standby.expect(0)
    plane.wait(1)
    assert plane.failures == 0


def test_what_is_sent_has_been_freshened(plane):
    freshened = []
    standby = Standby(plane, freshened.append, interval=0.05, timeout=1)
    with standby.running("standby"):
        standby.load("/x", BEAT)
        standby.expect(0)
        plane.wait(1)
    assert freshened[0] is BEAT
    assert plane.is_closed


def test_a_beat_that_cannot_even_be_freshened_does_not_end_the_thread(plane, caplog):
    faults = [RuntimeError("odd")]

    def freshen(beat):
        if faults:
            raise faults.pop()

    standby = Standby(plane, freshen, interval=0.05, timeout=1)
    with standby.running("standby"):
        standby.load("/x", BEAT)
        standby.expect(0)
        plane.wait(1)
    assert "RuntimeError: odd" in caplog.text
