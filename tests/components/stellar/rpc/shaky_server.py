"""A Stellar RPC server with ledgers of a network that does not exist, and every fault of a real one."""

from __future__ import annotations

import base64
import gzip
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from aiohttp import web
from anyio.lowlevel import checkpoint

from flowctl_aio.components.stellar.synthetic import SyntheticLedgers

TESTNET = "Test SDF Network ; September 2015"
MADE = SyntheticLedgers(transactions_per_ledger=1)

Fault = Callable[[web.Request, dict[str, Any]], Any]


class ShakyServer:
    """Answers as Stellar RPC does, with what stands in `faults` first.

    A fault is a status, or a function that takes the request and the right answer and gives another one; each serves
    one call to `getLedgers`, or to any method that `faulty` names. None in between lets a call pass.
    """

    def __init__(self, oldest: int = 100, latest: int = 130) -> None:
        self.oldest, self.latest = oldest, latest
        self.most = 200
        self.url = ""
        self.faults: deque[int | Fault | None] = deque()
        self.faulty = "getLedgers"
        self.headers: dict[str, str] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.requests: list[web.Request] = []
        self.called = anyio.Event()
        self.before: Callable[[], None] = lambda: None

    @property
    def pages(self) -> list[tuple[int, int]]:
        """Start and limit of each call to `getLedgers`."""
        return [(call["startLedger"], call["pagination"]["limit"]) for name, call in self.calls if name == "getLedgers"]

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[ShakyServer]:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"{'https' if tls else 'http'}://{host}:{port}"
        try:
            yield self
        finally:
            await site.stop()
            # A connection that was accepted last is made some turns later, and is closed only once it is made.
            for _ in range(10):
                await checkpoint()
            await runner.cleanup()

    async def wait_calls(self, method: str, count: int) -> None:
        """Waits until a method was called so often."""
        while sum(name == method for name, _ in self.calls) < count:
            self.called = anyio.Event()
            await self.called.wait()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = await request.json()
        self.calls.append((call["method"], call.get("params", {})))
        self.requests.append(request)
        self.called.set()
        fault = self.faults.popleft() if self.faults and call["method"] == self.faulty else None
        if isinstance(fault, int):
            return web.Response(status=fault, headers=self.headers)
        answer = {"jsonrpc": "2.0", "id": call["id"], **self._outcome(call["method"], call.get("params", {}))}
        self.before()
        if fault is not None:
            answer = fault(request, answer)
            if not isinstance(answer, dict):
                return await answer
        return web.json_response(answer)

    def _outcome(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "getNetwork":
            return {"result": {"passphrase": TESTNET, "protocolVersion": 23}}
        window = {"latestLedger": self.latest, "oldestLedger": self.oldest}
        if method == "getHealth":
            return {"result": {"status": "healthy", "ledgerRetentionWindow": 1000, **window}}
        if method != "getLedgers":
            return refused(-32601, "method not found")
        first, limit = params["startLedger"], params["pagination"]["limit"]
        if limit > self.most:
            return refused(-32600, f"limit must not exceed {self.most}")
        if not self.oldest <= first <= self.latest:
            bounds = f"the oldest ledger: {self.oldest} and the latest ledger: {self.latest}"
            return refused(-32600, f"start ledger ({first}) must be between {bounds} for this rpc instance")
        ledgers = [entry(n) for n in range(first, min(first + limit - 1, self.latest) + 1)]
        times = {"latestLedgerCloseTime": 1, "oldestLedgerCloseTime": 1}
        return {"result": {"ledgers": ledgers, **window, **times, "cursor": str(first + len(ledgers) - 1)}}


def entry(sequence: int, made: SyntheticLedgers = MADE) -> dict[str, Any]:
    """One ledger as the server gives it."""
    ledger = made.ledger(sequence)
    return {
        "hash": ledger.hash.hex(),
        "sequence": sequence,
        "ledgerCloseTime": str(ledger.closed_at),
        "headerXdr": base64.b64encode(ledger.xdr[8:300]).decode(),
        "metadataXdr": base64.b64encode(ledger.xdr).decode(),
    }


def refused(code: int, words: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": words}}


def refusing(code: int, words: str) -> Fault:
    return lambda request, answer: {"jsonrpc": "2.0", "id": answer["id"], **refused(code, words)}


def changing(nth: int, **values: Any) -> Fault:
    """One entry of the page with other values; None takes a key away."""

    def change(request: web.Request, answer: dict[str, Any]) -> dict[str, Any]:
        ledgers = answer["result"]["ledgers"]
        changed = {**ledgers[nth % len(ledgers)], **values}
        ledgers[nth % len(ledgers)] = {key: value for key, value in changed.items() if value is not None}
        return answer

    return change


def result_with(**values: Any) -> Fault:
    def change(request: web.Request, answer: dict[str, Any]) -> dict[str, Any]:
        answer["result"].update(values)
        return answer

    return change


def sending(body: bytes, *, packed: bool = False) -> Fault:
    """Another body."""

    async def respond() -> web.Response:
        headers = {"Content-Encoding": "gzip"} if packed else {}
        return web.Response(body=gzip.compress(body) if packed else body, headers=headers)

    return lambda request, answer: respond()


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"jsonrpc":')
    assert request.transport is not None
    request.transport.close()
    return response


def cut(request: web.Request, answer: dict[str, Any]) -> Any:
    """The connection ends in the middle of the answer."""
    return _cut(request)


async def _hang() -> web.Response:
    await anyio.sleep_forever()
    raise AssertionError


def hang(request: web.Request, answer: dict[str, Any]) -> Any:
    """No answer comes."""
    return _hang()
