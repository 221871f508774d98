"""The health pages over real HTTP: what they say, whom they answer, and that they never hold a session up."""

from __future__ import annotations

import asyncio
import builtins
import logging
import socket
from dataclasses import dataclass, field, replace
from datetime import datetime

import aiohttp
import anyio
import anyio.lowlevel
import pytest
from prometheus_client.parser import text_string_to_metric_families

from flowctl_aio.errors import ConfigError
from flowctl_aio.observe.meter import Meter
from flowctl_aio.observe.pages import MAX_CONNECTIONS, open_health_pages
from flowctl_aio.observe.view import HealthView
from flowctl_aio.types import Health

pytestmark = pytest.mark.anyio
PATHS = ["/health", "/live", "/ready", "/metrics", "/healthz", "/livez", "/readyz", "/startupz"]


@dataclass
class Service:
    """What the pages are about; a test changes it while they are up."""

    state: str = "registered"
    health: Health = Health.HEALTHY
    is_live: bool = True
    is_ready: bool = True
    has_started: bool = True
    reasons: list[str] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)

    @property
    def view(self) -> HealthView:
        return HealthView(
            who="ledgers",
            service_id=lambda: "ledgers-1",
            state=lambda: self.state,
            health=lambda: self.health,
            is_live=lambda: self.is_live,
            is_ready=lambda: self.is_ready,
            has_started=lambda: self.has_started,
            uptime=lambda: 12.3456,
            why_not=lambda: self.reasons,
            metrics=lambda: self.numbers,
            labels=lambda: {"service_id": "ledgers-1"},
            meter=self.meter,
        )


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def pages(service):
    async with open_health_pages("127.0.0.1:0", service.view) as pages:
        yield pages


@pytest.fixture
async def http(pages):
    async with aiohttp.ClientSession(f"http://{pages.endpoint}") as http:
        yield http


async def test_health_tells_everything(http, service):
    service.reasons = ["the plane is away"]
    async with http.get("/health") as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.content_type == "application/json"
        told = await answer.json()
    assert datetime.fromisoformat(told.pop("timestamp")).tzinfo is not None
    assert told == {
        "status": "healthy",
        "state": "registered",
        "health": "HEALTH_STATUS_HEALTHY",
        "live": True,
        "ready": True,
        "uptime": 12.346,
        "service_id": "ledgers-1",
        "reasons": ["the plane is away"],
    }


@pytest.mark.parametrize(
    ("health", "status", "live"),
    [
        (Health.UNKNOWN, 200, 200),
        (Health.STARTING, 503, 200),
        (Health.HEALTHY, 200, 200),
        (Health.DEGRADED, 200, 200),
        (Health.UNHEALTHY, 503, 500),
        (Health.STOPPING, 503, 200),
    ],
)
async def test_the_codes_follow_the_health(http, service, health, status, live):
    service.health = health
    for path, expected in (("/health", status), ("/live", live), ("/livez", live), ("/healthz", live)):
        async with http.get(path) as answer:
            assert answer.status == expected, path


async def test_a_stuck_loop_is_not_live(http, service):
    service.is_live, service.reasons = False, ["the event loop was stuck for 30 s"]
    async with http.get("/live") as answer:
        assert answer.status == 500
        assert await answer.json() == {
            "status": "not live",
            "state": "registered",
            "reasons": ["the event loop was stuck for 30 s"],
        }
    async with http.get("/health") as answer:
        assert answer.status == 503


async def test_ready_and_started_are_two_things(http, service):
    async def codes() -> list[int]:
        found = []
        for path in ("/ready", "/readyz", "/startupz"):
            async with http.get(path) as answer:
                found.append(answer.status)
        return found

    service.state, service.is_ready, service.has_started = "connecting", False, False
    assert await codes() == [503, 503, 503]
    service.state, service.is_ready, service.has_started = "degraded", True, True
    assert await codes() == [200, 200, 200]
    service.state, service.is_ready = "draining", False
    assert await codes() == [503, 503, 200]


async def test_metrics_are_prometheus_text_and_json_on_request(http, service):
    service.numbers = {"heartbeats_total": 3.0, "uptime_seconds": 1.5, "bad": float("nan")}
    service.meter.gauge("flowctl_service_load_ratio", labels=("service_id", "service_type")).set(
        0.5, service_id="s", service_type="sink"
    )
    async with http.get("/metrics", headers={"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        samples = [s for family in text_string_to_metric_families(await answer.text()) for s in family.samples]
    assert {(s.name, s.labels.get("service_id"), s.value) for s in samples} == {
        ("flowctl_service_load_ratio", "s", 0.5),
        ("flowctl_heartbeats_total", "ledgers-1", 3.0),
        ("uptime_seconds", "ledgers-1", 1.5),
        ("flowctl_metrics_dropped", None, 0.0),
    }
    async with http.get("/metrics", headers={"Accept": "application/json"}) as answer:
        assert await answer.json() == {"heartbeats_total": 3.0, "uptime_seconds": 1.5}


@pytest.mark.parametrize("path", PATHS)
async def test_head_answers_like_get_without_a_body(http, path):
    async with http.get(path) as got, http.head(path) as head:
        assert (head.status, await head.read()) == (got.status, b"")


async def test_nothing_else_is_there(http):
    for path in ("/", "/health/", "/metrics/x", "/%2e%2e/etc/passwd"):
        async with http.get(path) as answer:
            assert answer.status == 404, path
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with http.post("/health", data=b"x" * 100_000) as answer:
        assert answer.status == 405


async def test_a_web_site_that_points_to_loopback_is_sent_away(http, pages):
    for host, status in (
        ("evil.example", 404),
        (f"evil.example:{pages.port}", 404),
        ("localhost", 200),
        (f"127.0.0.1:{pages.port}", 200),
        ("[::1]:80", 200),
    ):
        async with http.get("/health", headers={"Host": host}) as answer:
            assert answer.status == status, host


async def test_a_page_for_everybody_takes_any_name(service):
    async with (
        open_health_pages("0.0.0.0:0", service.view) as pages,
        aiohttp.ClientSession(f"http://{pages.endpoint}") as http,
        http.get("/health", headers={"Host": "ledgers.pipelines.svc:8088"}) as answer,
    ):
        assert answer.status == 200


async def test_a_question_that_fails_is_told_without_its_secrets(service, caplog):
    def numbers():
        raise ValueError("token=abc123")

    async with (
        open_health_pages("127.0.0.1:0", replace(service.view, metrics=numbers)) as pages,
        aiohttp.ClientSession(f"http://{pages.endpoint}") as http,
    ):
        for _ in range(3):
            async with http.get("/metrics") as answer:
                assert answer.status == 500
                assert "abc123" not in await answer.text()
        async with http.get("/health") as answer:
            assert answer.status == 200
    assert [message for message in caplog.messages if "failed" in message] == [
        "ledgers: the page /metrics failed (ValueError)"
    ]


async def test_a_port_that_is_taken_is_a_warning(service, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with open_health_pages(address, service.view) as pages:
            assert pages is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"ledgers: no health pages on {address}: address already in use"


@pytest.mark.parametrize("bind", ["192.0.2.1:0", "nobody.invalid:0", "a..b:0"])
async def test_a_host_that_is_not_ours_is_a_warning(service, caplog, bind):
    async with open_health_pages(bind, service.view) as pages:
        assert pages is None
    (message,) = caplog.messages
    assert message.startswith(f"ledgers: no health pages on {bind}: ")


async def test_a_fault_of_the_block_is_no_fault_of_the_port(service):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(KeyError) as caught:
        async with open_health_pages(f"127.0.0.1:{taken.getsockname()[1]}", service.view):
            raise KeyError("mine")
    assert caught.value.__context__ is None


@pytest.mark.parametrize("bind", [":0", "localhost:0", "[::1]:0"])
async def test_the_endpoint_is_where_the_pages_are(service, bind):
    async with open_health_pages(bind, service.view) as pages:
        if pages is None:
            pytest.skip("this machine has no IPv6")
        async with aiohttp.ClientSession(f"http://{pages.endpoint}") as http, http.get("/live") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("bind", ["", "8088", "localhost", "localhost:http", "localhost:70000", "::1:8088", "a:-1"])
async def test_what_is_no_address_is_an_error_that_names_it(service, bind):
    with pytest.raises(ConfigError, match="health_bind") as caught:
        async with open_health_pages(bind, service.view):
            pass
    assert repr(bind) in str(caught.value)


@pytest.fixture
def forget(monkeypatch):
    """Makes a library one that is not installed."""
    real = builtins.__import__

    def forget(library: str) -> None:
        def without(name, *args, **kwargs):
            if name.partition(".")[0] == library:
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", without)

    return forget


async def test_without_aiohttp_there_is_one_warning_that_names_the_extra(service, caplog, forget):
    forget("aiohttp")
    async with open_health_pages("127.0.0.1:0", service.view) as pages:
        assert pages is None
    assert caplog.messages == [
        "ledgers: no health pages on 127.0.0.1:0: aiohttp is not installed; pip install 'flowctl-aio[http]'"
    ]


async def test_without_prometheus_client_the_numbers_are_there_as_json(service, http, forget):
    service.numbers = {"streams": 1.0}
    forget("prometheus_client")
    async with http.get("/metrics") as answer:
        assert answer.status == 501
        assert "the extra http" in await answer.text()
    async with http.get("/metrics", headers={"Accept": "application/json"}) as answer:
        assert await answer.json() == {"streams": 1.0}


async def is_closed(reader: asyncio.StreamReader) -> bool:
    with anyio.fail_after(5):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


async def test_leaving_does_not_wait_for_idle_connections(service):
    """One that never asked, one that asked and keeps the connection, and one in the middle of asking."""
    with anyio.fail_after(5):  # left alone, aiohttp waits for a minute
        async with open_health_pages("127.0.0.1:0", service.view) as pages:
            connections = [await asyncio.open_connection("127.0.0.1", pages.port) for _ in range(3)]
            (_, _), (keeper, asks), (_, half) = connections
            asks.write(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            half.write(b"GET /live HTTP/1.1\r\nHost: loc")
            await keeper.readuntil(b"}\n")
    for reader, writer in connections:
        assert await is_closed(reader)
        writer.close()


async def test_leaving_does_not_wait_for_a_reader_that_does_not_read(service):
    service.numbers = {f"n{i}": i for i in range(2000)}
    labels = {f"label{i}": "x" * 200 for i in range(20)}
    asked = anyio.Event()

    def numbers():
        asked.set()
        return service.numbers

    view = replace(service.view, metrics=numbers, labels=lambda: labels)
    with anyio.fail_after(30), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        async with open_health_pages("127.0.0.1:0", view) as pages:
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", pages.port))
            await asyncio.get_running_loop().sock_sendall(client, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asked.wait()
            await anyio.lowlevel.checkpoint()


async def test_leaving_by_cancellation_frees_the_port(service):
    with anyio.CancelScope() as scope:
        async with open_health_pages("127.0.0.1:0", service.view) as pages:
            scope.cancel()
            await anyio.sleep_forever()
    async with open_health_pages(pages.endpoint, service.view) as again:
        assert again is not None


async def test_connections_that_ask_nothing_do_not_keep_a_probe_out(service):
    async with open_health_pages("127.0.0.1:0", service.view) as pages:
        idle = [await asyncio.open_connection("127.0.0.1", pages.port) for _ in range(MAX_CONNECTIONS + 10)]
        async with aiohttp.ClientSession(f"http://{pages.endpoint}") as http, http.get("/live") as answer:
            assert answer.status == 200
        assert await is_closed(idle[0][0])  # the oldest went
        for _, writer in idle:
            writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X%d: 1\r\n" % n for n in range(500)) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"BREW /health",
    ],
)
async def test_rough_requests_are_refused_and_the_pages_stand(pages, http, request_, caplog):
    reader, writer = await asyncio.open_connection("127.0.0.1", pages.port)
    writer.write(request_ + b"\r\n\r\n")
    with anyio.fail_after(5):
        head = await reader.readuntil(b"\r\n")
    assert b" 400 " in head
    writer.close()
    async with http.get("/health") as answer:
        assert answer.status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
