"""The page on rows describes the columns as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from flowctl_aio.components.stellar import ledgers, transfers, ttp_events

PAGE = (Path(__file__).parents[2] / "docs" / "transfers.md").read_text()
TYPES = {"string": "utf8", "timestamp[us, tz=UTC]": "timestamp"}


@pytest.mark.parametrize(
    ("title", "schema"),
    [("Token transfers", transfers.SCHEMA), ("Ledger rows", ledgers.SCHEMA), ("TTPEvents", ttp_events.SCHEMA)],
)
def test_each_table_lists_the_columns_of_its_schema(title, schema):
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| ([^|,]+?)(, null[^|]*)? \|", section, re.MULTILINE)
    assert [(name, kind, bool(null)) for name, kind, null in listed] == [
        (field.name, TYPES.get(str(field.type), str(field.type)), field.nullable) for field in schema
    ]


def test_the_filter_of_the_page_can_be_made():
    found: dict[str, Any] = {}
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(program, found)  # the page is ours
    assert found["wanted"].assets == ("native", "USDC")
