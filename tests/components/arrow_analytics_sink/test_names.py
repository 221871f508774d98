"""Claims about file names: what is written is read back, and any other text is somebody else's."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.components.arrow_analytics_sink.names import TEMPORARY, DataFile, is_abandoned, parse_data_path


@given(st.dates(), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_names_are_read_as_they_are_written(day: Any, a: int, b: int) -> None:
    file = DataFile(day.isoformat(), min(a, b), max(a, b))
    assert parse_data_path(file.path) == file


@given(st.text())
def test_any_other_text_is_no_name(text: str) -> None:
    assert parse_data_path(text) is None
    assert not is_abandoned(text, TEMPORARY)
