"""The page on rows describes the columns as they are, and its programs run."""

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


def test_the_programs_of_the_page_run_one_after_the_other():
    found: dict[str, Any] = {}
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(program, found)  # the page is ours
    moved = [int(row[11]) for row in found["rows"] if row[7] == "transfer"]
    assert sum(found["volume"]["units_sum"].to_pylist()) == sum(moved)
    assert found["payers"].num_rows == 3
    assert found["again"].equals(found["pa"].table(found["events"]))
    assert 0 < found["events"].num_rows < len(found["rows"])
    joined = found["joined"].to_pylist()
    assert [row["sequence"] for row in sorted(joined, key=lambda row: row["sequence"])] == list(range(2, 12))
    assert sum(row["kind_count"] for row in joined) == len(found["rows"])
