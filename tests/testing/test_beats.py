"""What a plane hears of one service."""

from __future__ import annotations

import pytest

from flowctl_aio import FlowctlSession, Health
from flowctl_aio.testing import beats_of

from .conftest import INFO

pytestmark = pytest.mark.anyio


async def test_beats_tell_when_how_and_with_what_numbers(plane, config):
    async with FlowctlSession(INFO, config, lambda: {"mine": 1.5}) as session:
        beats = beats_of(plane, "svc")
        first, second = await beats.wait(2)
        assert first.moment < second.moment
        assert second.metrics["mine"] == 1.5
        assert second.health is (Health.HEALTHY if config.dialect == "v1" else None)
        assert beats[0] == first
        assert len(beats.gaps) == len(beats) - 1
        assert all(gap > 0 for gap in beats.gaps)
        with pytest.raises(AssertionError, match=r"nobody sent 0 of 1 beats within 0\.01 s"):
            await beats_of(plane, "nobody").wait(timeout=0.01)
        session.health = Health.DEGRADED
        if config.dialect == "v1":
            while (await beats.wait())[0].health is not Health.DEGRADED:
                pass


async def test_a_plane_does_not_keep_the_beats_that_nobody_holds(plane, config):
    beats_of(plane, "svc")
    assert len(plane._listeners) == 0
