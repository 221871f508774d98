"""Tokens and API keys: shown with calls of every kind, demanded of calls of every kind, never told to anybody."""

from __future__ import annotations

import logging

import anyio
import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.config import FlowctlConfig
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.errors import ConfigError, PeerError, RegistrationError
from flowctl_aio.plane import EmbeddedControlPlane
from flowctl_aio.security import Admission, Credentials
from flowctl_aio.transport.blocking import BlockingChannel
from flowctl_aio.transport.call import open_call
from flowctl_aio.transport.channel import open_control_channel
from flowctl_aio.transport.server import open_server
from flowctl_aio.types import ServiceInfo, ServiceType

from .calls import KINDS, Echoes, ask, dial

pytestmark = pytest.mark.anyio
TTP = ServiceInfo("ttp", ServiceType.PIPELINE)
OPEN_SESAME = Admission(tokens=frozenset({"open-sesame", "mellon"}))
SHOWN = {
    "a token": (Credentials(token="open-sesame"), None),
    "the other token": (Credentials(token="mellon"), None),
    "an API key": (Credentials(api_key="mellon"), None),
    "a wrong token, a good key": (Credentials(token="wrong", api_key="mellon"), None),
    "nothing": (None, "asks for a token"),
    "a wrong token": (Credentials(token="open-sesam"), "none of those"),
    "a wrong API key": (Credentials(api_key="open-sesame-"), "none of those"),
}


@pytest.fixture(params=SHOWN)
def case(request):
    return SHOWN[request.param]


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_of_every_kind_are_let_in_by_a_token_alone(kind, case):
    credentials, problem = case
    echoes = Echoes()
    async with (
        open_server(echoes.services(), admission=OPEN_SESAME) as server,
        dial(server.endpoint, credentials=credentials) as channel,
    ):
        if problem is None:
            await ask(channel, kind)
        else:
            with pytest.raises(PeerError, match=problem) as caught:
                await ask(channel, kind)
            assert caught.value.code == "UNAUTHENTICATED"
    assert echoes.reached == (problem is None)


async def test_a_thread_shows_the_same(case):
    credentials, problem = case

    def beat(endpoint: str) -> None:
        with BlockingChannel(endpoint, credentials=credentials) as channel:
            channel.call("/svc/Unary", wire.Empty(), wire.Pong, timeout=5)

    async with open_server(Echoes().services(), admission=OPEN_SESAME) as server:
        if problem is None:
            await anyio.to_thread.run_sync(beat, server.endpoint)
            return
        with pytest.raises(PeerError, match=problem) as caught:
            await anyio.to_thread.run_sync(beat, server.endpoint)
        assert caught.value.code == "UNAUTHENTICATED"


async def test_a_plane_registers_only_those_that_it_lets_in(case):
    credentials, problem = case
    async with (
        EmbeddedControlPlane(admission=OPEN_SESAME) as plane,
        open_control_channel(plane.endpoint, credentials=credentials) as channel,
    ):
        client = PlaneClient(channel, FlowctlConfig())
        if problem is None:
            await client.register(TTP, timeout=5)
            return
        with pytest.raises(RegistrationError, match=f"UNAUTHENTICATED: check the token.*{problem}"):
            await client.register(TTP, timeout=5)
        assert plane.services() == []


@pytest.mark.parametrize("kind", ["Up", "Both"])
async def test_a_call_is_refused_before_its_first_message(kind):
    async with (
        open_server(Echoes().services(), admission=OPEN_SESAME) as server,
        dial(server.endpoint) as channel,
        open_call(channel, f"/svc/{kind}", answers=kind == "Both") as call,
    ):
        with pytest.raises(PeerError, match="UNAUTHENTICATED"):
            await (call.read() if kind == "Both" else call.result())


async def test_who_shows_no_token_does_not_learn_which_methods_there_are():
    async with open_server(Echoes().services(), admission=OPEN_SESAME) as server:
        for credentials, code in ((None, "UNAUTHENTICATED"), (Credentials(token="mellon"), "UNIMPLEMENTED")):
            async with dial(server.endpoint, credentials=credentials) as channel:
                with pytest.raises(PeerError) as caught:
                    await ask(channel, service="hidden")
                assert caught.value.code == code


async def test_probes_of_health_need_no_token_unless_the_server_wants_one():
    health = "grpc.health.v1.Health"
    services = {**Echoes().services(), **Echoes().services(health)}
    async with open_server(services, admission=OPEN_SESAME) as server, dial(server.endpoint) as channel:
        await ask(channel, service=health)
    async with (
        open_server(services, admission=OPEN_SESAME, open_services=frozenset()) as server,
        dial(server.endpoint) as channel,
    ):
        with pytest.raises(PeerError, match="UNAUTHENTICATED"):
            await ask(channel, service=health)


async def test_a_certificate_and_a_token_can_both_be_demanded(ours):
    tls = ours.server(client_ca=ours.ca)
    async with open_server(Echoes().services(), tls=tls, admission=OPEN_SESAME) as server:
        async with dial(server.endpoint, tls=ours.client("client"), credentials=Credentials(token="mellon")) as channel:
            await ask(channel)
        async with dial(server.endpoint, tls=ours.client("client")) as channel:
            with pytest.raises(PeerError, match="UNAUTHENTICATED"):
                await ask(channel)
        async with dial(server.endpoint, tls=ours.client(), credentials=Credentials(token="mellon")) as channel:
            with pytest.raises(ConnectionError, match="client certificate"):
                await ask(channel)


# Rotation


@pytest.mark.parametrize("kind", KINDS)
async def test_a_token_that_rotates_on_both_ends_goes_on_letting_in(folder, kind):
    folder.put("tokens", b"# this month\nfirst\n")
    folder.put("token", b"first\n")
    admission = Admission(tokens_file=folder.file("tokens"))
    async with (
        open_server(Echoes().services(), admission=admission) as server,
        dial(server.endpoint, credentials=Credentials(token_file=folder.file("token"))) as channel,
    ):
        await ask(channel, kind)
        folder.put("tokens", b"first\n\nsecond\n")
        await ask(channel, kind)
        folder.put("token", b"second\n")
        await ask(channel, kind)
        folder.put("tokens", b"second\n")
        await ask(channel, kind)
        folder.put("token", b"first\n")
        with pytest.raises(PeerError, match="none of those"):
            await ask(channel, kind)


async def test_an_api_key_is_read_again_too(folder):
    folder.put("key", b"first")
    async with (
        open_server(Echoes().services(), admission=Admission(tokens=frozenset({"second"}))) as server,
        dial(server.endpoint, credentials=Credentials(api_key_file=folder.file("key"))) as channel,
    ):
        with pytest.raises(PeerError):
            await ask(channel)
        folder.put("key", b"second")
        await ask(channel)


@pytest.mark.parametrize("bad", [b"", b"two\nlines", b"not-ascii-\xc3\xa9", b"x" * 10_000, None])
async def test_a_bad_change_of_a_token_file_leaves_the_last_good_token(folder, bad, caplog):
    folder.put("token", b"mellon")
    async with (
        open_server(Echoes().services(), admission=OPEN_SESAME) as server,
        dial(server.endpoint, credentials=Credentials(token_file=folder.file("token"))) as channel,
    ):
        folder.put("token", bad)
        for _ in range(3):
            await ask(channel)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert folder.file("token") in warnings[0]
    assert "two" not in warnings[0].replace(str(folder.path), "")


async def test_a_bad_change_of_the_accepted_tokens_lets_in_whom_it_let_in_before(folder):
    folder.put("tokens", b"mellon\n")
    async with (
        open_server(Echoes().services(), admission=Admission(tokens_file=folder.file("tokens"))) as server,
        dial(server.endpoint, credentials=Credentials(token="mellon")) as channel,
    ):
        folder.put("tokens", b"\n# nobody\n")
        await ask(channel)


# What is said when a token is unfit, and what is not


@pytest.mark.parametrize(
    ("credentials", "problem"),
    [
        ({"token": "two words"}, "token must be one line of visible ASCII"),
        ({"api_key": "line\nbreak"}, "api_key must be one line of visible ASCII"),
        ({"token": "x" * 10_000}, "token is longer than"),
        ({"token_file": "{}/missing"}, "token_file .*/missing cannot be read: No such file"),
        ({"token_file": "{}"}, "token_file .* cannot be read: Is a directory"),
        ({"api_key_file": "{}/bad"}, "api_key_file .*/bad must be one line of visible ASCII"),
        ({"token_file": "{}/long"}, "token_file .*/long is longer than"),
    ],
)
async def test_an_unfit_token_is_refused_at_the_start_by_its_name_alone(tmp_path, credentials, problem):
    (tmp_path / "bad").write_bytes(b"hunter 2\nhunter 3")
    (tmp_path / "long").write_bytes(b"x" * 100_000)
    shown = Credentials(**{name: text.format(tmp_path) for name, text in credentials.items()})
    with pytest.raises(ConfigError, match=problem) as caught:
        async with dial("127.0.0.1:1", credentials=shown):
            pass
    with pytest.raises(ConfigError, match=problem):
        BlockingChannel("127.0.0.1:1", credentials=shown)
    for secret in ("two words", "line\nbreak", "xxx", "hunter"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"good\nnot good\n", "line 2 of the accept tokens file .* must be one line of visible ASCII"),
        (b"# nobody\n", "holds no token"),
        (b"x\n" * 1_000_000, "is longer than"),
        (None, "cannot be read"),
    ],
)
async def test_unfit_accepted_tokens_are_refused_at_the_start(tmp_path, content, problem):
    if content is not None:
        (tmp_path / "tokens").write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        async with open_server({}, admission=Admission(tokens_file=str(tmp_path / "tokens"))):
            pass
    assert "not good" not in str(caught.value)
    with pytest.raises(ConfigError, match="a token to accept"):
        async with open_server({}, admission=Admission(tokens=frozenset({"not good"}))):
            pass


async def test_a_token_never_goes_to_another_machine_in_clear_unless_the_user_says_so(caplog):
    shown = Credentials(token="mellon")
    with pytest.raises(ConfigError, match="insecure"):
        async with dial("plane.example:1", credentials=shown):
            pass
    assert caplog.messages == []
    async with dial("plane.example:1", credentials=shown, insecure=True):
        pass
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "in clear" in caplog.text
    caplog.clear()
    async with open_server({}, "0.0.0.0:0", admission=OPEN_SESAME, insecure=True):
        pass
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "mellon" not in caplog.text


async def test_refusals_are_logged_seldom(caplog):
    async with open_server(Echoes().services(), admission=OPEN_SESAME) as server, dial(server.endpoint) as channel:
        for _ in range(10):
            with pytest.raises(PeerError):
                await ask(channel)
    assert len([line for line in caplog.messages if "is not let in to /svc/Unary" in line]) == 1


async def test_no_token_stands_in_a_repr_a_log_or_an_error(caplog):
    caplog.set_level(logging.DEBUG)
    shown = Credentials(token="hunter2", api_key="hunter3")
    async with (
        open_server(Echoes().services(), admission=OPEN_SESAME) as server,
        dial(server.endpoint, credentials=shown) as channel,
    ):
        with pytest.raises(PeerError) as caught:
            await ask(channel)
    said = f"{caplog.text} {caught.value!r} {caught.value} {vars(caught.value)} {channel!r} {shown!r} {OPEN_SESAME!r}"
    assert "is not let in to /svc/Unary" in said
    assert "hunter" not in said
    assert "mellon" not in said
