"""For the tests of users: fixtures, planes that fail on demand, rough links, scripted components and assertions.

Names load when they are first used, so that the pytest plugin costs nothing where no test asks for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowctl_aio.testing.assertions import assert_no_leaks as assert_no_leaks
    from flowctl_aio.testing.assertions import wait_registered as wait_registered
    from flowctl_aio.testing.beats import Beat as Beat
    from flowctl_aio.testing.beats import Beats as Beats
    from flowctl_aio.testing.beats import beats_of as beats_of
    from flowctl_aio.testing.components import EchoProcessor as EchoProcessor
    from flowctl_aio.testing.components import RecordingSink as RecordingSink
    from flowctl_aio.testing.components import ScriptedError as ScriptedError
    from flowctl_aio.testing.components import ScriptedSource as ScriptedSource
    from flowctl_aio.testing.faults import Fault as Fault
    from flowctl_aio.testing.link import RoughLink as RoughLink
    from flowctl_aio.testing.link import open_link as open_link
    from flowctl_aio.testing.plane import PlaneUnderTest as PlaneUnderTest
    from flowctl_aio.testing.settings import config_for as config_for

_HOMES = {
    "Beat": "beats",
    "Beats": "beats",
    "EchoProcessor": "components",
    "Fault": "faults",
    "PlaneUnderTest": "plane",
    "RecordingSink": "components",
    "RoughLink": "link",
    "ScriptedError": "components",
    "ScriptedSource": "components",
    "assert_no_leaks": "assertions",
    "beats_of": "beats",
    "config_for": "settings",
    "open_link": "link",
    "wait_registered": "assertions",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"flowctl_aio.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
