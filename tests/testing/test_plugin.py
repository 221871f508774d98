"""The fixtures just work, whichever plugin runs the test and in whatever loop; and cost nothing where nobody asks."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
FUNCTION, MODULE = "pytest.mark.asyncio", "pytest.mark.asyncio(loop_scope='module')"
BOTH = ("-p", "asyncio", "-p", "anyio")

HEAD = """
import asyncio
import pytest
from flowctl_aio import Health, State
from flowctl_aio.testing import EchoProcessor, beats_of, wait_registered
"""
WORK = """
async def work(flowctl_session, flowctl_plane, flowctl_config, flowctl_serve):
    assert flowctl_session.state is State.REGISTERED
    assert flowctl_config.endpoint == flowctl_plane.endpoint
    assert (await beats_of(flowctl_plane, flowctl_session.service_id).wait())[0].health is Health.HEALTHY
    served = await flowctl_serve(EchoProcessor(), component_id="echo")
    await wait_registered(flowctl_plane, "echo")
    async with flowctl_session.processor(served.endpoint):
        pass
    async with flowctl_plane.outage():
        await flowctl_session.wait_for(State.DEGRADED, timeout=5)
    await wait_registered(flowctl_session)
"""
TEST = """
{mark}
async def test_{name}(flowctl_session, flowctl_plane, flowctl_config, flowctl_serve):
    assert flowctl_session.service_id == "test_{name}{parameter}"
    await work(flowctl_session, flowctl_plane, flowctl_config, flowctl_serve)
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs a suite in a process of its own, with these plugins only: the entry point may be installed or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(*options, **files):
        pytester.makepyfile(**files)
        if "asyncio" in options:
            options = (*options, "-o", "asyncio_default_fixture_loop_scope=function")
        plugin = ("-p", "flowctl_aio.testing.plugin")
        return pytester.runpytest_subprocess(*plugin, "-W", "error", "--strict-markers", *options, timeout=50)

    return run


def suite(*tests):
    return HEAD + WORK + "".join(TEST.format(mark=f"@{mark}", name=name, parameter="") for name, mark in tests)


def test_they_work_with_pytest_asyncio_in_every_loop_scope(run):
    scopes = ("function", "class", "module", "package", "session")
    tests = [(scope, f"pytest.mark.asyncio(loop_scope='{scope}')") for scope in scopes]
    them = (
        suite(*tests, ("again", MODULE), ("default", FUNCTION))
        + """
@pytest.mark.asyncio(loop_scope="class")
class TestTogether:
    async def test_first(self, flowctl_session, flowctl_plane, flowctl_config, flowctl_serve):
        type(self).loop = asyncio.get_running_loop()
        await work(flowctl_session, flowctl_plane, flowctl_config, flowctl_serve)

    async def test_second(self, flowctl_session, flowctl_plane, flowctl_config, flowctl_serve):
        assert self.loop is asyncio.get_running_loop()
        await work(flowctl_session, flowctl_plane, flowctl_config, flowctl_serve)
"""
    )
    run("-p", "asyncio", test_them=them).assert_outcomes(passed=9)


def test_they_work_in_auto_mode_and_in_the_loop_that_the_settings_say(run):
    them = HEAD + WORK + TEST.format(mark="", name="one", parameter="") + TEST.format(mark="", name="two", parameter="")
    options = ("--asyncio-mode=auto", "-o", "asyncio_default_test_loop_scope=session")
    run("-p", "asyncio", *options, test_them=them).assert_outcomes(passed=2)


def test_they_work_with_anyio_alone(run):
    them = HEAD + WORK + TEST.format(mark="", name="one", parameter="-asyncio")
    them += TEST.format(mark="@pytest.mark.anyio", name="two", parameter="-asyncio")
    run("-p", "anyio", "--anyio-mode=auto", test_them=them).assert_outcomes(passed=2)


def test_they_work_with_both_plugins_in_one_run(run):
    backend = "\n@pytest.fixture(scope='module')\ndef anyio_backend():\n    return 'asyncio'\n"
    tests = [("one", "pytest.mark.anyio"), ("two", FUNCTION), ("three", "pytest.mark.anyio"), ("four", MODULE)]
    run(*BOTH, test_them=suite(*tests) + backend).assert_outcomes(passed=4)


def test_fixtures_of_users_build_on_them_and_the_first_example_of_the_page_works(run):
    ours = (
        HEAD
        + """
import pytest_asyncio
from dataclasses import replace
from flowctl_aio import FlowctlSession, ServiceInfo, ServiceType

@pytest.fixture
def flowctl_config(flowctl_config):
    return replace(flowctl_config, dialect="classic")

@pytest_asyncio.fixture
async def mine(flowctl_config, flowctl_session):
    async with FlowctlSession(ServiceInfo("mine", ServiceType.PIPELINE), flowctl_config) as session:
        yield session

@pytest.mark.asyncio
async def test_it(mine, flowctl_session):
    assert mine.state is flowctl_session.state is State.REGISTERED
    assert mine.dialect.value == flowctl_session.dialect.value == "classic"
"""
    )
    page = (ROOT / "docs" / "testing.md").read_text()
    example = page.partition("```python\n")[2].partition("```")[0]
    run("-p", "asyncio", test_ours=ours, test_page=example).assert_outcomes(passed=2)


def test_a_mark_has_the_settings(run):
    marked = (
        HEAD
        + """
pytestmark = [pytest.mark.anyio, pytest.mark.flowctl(dialect="classic", heartbeat_ttl=0.2, janitor_interval=0.05)]

@pytest.mark.flowctl(heartbeat_interval=30.0)
async def test_the_nearer_mark_wins(flowctl_session, flowctl_plane):
    assert flowctl_session.dialect.value == "classic"
    assert flowctl_session.config.heartbeat_interval == 30
    await flowctl_plane.wait_registered(flowctl_session.service_id, Health.UNHEALTHY)

@pytest.mark.flowctl(heartbeat=3)
async def test_a_wrong_name(flowctl_session): ...

@pytest.mark.flowctl("classic")
async def test_no_name(flowctl_session): ...

@pytest.mark.flowctl(dialect="v2")
async def test_a_wrong_value(flowctl_session): ...
"""
    )
    result = run("-p", "anyio", test_marked=marked)
    result.assert_outcomes(passed=1, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*UsageError: pytest.mark.flowctl has no setting 'heartbeat'; *",
            "*UsageError: test_marked.py::test_no_name*: pytest.mark.flowctl takes settings by name, not ('classic',)",
            "*ConfigError: *dialect must be *, not 'v2'",
        ]
    )


def test_a_test_without_a_loop_hears_what_it_needs(run):
    result = run(*BOTH, test_sync="def test_sync(flowctl_session): ...")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["flowctl_plane runs in the loop of its test, and test_sync.py::test_sync has none: *"])


def test_a_test_under_trio_is_skipped_with_the_reason(run):
    trio = """
import pytest

@pytest.fixture
def anyio_backend():
    return "trio"

@pytest.mark.usefixtures("anyio_backend")
def test_it(flowctl_plane): ...
"""
    result = run("-p", "anyio", "-rs", test_trio=trio)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*flowctl_aio runs on asyncio: gRPC knows no other loop"])


ROUGH = """
from flowctl_aio import FlowctlSession, ServiceInfo, ServiceType
pytestmark = {mark}

async def test_that_fails(flowctl_session):
    assert flowctl_session.service_id == "nobody"

async def test_that_raises(flowctl_serve):
    await flowctl_serve(EchoProcessor())
    raise KeyError("mine")

async def test_that_leaves_a_session_open(flowctl_config):
    await FlowctlSession(ServiceInfo("open", ServiceType.PIPELINE), flowctl_config).__aenter__()

async def test_whose_task_fails(flowctl_session):
    async def fail():
        raise KeyError("theirs")

    flowctl_session.start_soon(fail)
    await flowctl_session.wait_stopped()

async def test_that_leaves_the_plane_down(flowctl_session, flowctl_plane):
    await flowctl_plane.down()

async def test_that_leaves_calls_hanging(flowctl_session, flowctl_plane):
    await flowctl_plane.hanging().__aenter__()

async def test_that_comes_after(flowctl_session):
    assert flowctl_session.state is State.REGISTERED
"""


def test_a_test_that_fails_or_leaves_things_open_harms_no_other(run):
    marks = {"test_function": FUNCTION, "test_module": MODULE, "test_anyio": "pytest.mark.anyio"}
    result = run(*BOTH, **{name: HEAD + ROUGH.format(mark=mark) for name, mark in marks.items()})
    result.assert_outcomes(passed=15, failed=6, errors=3)
    result.stdout.fnmatch_lines(["ERROR test_*::test_whose_task_fails* - KeyError: 'theirs'"] * 3)
    result.stdout.fnmatch_lines(["E*AssertionError: assert 'test_that_fails*' == 'nobody'", "E*KeyError: 'mine'"])


@pytest.mark.parametrize("others", [(), ("-p", "asyncio"), ("-p", "anyio")])
def test_nothing_heavy_is_imported_until_a_test_asks(run, others):
    light = """
import sys

def test_light(request):
    heavy = {"grpc", "pyarrow", "google.protobuf", "flowctl_aio.session", "environs"}
    has = request.config.pluginmanager.has_plugin
    heavy |= set() if has("asyncio") else {"pytest_asyncio"}
    heavy |= set() if has("asyncio") or has("anyio") else {"asyncio", "anyio"}
    assert not heavy & set(sys.modules)
"""
    run(*others, test_light=light).assert_outcomes(passed=1)


def test_the_fixtures_and_the_mark_are_listed_and_their_twins_are_not(run):
    fixtures = run(*BOTH, "--fixtures", test_none="").stdout.str()
    for name in ("flowctl_plane", "flowctl_config", "flowctl_session", "flowctl_serve"):
        assert f"\n{name} -- " in fixtures
    assert "_flowctl" not in fixtures
    assert "@pytest.mark.flowctl(**settings): " in run(*BOTH, "--markers", test_none="").stdout.str()
