from datetime import UTC, datetime, timedelta

import pytest


class Clock:
    """Both clocks of a registry, which go on only when a test says so."""

    def __init__(self):
        self.elapsed = 0.0

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed)

    def monotonic(self):
        return 1000.0 + self.elapsed

    def advance(self, seconds):
        self.elapsed += seconds


@pytest.fixture
def clock():
    return Clock()
