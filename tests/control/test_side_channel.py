"""What a service is, through the metrics of a classic plane and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio import EmbeddedControlPlane
from flowctl_aio import _wire as wire
from flowctl_aio.control import messages
from flowctl_aio.control.side_channel import (
    MAX_ENTRIES,
    MAX_OF_A_KIND,
    MAX_TEXT,
    PREFIX,
    is_secret,
    read_side_channel,
    side_channel,
)
from flowctl_aio.transport.call import call_unary
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.types import ServiceInfo, ServiceType

from .statuses import quick

BARE = ServiceInfo("ttp", ServiceType.PROCESSOR)
FULL = ServiceInfo(
    "ttp",
    ServiceType.PROCESSOR,
    ("stellar_ledger_service.StellarLedger",),
    ("ttp_event_service.TTPEvent", "x/y=z"),
    endpoint="10.0.0.7:50051",
    max_inflight=16,
    metadata={"network": "testnet", "network_passphrase": "Test SDF Network ; September 2015", "a=b/c": "100 %"},
    name="Token transfers",
    version="1.2.3",
    description="läuft",
)

_TEXT = st.text("aB9 .:/=%+ñ£文;,#", min_size=1, max_size=12)
_TYPES = st.lists(_TEXT, max_size=5, unique=True).map(sorted).map(tuple)
_ENDPOINTS = st.sampled_from(["", "localhost:1", ":8815", "[::1]:65535", "dns:///a.b:1", "unix:///run/a b"])
_METADATA = st.dictionaries(_TEXT, _TEXT, max_size=5)


@quick
@given(
    st.builds(
        ServiceInfo,
        st.just("ttp"),
        st.just(ServiceType.PROCESSOR),
        _TYPES,
        _TYPES,
        _ENDPOINTS,
        st.integers(0, 10**9 - 1),
        _METADATA,
        st.just("") | _TEXT,
        st.just("") | _TEXT,
    ),
    st.dictionaries(st.text("abc_", max_size=4), st.floats(allow_nan=False), max_size=3),
)
def test_what_a_service_is_survives_and_its_numbers_stay_apart(info, numbers):
    entries = side_channel(info)
    assert len(entries) <= MAX_ENTRIES
    assert all(name.startswith(PREFIX) and name.isascii() for name in entries)
    back, rest = read_side_channel(BARE, {**numbers, **entries})
    assert rest == numbers
    assert back == info


@pytest.mark.anyio
async def test_a_classic_plane_tells_the_others_all_of_a_service():
    async with EmbeddedControlPlane() as plane, open_control_channel(plane.endpoint) as channel:

        async def ask(method, request, answer):
            return await call_unary(channel, f"/flowctl.ControlPlane/{method}", request, answer, timeout=5)

        await ask("Register", messages.info_to_classic(FULL, "ttp"), wire.RegistrationAck)
        beat = wire.ServiceHeartbeat(service_id="ttp", metrics={**side_channel(FULL), "n": 2.5})
        await ask("Heartbeat", beat, wire.Empty)
        (told,) = (await ask("ListServices", wire.Empty(), wire.ServiceList)).services
        status = messages.status_from_classic(told)
        assert (status.info, status.metrics) == (FULL, {"n": 2.5})


def test_entries_read_as_what_they_say():
    assert set(side_channel(FULL)) == {
        "flowctl.info/endpoint=10.0.0.7:50051",
        "flowctl.info/max_inflight=16",
        "flowctl.info/name=Token%20transfers",
        "flowctl.info/version=1.2.3",
        "flowctl.info/description=l%C3%A4uft",
        "flowctl.info/input=stellar_ledger_service.StellarLedger",
        "flowctl.info/output=ttp_event_service.TTPEvent",
        "flowctl.info/output=x/y%3Dz",
        "flowctl.info/meta/network=testnet",
        "flowctl.info/meta/network_passphrase=Test%20SDF%20Network%20%3B%20September%202015",
        "flowctl.info/meta/a%3Db%2Fc=100%20%25",
    }
    assert side_channel(BARE) == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("password", "x"),
        ("API-Key", "x"),
        ("aws_secret_access_key", "x"),
        ("auth", "x"),
        ("db", "postgres://me:word@host/db"),
        ("note", "S" + "A" * 55),
    ],
)
def test_what_looks_like_a_secret_is_never_sent(key, value):
    assert is_secret(key, value)
    assert side_channel(replace(BARE, metadata={key: value})) == {}
    if value != "x":
        assert side_channel(replace(BARE, description=value, output_event_types=(value,))) == {}


def test_what_is_too_much_or_cannot_be_shown_is_left_out():
    many = tuple(f"type-{number:03}" for number in range(100))
    odd = {"long": "x" * (MAX_TEXT + 1), "longer when escaped": "文" * MAX_TEXT, "bell": "\a", "broken": "\ud800"}
    info = replace(BARE, input_event_types=many, metadata=odd)
    assert set(side_channel(info)) == {f"{PREFIX}input={name}" for name in many[:MAX_OF_A_KIND]}
    for endpoint in ("http://localhost:8088/health", "nowhere", "a b:1"):
        assert side_channel(replace(BARE, endpoint=endpoint)) == {}


@quick
@given(
    st.dictionaries(
        st.text("aeimnotu/=%2Fdp:1\ud800\n", max_size=20).map(lambda text: PREFIX + text)
        | st.sampled_from([PREFIX + "endpoint=", PREFIX + "input=", PREFIX + "meta/a=", PREFIX + "max_inflight=9e9"]),
        st.floats(),
    )
)
def test_rubbish_is_taken_out_and_breaks_nothing(metrics):
    info, rest = read_side_channel(BARE, {**metrics, "n": 1.0})
    assert rest == {"n": 1.0}
    assert info.endpoint == "" or ":" in info.endpoint
    for text in (*info.input_event_types, *info.output_event_types, *info.metadata, *info.metadata.values()):
        assert text
        assert text.isprintable()


def test_a_flood_is_bounded():
    flood = {f"{PREFIX}{kind}{number}": 1.0 for kind in ("input=", "meta/k{}=") for number in range(10_000)}
    flood |= {f"{PREFIX}meta/{number}=x": 1.0 for number in range(10_000)} | {f"{PREFIX}name={'x' * 10_000}": 2.0}
    info, rest = read_side_channel(BARE, flood)
    assert rest == {}
    assert len(info.input_event_types) <= MAX_OF_A_KIND
    assert len(info.metadata) <= MAX_OF_A_KIND
    assert info.name == ""


def test_of_two_entries_the_larger_value_wins_and_one_that_is_taken_back_does_not_count():
    metrics = {
        f"{PREFIX}endpoint=new:1": 2.0,
        f"{PREFIX}endpoint=old:1": 1.0,
        f"{PREFIX}output=A": 0.0,
        f"{PREFIX}output=B": 1.0,
        f"{PREFIX}output=C": float("nan"),
        f"{PREFIX}meta/k=1": 1.0,
        f"{PREFIX}meta/k=2": 1.0,
    }
    for order in (sorted(metrics), sorted(metrics, reverse=True)):
        info, _ = read_side_channel(BARE, {name: metrics[name] for name in order})
        assert (info.endpoint, info.output_event_types, info.metadata) == ("new:1", ("B",), {"k": "2"})


def test_the_entries_of_a_classic_service_are_not_numbers_in_v1_either():
    message = wire.v1.ComponentStatusResponse(
        component=messages.info_to_v1(FULL), metrics=dict.fromkeys((*side_channel(FULL), "n"), "1")
    )
    assert messages.status_from_v1(message).metrics == {"n": 1.0}
