"""Durations as Go writes them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowctl_aio.config.definition.durations import format_duration, parse_duration

GOOD = [
    ("0", 0.0),
    ("+0", 0.0),
    ("0s", 0.0),
    ("10s", 10.0),
    ("+5s", 5.0),
    ("1m30s", 90.0),
    ("250ms", 0.25),
    ("500ms", 0.5),
    ("1.5h", 5400.0),
    ("1h2m3.5s", 3723.5),
    ("39h9m14.425s", 140954.425),
    (".5s", 0.5),
    ("1.s", 1.0),
    ("1.0s", 1.0),
    ("1.004s", 1.004),
    ("100.00100s", 100.001),
    ("1h2m3s4ms", 3723.004),
    ("5s10m", 605.0),
    ("1s1s", 2.0),
    ("7us", 7e-6),
    ("10\u00b5s", 1e-5),  # the micro sign
    ("10\u03bcs", 1e-5),  # the Greek letter
    ("11ns", 1.1e-8),
    ("5.5s250ms", 5.75),
    ("0.3333333333333333333h", 1200.0),
    ("0.100000000000000000000h", 360.0),
    ("0.830103483285477580700h", 2988.372539827),
    ("9007199254.740993s", 9007199254.740993),
    ("9223372036854775807ns", 9223372036.854775807),
    ("9223372036854775.807us", 9223372036.854775807),
]
BAD = [
    "", "3", "10", "1.5", "-", "+", "s", ".", "-.", ".s", "+.s", "1d", "1w", "10 s", " 10s", "10s ", "10s\n", "1m30",
    "-3s", "-0s", "-250ms", "--3s", "++3s", "+-3s", "ten seconds", "10S", "10Ms", "1e3s", "0x10s", "1_000s",
    "10s;", "inf", "nan",
    "\u0661\u0660s", "1..5s", "1.5.5s", "10\u00b5", "1,5s", "null", "1h-5m", "\xff\xffs", "9" * 4000 + "s",
    "9223372036854775808ns", "9223372036854775.808us", "9223372036854ms775us808ns", "2562048h", "10s" * 1000,
]  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), GOOD)
def test_a_go_duration_is_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is no duration like") as caught:
        parse_duration(text)
    assert len(str(caught.value)) < 500


@given(st.integers(0, 10_000), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(hours, minutes, seconds):
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@given(st.integers(0, 2**50))
@example(999_999_999)
@example(59_999_999_999)
@example(3_600_000_000_001)
def test_what_is_written_is_read_back_to_the_nanosecond(nanoseconds):
    seconds = nanoseconds / 1e9
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(max_size=30))
def test_no_text_does_anything_but_be_read_or_refused(text):
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= 2**63 / 1e9


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (10, "10s"), (90, "1m30s"), (3600, "1h"), (3723.5, "1h2m3.5s"), (0.25, "250ms"), (1.5e-5, "15us"),
     (1e-9, "1ns"), (0.0015, "1.5ms"), (float("inf"), "inf"), (-1.5, "-1.5s")],
)  # fmt: skip
def test_it_is_written_as_short_as_usual(seconds, text):
    assert format_duration(seconds) == text
