"""Claims about importing the package: what is loaded and read by it, and what only when it is asked for."""

import ast
import subprocess
import sys

import pytest

from flowctl_aio import _wire as wire

from .table import CLASSIC_ENUMS, CLASSIC_MESSAGES, CLASSIC_SERVICES, V1_ENUMS, V1_MESSAGES, V1_SERVICES


def modules_after(code):
    """Names of the modules loaded, and of the environment variables read, by a fresh interpreter that runs `code`."""
    program = f"""
import os, sys
known = set(sys.modules)
read = []
class Environment(type(os.environ)):
    def __getitem__(self, key):
        read.append(key)
        return super().__getitem__(key)
    def __iter__(self):
        read.append("*")
        return super().__iter__()
os.environ.__class__ = Environment
{code}
print((sorted(set(sys.modules) - known), read))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50)
    loaded, read = ast.literal_eval(done.stdout)
    return {name.partition(".")[0] for name in loaded}, read


@pytest.mark.parametrize("name", ["flowctl_aio", "flowctl_aio._wire"])
def test_importing_does_not_load_grpc(name):
    loaded, _ = modules_after(f"import {name}")
    assert "flowctl_aio" in loaded
    assert "grpc" not in loaded


def test_importing_the_package_loads_nothing_heavy_and_reads_no_environment():
    loaded, read = modules_after("import flowctl_aio")
    assert not loaded & {"grpc", "pyarrow", "google", "anyio", "environs", "asyncio"}
    assert read == []


def test_the_test_above_would_notice_a_read_of_the_environment():
    _, read = modules_after("os.environ.get('FLOWCTL_ENDPOINT'); os.getenv('ENABLE_FLOWCTL')")
    assert read == ["FLOWCTL_ENDPOINT", "ENABLE_FLOWCTL"]


@pytest.mark.parametrize(
    ("dialect", "services"), [("wire", CLASSIC_SERVICES), ("wire.v1", V1_SERVICES)], ids=["classic", "v1"]
)
def test_a_stub_or_a_servicer_loads_grpc_when_it_is_asked_for(dialect, services):
    names = [name for service in services for name in (f"{service}Stub", f"{service}Servicer")]
    names += [f"add_{service}Servicer_to_server" for service in services]
    asked = "".join(f"assert callable({dialect}.{name})\n" for name in names)
    loaded, _ = modules_after(f"from flowctl_aio import _wire as wire\nassert 'grpc' not in sys.modules\n{asked}")
    assert "grpc" in loaded


@pytest.mark.parametrize("name", ["Nothing", "NothingStub", "LedgerSource", "add_LedgerSource", "Stub", "Servicer", ""])
@pytest.mark.parametrize("dialect", [wire, wire.v1], ids=["classic", "v1"])
def test_an_unknown_name_is_an_attribute_error(dialect, name):
    with pytest.raises(AttributeError):
        getattr(dialect, name)


@pytest.mark.parametrize(
    ("dialect", "names"),
    [(wire, CLASSIC_MESSAGES | CLASSIC_ENUMS), (wire.v1, V1_MESSAGES | V1_ENUMS)],
    ids=["classic", "v1"],
)
def test_every_message_and_enum_is_at_hand_under_its_own_name(dialect, names):
    for name in names:
        assert getattr(dialect, name).DESCRIPTOR.name == name
