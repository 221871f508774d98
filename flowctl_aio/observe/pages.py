"""The health pages: what a session says of itself, over HTTP.

They stand before anything else of the session and fall after it, so everything they show is asked for anew with each
request. A port that cannot be had is a warning: nobody's data shall stop because of a probe.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio

from flowctl_aio.errors import ConfigError
from flowctl_aio.observe.prometheus import CONTENT_TYPE, Page, finite, render
from flowctl_aio.observe.repeats import Repeats
from flowctl_aio.observe.view import HealthView
from flowctl_aio.types import Health

if TYPE_CHECKING:
    from aiohttp import web

logger = logging.getLogger(__name__)

# A probe asks one small thing at a time; what is more than that is somebody else.
MAX_CONNECTIONS = 64
MAX_HEADER_BYTES = 4096
MAX_HEADERS = 64
KEEPALIVE_TIMEOUT = 75.0
CLOSE_TIMEOUT = 0.3

WELL = frozenset({Health.UNKNOWN, Health.HEALTHY, Health.DEGRADED})
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class HealthPages:
    """Pages that are up.

    Attributes:
        endpoint: where, as `host:port`.
        port: the port it got.
    """

    endpoint: str
    port: int


@asynccontextmanager
async def open_health_pages(bind: str, view: HealthView) -> AsyncIterator[HealthPages | None]:
    """Serve the pages while the block runs; None, and one line in the log, if that cannot be.

    Args:
        bind: `host:port`; port 0 takes a free one, an empty host all addresses.

    Raises:
        ConfigError: if `bind` is no address.

    Cancellation: safe at any point; the pages are down when the block is left.
    """
    host, port = _parsed(bind)
    runner = _runner_of(_Answers(view, is_loopback=_is_loopback(host)))
    if runner is None:
        logger.warning(
            "%s: no health pages on %s: aiohttp is not installed; pip install 'flowctl-aio[http]'", view.who, bind
        )
        yield None
        return
    server: asyncio.Server | None = None
    pages: HealthPages | None = None
    await runner.setup()
    try:
        try:
            # In two steps: cancelled in the second, the first would lose what it has bound.
            server = await asyncio.get_running_loop().create_server(
                _bounded(runner.server), host or None, port, start_serving=False
            )
            await server.start_serving()
        except (OSError, UnicodeError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).rpartition(": ")[2].lower()
            logger.warning("%s: no health pages on %s: %s", view.who, bind, reason)
        else:
            got = _port_of(server)
            pages = HealthPages(f"{_dialled(host)}:{got}", got)
            logger.info("%s: health pages on http://%s/health", view.who, pages.endpoint)
        yield pages
    finally:
        if server is not None:
            server.close()
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def _runner_of(answers: _Answers) -> web.AppRunner | None:
    """What aiohttp runs the pages with; None if it is not installed."""
    try:
        from aiohttp import web
    except ImportError:
        return None
    app = web.Application(client_max_size=1024)
    # `get` answers HEAD too.
    app.add_routes([web.get(path, handler) for paths, handler in answers.routes() for path in paths])
    app.on_response_prepare.append(_add_headers)
    return web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        logger=_Rough(logging.getLogger("aiohttp.server"), {}),
        shutdown_timeout=CLOSE_TIMEOUT,
        keepalive_timeout=KEEPALIVE_TIMEOUT,
        lingering_time=0.0,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
    )


class _Rough(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp says of requests that are none, at a level where strangers cannot fill the log with it."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        super().log(min(level, logging.DEBUG), msg, *args, **kwargs)


class _Answers:
    """The handlers of the pages."""

    def __init__(self, view: HealthView, *, is_loopback: bool) -> None:
        self._view, self._is_loopback = view, is_loopback
        self._repeats = Repeats(logger, fields={"component_id": view.who})

    def routes(self) -> list[tuple[tuple[str, ...], Any]]:
        """Paths and what answers on them: those of flowctl's Go components first, then those of Kubernetes."""
        return [
            (("/health",), self._page(self._health)),
            (("/live", "/livez", "/healthz"), self._page(self._live)),
            (("/ready", "/readyz"), self._page(self._ready)),
            (("/startupz",), self._page(self._started)),
            (("/metrics",), self._page(self._metrics)),
        ]

    def _page(self, answer: Callable[[web.Request], web.Response]) -> Callable[[web.Request], Any]:
        """Around each page: strangers to this host are sent away, and a question that fails is a fault of ours."""

        async def handle(request: web.Request) -> web.Response:
            if not self._is_addressed(request.headers.get("Host", "")):
                return _json({"status": "not found"}, 404)
            try:
                response = answer(request)
            except Exception as error:
                # What it says may be secret, so its text goes into the log at most, and not onto the page.
                kind = type(error).__name__
                if self._repeats.failed(
                    request.path, "%s: the page %s failed (%s)", self._view.who, request.path, kind
                ):
                    logger.debug("%s: the page %s failed", self._view.who, request.path, exc_info=True)
                return _json({"status": "error"}, 500)
            self._repeats.recovered(request.path, "%s: the page %s works again", self._view.who, request.path)
            return response

        return handle

    def _is_addressed(self, host: str) -> bool:
        """Whether a request means us. A page on loopback is not for web sites whose name leads there by a trick."""
        if not self._is_loopback or not host:
            return True
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        return name == "localhost" or name.endswith(".localhost") or _is_address(name)

    def _health(self, request: web.Request) -> web.Response:
        view = self._view
        health, reasons = view.health(), list(view.why_not())
        is_well = health in WELL and view.is_live()
        return _json(
            {
                "status": health.name.lower(),
                "state": view.state(),
                "health": f"HEALTH_STATUS_{health.name}",
                "live": view.is_live(),
                "ready": view.is_ready(),
                "uptime": round(view.uptime(), 3),
                "timestamp": datetime.fromtimestamp(time.time(), UTC).isoformat(),
                "service_id": view.service_id(),
                "reasons": reasons,
            },
            200 if is_well else 503,
        )

    def _live(self, request: web.Request) -> web.Response:
        is_live = self._view.is_live() and self._view.health() is not Health.UNHEALTHY
        # 500 is what flowctl's Go components answer.
        return self._short("live", is_true=is_live, otherwise=500)

    def _ready(self, request: web.Request) -> web.Response:
        return self._short("ready", is_true=self._view.is_ready(), otherwise=503)

    def _started(self, request: web.Request) -> web.Response:
        return self._short("started", is_true=self._view.has_started(), otherwise=503)

    def _short(self, what: str, *, is_true: bool, otherwise: int) -> web.Response:
        answer: dict[str, Any] = {"status": what if is_true else f"not {what}", "state": self._view.state()}
        if not is_true:
            answer["reasons"] = list(self._view.why_not())
        return _json(answer, 200 if is_true else otherwise)

    def _metrics(self, request: web.Request) -> web.Response:
        from aiohttp import web

        numbers = self._view.metrics()
        if _prefers_json(request.headers.get("Accept", "")):
            return _json(
                {name: number for name, value in numbers.items() if (number := finite(value)) is not None}, 200
            )
        try:
            text = render(Page(numbers, self._view.labels(), self._view.meter.families()))
        except ImportError:
            return _json({"status": "prometheus_client is not installed; the extra http brings it"}, 501)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})


def _json(answer: Any, status: int) -> web.Response:
    from aiohttp import web

    return web.Response(text=json.dumps(answer) + "\n", status=status, content_type="application/json")


def _prefers_json(accept: str) -> bool:
    """Whether JSON stands before plain text in an Accept header; weights are not looked at."""
    kinds = [part.partition(";")[0].strip() for part in accept.split(",")]
    text = min((kinds.index(kind) for kind in ("text/plain", "text/*") if kind in kinds), default=len(kinds))
    return "application/json" in kinds and kinds.index("application/json") < text


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _bounded(server: Any) -> Callable[[], asyncio.Protocol]:
    """Makes a connection's protocol. When there are too many, the oldest goes: a probe must always get through."""

    def accept() -> asyncio.Protocol:
        connections = server.connections
        if len(connections) >= MAX_CONNECTIONS:
            connections[0].force_close()
        protocol: asyncio.Protocol = server()
        return protocol

    return accept


def _parsed(bind: str) -> tuple[str, int]:
    host, colon, port = bind.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 2**16):
        raise ConfigError(f"health_bind must be host:port, not {bind!r}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ConfigError(f"health_bind must have its IPv6 address in brackets, not {bind!r}")
    return host.strip("[]"), int(port)


def _port_of(server: asyncio.Server) -> int:
    """The port it got; where IPv4 and IPv6 got different ones, that of IPv4."""
    sockets = sorted(server.sockets, key=lambda listening: listening.family != socket.AF_INET)
    port: int = sockets[0].getsockname()[1]
    return port


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _dialled(host: str) -> str:
    """The host under which this machine reaches what listens on `host`."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


__all__ = ["HealthPages", "HealthView", "open_health_pages"]
