"""The page about settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from flowctl_aio import FlowctlConfig
from flowctl_aio.config.components import COMPONENTS
from flowctl_aio.config.definition.setting import settings_of
from flowctl_aio.config.profiles import PROFILES
from flowctl_aio.config.reading.resolve import resolve, resolve_component
from flowctl_aio.config.reference import render

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_is_what_the_definitions_make_of_it():
    assert PAGE.read_text(encoding="utf-8") == render(), (
        "python -m flowctl_aio.config.reference > docs/configuration.md"
    )


def test_it_is_made_by_the_command_that_it_names():
    command = [sys.executable, "-m", "flowctl_aio.config.reference"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert (done.stderr, done.stdout) == ("", render())


def test_it_names_every_setting_variable_and_profile():
    page = render()
    for kind in (FlowctlConfig, *COMPONENTS.values()):
        for setting in settings_of(kind).values():
            assert f"| `{setting.name}` |" in page
            assert all(f"`{name}`" in page for name in setting.variables)
    assert all(f"| `{profile}`" in page for profile in PROFILES)


def test_its_files_are_in_order(tmp_path):
    examples = re.findall(r"```yaml\n(.*?)```", render(), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        file = tmp_path / "settings.yaml"
        file.write_text(example)
        assert resolve("stellar_arrow_source", file=file, environ={}).config.endpoint == "plane:8080"
        assert resolve_component("stellar_arrow_source", file=file, environ={}).notes == ()
