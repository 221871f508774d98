"""Sessions that prove who they are, to the plane and to one another; and what they say when they cannot."""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import replace

import aiohttp
import anyio
import pytest
from anyio import to_thread

from flowctl_aio import EmbeddedControlPlane, FlowctlConfig, FlowctlSession, Source, State
from flowctl_aio.batches import LedgerBatch
from flowctl_aio.errors import PeerError, PeerUnavailableError, RegistrationError
from flowctl_aio.security import Admission
from flowctl_aio.types import Health, RawLedger
from tests.scenarios.conftest import cli as cli
from tests.security.conftest import folder as folder
from tests.security.conftest import ours as ours
from tests.security.conftest import theirs as theirs

from .conftest import INFO, Numbers

pytestmark = pytest.mark.anyio
TOKEN, NEXT_TOKEN, STRANGE_TOKEN = "sesame-of-today", "sesame-of-tomorrow", "sesame-of-somebody-else"


class Gated(Source):
    """Gives one ledger, and the others once its gate opens."""

    component_id, outputs = "gated", ("L",)

    def __init__(self) -> None:
        self.gate = anyio.Event()

    async def stream(self, request):
        for sequence in range(request.start, request.end + 1):
            yield LedgerBatch.from_ledgers([RawLedger(sequence, b"")])
            await self.gate.wait()


@pytest.fixture
def files(folder):
    """The folder, with tokens beside the certificates."""
    folder.put("accepted", TOKEN.encode())
    folder.put("token", TOKEN.encode())
    folder.put("strange", STRANGE_TOKEN.encode())
    return folder


@pytest.fixture
async def plane(files):
    admission = Admission(tokens_file=files.file("accepted"))
    async with EmbeddedControlPlane(tls=files.server_tls(), admission=admission) as plane:
        yield plane


@pytest.fixture
def config(plane, files) -> FlowctlConfig:
    """All that the plane wants to see, and the data plane wants the same."""
    return FlowctlConfig(
        endpoint=plane.endpoint,
        heartbeat_interval=0.1,
        drain_timeout=2.0,
        tls_ca=files.file("ca.pem"),
        tls_cert=files.file("client.pem"),
        tls_key=files.file("client.key"),
        token_file=files.file("token"),
        serve_tls_cert=files.file("server.pem"),
        serve_tls_key=files.file("server.key"),
        serve_tls_client_ca=files.file("ca.pem"),
        accept_tokens_file=files.file("accepted"),
    )


async def numbers_of(client, first: int, last: int) -> list[int]:
    async with client.stream(first, last) as stream:
        return [ledger.sequence async for batch in stream for ledger in batch]


@pytest.mark.parametrize("dialect", ["v1", "classic"])
@pytest.mark.parametrize("wants_client", [False, True], ids=["tls", "mtls"])
async def test_a_session_registers_beats_asks_and_streams(files, config, dialect, wants_client):
    tls = files.server_tls() if wants_client else replace(files.server_tls(), client_ca="")
    admission = Admission(tokens_file=files.file("accepted"))
    async with EmbeddedControlPlane(tls=tls, admission=admission) as plane:
        config = replace(config, endpoint=plane.endpoint, dialect=dialect)
        if not wants_client:
            config = replace(config, tls_cert="", tls_key="", serve_tls_client_ca="")
        async with FlowctlSession(Numbers(), config) as source, FlowctlSession(INFO, config) as reader:
            with anyio.fail_after(5):
                await plane.wait_for_service("numbers", Health.HEALTHY)
                await plane.wait_until(lambda: reader.metrics()["heartbeats_total"] >= 3)
            assert {status.service_id for status in await reader.list_services()} == {"numbers", "svc"}
            async with reader.source() as client:  # found by discovery
                assert await numbers_of(client, 1, 5) == [1, 2, 3, 4, 5]
            assert reader.metrics()["heartbeats_missed_total"] == source.metrics()["heartbeats_missed_total"] == 0
        assert plane.services() == []


UNTRUSTED = {
    "another CA": (lambda files, theirs: {"tls_ca": theirs.ca}, "check the CA"),
    "no client certificate": (lambda files, theirs: {"tls_cert": "", "tls_key": ""}, "client certificate"),
    "another client certificate": (
        lambda files, theirs: dict(zip(("tls_cert", "tls_key"), theirs.pairs["client"], strict=True)),
        "client certificate",
    ),
    "another name": (lambda files, theirs: {"tls_server_name": "plane.example"}, "check the server name"),
    "no TLS at all": (
        lambda files, theirs: {"tls_ca": "", "tls_cert": "", "tls_key": "", "token_file": ""},
        "TLS",
    ),
}


@pytest.mark.parametrize("case", UNTRUSTED)
async def test_a_connection_that_cannot_be_trusted_degrades_with_a_sentence_about_it(files, config, theirs, case):
    settings, sentence = UNTRUSTED[case]
    config = replace(config, **settings(files, theirs))
    async with FlowctlSession(INFO, replace(config, health_bind="127.0.0.1:0")) as session:
        assert session.state is State.DEGRADED
        async with aiohttp.ClientSession(f"http://{session.health_endpoint}") as http, http.get("/health") as answer:
            [reason] = (await answer.json())["reasons"]
        assert re.search(sentence, reason), reason
        assert "TLS" in reason


@pytest.mark.parametrize("token_file", ["", "strange"])
async def test_a_token_that_the_plane_does_not_know_is_a_clear_error(files, config, token_file):
    config = replace(config, token_file=token_file and files.file(token_file))
    with pytest.raises(RegistrationError, match="UNAUTHENTICATED: check the token") as caught:
        async with FlowctlSession(INFO, config):
            pytest.fail("entered")
    assert STRANGE_TOKEN not in str(caught.value)


async def test_a_token_that_is_revoked_degrades_with_a_sentence_about_it_and_heals(files, plane, config):
    async with FlowctlSession(INFO, config) as session:
        changes = session.changes()
        files.put("accepted", NEXT_TOKEN.encode())
        with anyio.fail_after(5):
            change = await anext(changes)
            assert change.after is State.DEGRADED
            assert "check the token" in change.why
            assert TOKEN not in change.why
            files.put("token", NEXT_TOKEN.encode())
            assert (await anext(changes)).after is State.REGISTERED


PEERS = {
    "another CA": (lambda files, theirs: {"tls_ca": theirs.ca}, PeerUnavailableError, "check the CA"),
    "no client certificate": (
        lambda files, theirs: {"tls_cert": "", "tls_key": ""},
        PeerUnavailableError,
        "client certificate",
    ),
    "no TLS at all": (
        lambda files, theirs: {"tls_ca": "", "tls_cert": "", "tls_key": "", "token_file": ""},
        PeerUnavailableError,
        "TLS",
    ),
    "no token": (lambda files, theirs: {"token_file": ""}, PeerError, "UNAUTHENTICATED: check the token"),
    "another token": (
        lambda files, theirs: {"token_file": files.file("strange")},
        PeerError,
        "UNAUTHENTICATED: check the token",
    ),
}


@pytest.mark.parametrize("case", PEERS)
async def test_a_source_lets_in_only_whom_it_may(files, config, theirs, case):
    settings, kind, sentence = PEERS[case]
    away = replace(config, enabled=False)
    reading = replace(away, **settings(files, theirs))
    async with FlowctlSession(Numbers(), away) as source, FlowctlSession(INFO, reading) as reader:
        with pytest.raises(kind, match=sentence) as caught:
            async with reader.source(source.endpoint) as client:
                await numbers_of(client, 1, 3)
        assert STRANGE_TOKEN not in str(caught.value)


@pytest.mark.parametrize("dialect", ["v1", "classic"])
async def test_certificates_and_tokens_rotate_under_a_registration_and_a_stream(
    files, plane, config, theirs, dialect, until
):
    config = replace(config, dialect=dialect)
    component = Gated()
    async with FlowctlSession(component, config) as source, FlowctlSession(INFO, config) as reader:
        changes = [source.changes(), reader.changes()]
        before = {status.service_id: status.registered_at for status in plane.services()}
        async with reader.source() as client, client.stream(1, 5) as stream:
            got = [ledger.sequence for ledger in await anext(stream)]
            files.put("accepted", f"{TOKEN}\n{NEXT_TOKEN}".encode())
            files.put("token", NEXT_TOKEN.encode())
            files.put_all(theirs)
            seen = [session.metrics()["heartbeats_total"] for session in (source, reader)]
            await until(lambda: source.metrics()["heartbeats_total"] >= seen[0] + 5)
            files.put("accepted", NEXT_TOKEN.encode())
            await until(lambda: reader.metrics()["heartbeats_total"] >= seen[1] + 10)
            component.gate.set()
            got += [ledger.sequence async for batch in stream for ledger in batch]
            assert got == [1, 2, 3, 4, 5]
            # New streams come about with what is shown now.
            assert await numbers_of(client, 1, 2) == [1, 2]
        async with reader.source() as client:
            assert await numbers_of(client, 1, 2) == [1, 2]
        assert {status.service_id: status.registered_at for status in plane.services()} == before
        for session in (source, reader):
            metrics = session.metrics()
            assert (metrics["registrations_total"], metrics["heartbeats_missed_total"]) == (1, 0)
    for told in changes:
        assert [change.after async for change in told] == [State.DRAINING, State.CLOSED]


async def test_a_thread_beats_over_mtls_with_a_token(files, config, cli, until):
    process = cli.start(
        "plane",
        "--bind=127.0.0.1:0",
        f"--tls-cert={files.file('server.pem')}",
        f"--tls-key={files.file('server.key')}",
        f"--tls-client-ca={files.file('ca.pem')}",
        f"--accept-tokens-file={files.file('accepted')}",
    )
    endpoint = json.loads(await to_thread.run_sync(process.stdout.readline))["endpoint"]
    config = replace(config, endpoint=endpoint, heartbeat_mode="thread", heartbeat_interval=0.2)
    async with FlowctlSession(INFO, config) as session:
        await until(lambda: session.metrics()["heartbeats_total"] >= 1)
        time.sleep(1.2)  # noqa: ASYNC251 - the fault under test
        assert session.metrics()["heartbeats_standby_total"] >= 3
        seen = session.metrics()["heartbeats_total"]
        await until(lambda: session.metrics()["heartbeats_total"] >= seen + 2)
        assert session.state is State.REGISTERED
        assert session.metrics()["heartbeats_missed_total"] == 0


@pytest.mark.parametrize("mode", ["loop", "thread"])
async def test_no_secret_is_seen_anywhere(files, config, ours, caplog, until, mode):
    caplog.set_level(logging.DEBUG)
    key, api_key = ours.pairs["client"][1], "key-of-the-house"
    config = replace(
        config,
        token=TOKEN,
        token_file="",
        api_key=api_key,
        tls_cert=ours.pairs["client"][0],
        tls_key=key,
        health_bind="127.0.0.1:0",
        heartbeat_mode=mode,
    )
    async with FlowctlSession(Numbers(), config) as session, FlowctlSession(INFO, config) as reader:
        await until(lambda: session.metrics()["heartbeats_total"] >= 2)
        async with reader.source() as client:
            await numbers_of(client, 1, 2)
        told = [repr(session), repr(config), repr(session.info), json.dumps(await session.health_report(), default=str)]
        told += [repr(status) for status in await session.list_services()]
        # Also while nothing is in order any more.
        files.put("accepted", NEXT_TOKEN.encode())
        await session.wait_for(State.DEGRADED, timeout=5)
        async with aiohttp.ClientSession(f"http://{session.health_endpoint}") as http:
            for path in ("/health", "/ready", "/live", "/metrics"):
                async with http.get(path) as answer:
                    told.append(await answer.text())
        told.append(repr(session))
    everything = "\n".join([*told, caplog.text, *(repr(record.__dict__) for record in caplog.records)])
    body = key.decode().splitlines()[1]
    assert [secret for secret in (TOKEN, api_key, body) if secret in everything] == []
