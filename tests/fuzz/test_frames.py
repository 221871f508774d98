"""A short slice of the fuzz; `--fuzz-cases 100000 --timeout 0` for more."""

from __future__ import annotations

from .frames import run


def test_damaged_messages_give_the_named_error_or_rows_that_can_be_believed(request):
    option = request.config.getoption
    tally = run(10 * option("--fuzz-cases"), option("--fuzz-seed"))
    assert tally["strange"] == []
    assert tally["errors"] > tally["cases"] // 10
