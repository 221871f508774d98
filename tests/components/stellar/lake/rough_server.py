"""A web server over a lake that can be rough."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from aiohttp import web
from anyio.lowlevel import checkpoint


class RoughServer:
    """A web server over a folder that counts, holds requests back, and fails when told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.asked: list[str] = []
        self.open_requests = 0
        self.most_open = 0
        self.seen = anyio.Event()
        self.gate = anyio.Event()
        self.gate.set()
        self.failures: Counter[str] = Counter()
        self.status = 503
        self.list_failures: list[int] = []
        self.headers: list[dict[str, str]] = []

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[RoughServer]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            self.gate.set()
            await site.stop()
            # A connection that was accepted last is made some turns later, and is closed only once it is made.
            for _ in range(10):
                await checkpoint()
            # One whose reader has left in the middle of an answer would wait for it for ever.
            for connection in runner.server.connections if runner.server is not None else ():
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()

    async def wait_open(self, count: int) -> None:
        while self.open_requests < count:
            self.seen = anyio.Event()
            await self.seen.wait()

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.headers.append(dict(request.headers))
        if request.method != "GET":
            return web.Response(status=405)
        if "list-type" in request.query:
            if self.list_failures:
                return web.Response(status=self.list_failures.pop())
            return web.Response(
                text=self._listing(path, request.query.get("prefix", ""), request.query.get("delimiter", "")),
                content_type="application/xml",
            )
        name = path.rpartition("/")[2]
        if name.startswith("."):
            return self._file(path)
        self.asked.append(name)
        self.open_requests += 1
        self.most_open = max(self.most_open, self.open_requests)
        self.seen.set()
        try:
            await self.gate.wait()
        finally:
            self.open_requests -= 1
        if self.failures[name] > 0:
            self.failures[name] -= 1
            return web.Response(status=self.status)
        return self._file(path)

    def _file(self, path: str) -> web.Response:
        file = self.folder / path
        return web.Response(body=file.read_bytes()) if file.is_file() else web.Response(status=404)

    def _listing(self, bucket: str, prefix: str, delimiter: str) -> str:
        files = (self.folder / bucket).rglob("*.xdr.*")
        found = sorted(
            name for file in files if (name := str(file.relative_to(self.folder / bucket))).startswith(prefix)
        )
        folders: dict[str, None] = {}
        entries = ""
        for name in found:
            inner, cut, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else ("", "", "")
            if cut:
                folders[f"{prefix}{inner}{cut}"] = None
                continue
            entries += (
                f"<Contents><Key>{name}</Key><Size>1</Size><ETag>x</ETag>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            )
        entries += "".join(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in folders)
        return f"<ListBucketResult><Name>{bucket}</Name><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
