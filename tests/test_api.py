"""The names that users import."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import flowctl_aio
from flowctl_aio.streams.processor import ProcessorClient
from flowctl_aio.streams.sink import SinkClient
from flowctl_aio.streams.source import SourceClient
from flowctl_aio.streams.stream import BatchStream

CLIENTS = (BatchStream, ProcessorClient, SinkClient, SourceClient)


def test_every_public_name_loads():
    for name in flowctl_aio.__all__:
        assert getattr(flowctl_aio, name) is not None


def test_type_checkers_see_the_same_names_as_the_interpreter():
    tree = ast.parse(Path(flowctl_aio.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(flowctl_aio.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(flowctl_aio, "FlowctlMaster")


def test_every_public_coroutine_says_what_cancelling_it_does():
    public = [*(getattr(flowctl_aio, name) for name in flowctl_aio.__all__), *CLIENTS]
    silent = [
        f"{kind.__name__}.{name}"
        for kind in public
        if inspect.isclass(kind) and kind.__module__.startswith("flowctl_aio")
        for name, member in vars(kind).items()
        if inspect.iscoroutinefunction(member)
        if not name.startswith("_") or name == "__anext__"
        if "Cancellation:" not in (member.__doc__ or "")
    ]
    assert silent == []
