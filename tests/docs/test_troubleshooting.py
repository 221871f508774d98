"""The page on errors quotes what the code really says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Said by others.
FOREIGN = ("timeout waiting for component",)


def quotations() -> list[str]:
    """The words in the first column of each table."""
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.M)
    return [quoted.strip() for row in rows for quoted in re.findall(r"`([^`]+)`", row)]


@pytest.fixture(scope="module")
def said() -> str:
    """All texts of the package, with what is filled in taken out and what is split over lines joined."""
    sources = "\n".join(path.read_text() for path in sorted((ROOT / "flowctl_aio").rglob("*.py")))
    return re.sub(r"\s+", " ", re.sub(r"\"\s*\n\s*f?\"", "", sources))


@pytest.mark.parametrize("quoted", quotations())
def test_what_the_page_quotes_is_what_the_code_says(said, quoted):
    if quoted.startswith(FOREIGN) or quoted == ":":
        return
    assert quoted in said or quoted.lower() in said.lower() or _in_parts(quoted, said)


def _in_parts(quoted: str, said: str) -> bool:
    """Whether the words stand in the code with a value filled in between, such as the name of a role."""
    words = quoted.split()
    return any(
        re.search(re.escape(" ".join(words[:cut])) + r" \{[^}]*\}", said) is not None for cut in range(1, len(words))
    )
