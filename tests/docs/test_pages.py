"""What the pages say exists: names that they import, files and settings that they name, and where their links lead."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from flowctl_aio.config import FlowctlConfig
from flowctl_aio.config.definition.setting import settings_of

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path.read_text() for path in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md")}
# What folder a path on the page on architecture may be short for.
SHORT_FOR = ("", "components", "control", "serving", "streams", "streams/shared", "transport")


def programs() -> list[Any]:
    found = [(name, number, text) for name in PAGES for number, text in enumerate(blocks(PAGES[name]))]
    return [pytest.param(text, id=f"{name}-{number}") for name, number, text in found]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


@pytest.mark.parametrize("program", programs())
def test_a_program_is_one_and_what_it_imports_of_ours_is_there(program):
    tree = compile(program, "page", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flowctl_aio"):
            module = import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def anchors(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    folder = ROOT if name == "README.md" else ROOT / "docs"
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([\w-]+))?\)", PAGES[name]):
        path = folder / target if target else folder / name
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), f"{target}#{anchor}"


def test_the_first_page_names_all_others():
    assert [name for name in PAGES if name != "README.md" and f"docs/{name}" not in PAGES["README.md"]] == []


@pytest.mark.parametrize("name", settings_of(FlowctlConfig))
def test_every_setting_is_explained_where_a_reader_looks_for_it(name):
    setting = settings_of(FlowctlConfig)[name]
    text = "\n".join(page for title, page in PAGES.items() if title != "configuration.md")
    assert any(re.search(rf"`[^`\n]*\b{word}\b[^`\n]*`", text) for word in (name, *setting.variables))


def test_every_benchmark_is_listed_and_made():
    kept = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "def main(" in path.read_text()}
    made = re.search(r"^BENCHMARKS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert made is not None
    assert set(made[1].split()) == kept
    assert set(re.findall(r"^\| `python -m benchmarks\.(\w+)` \|", PAGES["benchmarks.md"], re.MULTILINE)) == kept


def test_every_file_of_the_architecture_is_there():
    named = {word.rstrip("/") for word in re.findall(r"`([\w/]+(?:\.py|/))`", PAGES["architecture.md"])}
    folders = [ROOT, *(ROOT / "flowctl_aio" / folder for folder in SHORT_FOR)]
    assert sorted(word for word in named if not any((folder / word).exists() for folder in folders)) == []


def test_no_room_of_the_data_plane_is_left_out():
    page = PAGES["architecture.md"]
    for folder in ("streams", "serving"):
        files = {path.name for path in (ROOT / "flowctl_aio" / folder).glob("*.py")} - {"__init__.py"}
        assert sorted(file for file in files if file not in page) == [], folder
