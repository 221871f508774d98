"""The matrix: for each public await of the data plane how to get there, and what has to hold after it was cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from flowctl_aio import Cursor, FileCheckpoint, FlowctlSession, LedgerRange, Pipeline, SourceCheckpoint
from flowctl_aio.component import Sink, Source
from flowctl_aio.errors import StreamCancelledError, UsageError
from flowctl_aio.testing import open_link

from .components import ledger

MANUAL: dict[str, Any] = {"epoch_batches": None, "epoch_bytes": None, "epoch_interval": None}


@dataclass
class Cases:
    """One row. A coroutine of `make` is cancelled at one of its suspensions; `prepare` goes before, `check` behind.

    Attributes:
        least: so many suspensions it has at the least, or the row shows nothing.
    """

    make: Callable[[], Coroutine[Any, Any, Any]]
    check: Callable[[], Awaitable[Any]]
    prepare: Callable[[], Awaitable[Any]] | None = None
    least: int = 1


class Gated(Source):
    """Gives as many ledgers as it was let give, from wherever a stream starts, and counts its streams."""

    def __init__(self) -> None:
        self.allowed, self.opened, self.closed = 0, 0, 0
        self._news = anyio.Event()

    def allow(self) -> None:
        self.allowed += 1
        news, self._news = self._news, anyio.Event()
        news.set()

    async def stream(self, request):
        self.opened += 1
        try:
            for sequence in range(request.start, (request.end or 2**31) + 1):
                while request.end is None and sequence > self.allowed:
                    await self._news.wait()
                yield ledger(sequence)
        finally:
            self.closed += 1


class Book(Sink):
    """Writes down, slowly, what was committed, epoch by epoch."""

    def __init__(self) -> None:
        self.epochs: list[list[int]] = []

    @property
    def rows(self) -> list[int]:
        return [row for epoch in self.epochs for row in epoch]

    async def consume(self, batch, epoch):
        await checkpoint()
        epoch.state.setdefault("rows", []).extend(row.sequence for row in batch)

    async def commit(self, epoch):
        await checkpoint()
        self.epochs.append(epoch.state.get("rows", []))


@dataclass
class World:
    """A served component of each kind, who drives them, and what of it came and went."""

    driver: FlowctlSession
    source: Gated
    book: Book
    endpoints: dict[str, str]
    folder: Path
    until: Callable[[Callable[[], bool]], Awaitable[None]]
    sent: list[int] = field(default_factory=list)

    def next_ledger(self):
        return ledger(len(self.sent) + 1)


Row = Callable[[World], Any]
ROWS: dict[str, Row] = {}


def row(*names: str) -> Callable[[Callable[..., AsyncIterator[Cases]]], Callable[..., AsyncIterator[Cases]]]:
    """Registers a row under each await that it covers; it gets the world, and what of the two names it asks for."""

    def register(function):
        for each in names:
            kind, _, name = each.partition(".")
            ROWS[each] = partial(asynccontextmanager(function), kind=kind, name=name)
        return function

    return register


@row("SourceClient.health", "ProcessorClient.health", "SinkClient.health")
async def health(world: World, *, kind: str, name: str):
    role = kind.removesuffix("Client").lower()
    async with getattr(world.driver, role)(world.endpoints[role]) as client:
        answer = await client.health()

        async def check() -> None:
            assert (await client.health()).health is answer.health

        yield Cases(client.health, check)


@row("SourceClient.get_state", "SourceClient.save_state", "CheckpointAtSource.load", "CheckpointAtSource.save")
async def state(world: World, *, kind: str, name: str):
    async with world.driver.source(world.endpoints["source"]) as source:
        place = SourceCheckpoint("key").at(source)
        cursors = [Cursor(1)]
        await place.save(cursors[0])

        def make():
            cursors.append(Cursor(cursors[-1].sequence + 1))
            return {
                "get_state": lambda: source.get_state("key"),
                "save_state": lambda: source.save_state("key", {}, cursor=cursors[-1]),
                "load": place.load,
                "save": lambda: place.save(cursors[-1]),
            }[name]()

        async def check() -> None:
            assert await place.load() in cursors[-2:]
            await place.save(cursors[-1])
            assert (await source.get_state("key")).cursor == cursors[-1]

        yield Cases(make, check)


@row("FileCheckpoint.load", "FileCheckpoint.save")
async def file(world: World, *, kind: str, name: str):
    place = FileCheckpoint(world.folder / "checkpoint.json")
    cursors = [Cursor(1)]
    await place.save(cursors[0])

    def make():
        cursors.append(Cursor(cursors[-1].sequence + 1))
        return place.load() if name == "load" else place.save(cursors[-1])

    async def check() -> None:
        assert await place.load() in cursors[-2:]
        cursors.append(Cursor(cursors[-1].sequence + 1))
        await place.save(cursors[-1])
        assert await place.load() == cursors[-1]
        # Nobody who was cancelled writes an older one behind it.
        await world.until(lambda: [path.name for path in world.folder.iterdir()] == ["checkpoint.json"])
        assert await place.load() == cursors[-1]

    yield Cases(make, check)


@asynccontextmanager
async def opened(world: World, kind: str):
    """A way to make streams of a kind, each from its first ledger on."""
    async with AsyncExitStack() as stack:
        address = world.endpoints["source"]
        if kind == "ResumingStream":
            link = await stack.enter_async_context(open_link(address))
            address = link.endpoint
        source = await stack.enter_async_context(world.driver.source(address))
        if kind == "BatchStream":
            processor = await stack.enter_async_context(world.driver.processor(world.endpoints["processor"]))
            yield lambda: processor.stream(source.stream(1)), None
        elif kind == "StreamBehind":
            yield lambda: source.stream(1, resume_token="2:0"), None
        else:
            yield lambda: source.resuming_stream(1), link.cut


@row("BatchStream.__anext__", "StreamBehind.__anext__", "ResumingStream.__anext__")
async def taking(world: World, *, kind: str, name: str):
    async with opened(world, kind) as (open_stream, lose), open_stream() as stream:
        got: list[int] = []
        first = 3 if kind == "StreamBehind" else 1
        world.source.allowed = first - 1

        async def take() -> None:
            got.extend(row.sequence for row in await anext(stream))

        async def make() -> None:
            world.source.allow()
            await take()

        async def prepare() -> None:
            if lose is not None and got:
                lose()

        async def check() -> None:
            with anyio.fail_after(5):
                while len(got) < world.source.allowed - first + 1:
                    await take()
            assert got == list(range(first, world.source.allowed + 1))

        yield Cases(make, check, prepare, least=3 if kind == "ResumingStream" else 1)
        assert world.source.opened > 1 or lose is None


@row(
    *(f"{kind}.{name}" for kind in ("BatchStream", "ResumingStream") for name in ("__aenter__", "__aexit__", "aclose"))
)
async def entering_and_leaving(world: World, *, kind: str, name: str):
    async with opened(world, kind) as (open_stream, _):
        streams: list[Any] = []
        world.source.allowed = 5

        async def prepare() -> None:
            streams.append(open_stream())
            if name != "__aenter__":
                await streams[-1].__aenter__()
                await anext(streams[-1])

        async def enter() -> None:
            async with streams[-1] as stream:
                await anext(stream)  # entering waits for nothing, the first batch does

        async def check() -> None:
            stream = streams[-1]
            with anyio.fail_after(5):
                await stream.aclose()
                for _ in range(2):
                    try:
                        await anext(stream)
                    except StreamCancelledError:
                        continue
                    raise AssertionError("a stream that was closed early passes for a whole one")
            await world.until(lambda: world.source.opened == world.source.closed)

        def make():
            stream = streams[-1]
            if name == "__aenter__":
                return enter()
            return stream.aclose() if name == "aclose" else stream.__aexit__(None, None, None)

        yield Cases(make, check, prepare)


@row("SinkClient.send", "SinkClient.flush", "SinkClient.settle")
async def sending(world: World, *, kind: str, name: str):
    book, sent = world.book, world.sent
    async with world.driver.sink(world.endpoints["sink"], **MANUAL | {"epoch_batches": 3}) as sink:

        async def send(count: int = 8) -> None:
            for _ in range(count):
                await sink.send(world.next_ledger())
                sent.append(len(sent) + 1)

        async def check() -> None:
            with anyio.fail_after(5):
                await send(1)
                await sink.flush()
            assert book.rows == sent
            assert sink.last_ack.last_cursor == Cursor(sent[-1])

        make = {"send": send, "flush": sink.flush, "settle": sink.settle}[name]
        yield Cases(make, check, None if name == "send" else send)


@row("Acks.__anext__")
async def hearing(world: World, *, kind: str, name: str):
    heard: list[int] = []
    async with world.driver.sink(world.endpoints["sink"], **MANUAL | {"epoch_batches": 1}) as sink:
        acks = sink.acks()

        async def send() -> None:
            await sink.send(world.next_ledger())
            world.sent.append(len(world.sent) + 1)

        async def hear() -> None:
            heard.append((await anext(acks)).last_cursor.sequence)

        async def check() -> None:
            with anyio.fail_after(5):
                while len(heard) < len(world.sent):
                    await hear()
            assert heard == world.sent == world.book.rows

        yield Cases(hear, check, send)


@row("SinkClient.abandon", "SinkClient.aclose")
async def abandoning(world: World, *, kind: str, name: str):
    contexts: list[Any] = []
    sinks: list[Any] = []

    async def prepare() -> None:
        contexts.append(world.driver.sink(world.endpoints["sink"], **MANUAL))
        sinks.append(await contexts[-1].__aenter__())
        await sinks[-1].send(ledger(1))

    async def check() -> None:
        before = list(world.book.epochs)
        with anyio.fail_after(5):
            if name == "abandon":
                await sinks[-1].send(ledger(2))
                assert (await sinks[-1].flush()).rows == 1
                assert world.book.epochs == [*before, [2]]
            else:
                with suppress(UsageError):
                    await sinks[-1].send(ledger(2))
                    raise AssertionError("a sink that was closed takes more")
            with suppress(UsageError):  # leaving flushes, which a closed one cannot
                await contexts[-1].__aexit__(None, None, None)
        assert 1 not in world.book.rows

    yield Cases(lambda: getattr(sinks[-1], name)(), check, prepare)


@row("FlowctlSession.source", "FlowctlSession.processor", "FlowctlSession.sink")
async def clients(world: World, *, kind: str, name: str):
    async def use() -> None:
        async with getattr(world.driver, name)(world.endpoints[name]) as client:
            if name == "sink":
                await client.send(world.next_ledger())
                world.sent.append(len(world.sent) + 1)

    async def check() -> None:
        with anyio.fail_after(5):
            await use()
        rows = world.book.rows
        assert sorted(set(rows)) == rows  # none twice, none behind a later one
        assert name != "sink" or rows[-1] == world.sent[-1]

    yield Cases(use, check, least=2)


@row("Pipeline.run")
async def pipeline(world: World, *, kind: str, name: str):
    runs: list[Path] = []
    last = 4

    async def prepare() -> None:
        runs.append(world.folder / f"{len(runs)}.json")
        world.book.epochs.clear()

    def run():
        drives = Pipeline(
            world.driver,
            source=world.endpoints["source"],
            processors=[world.endpoints["processor"]],
            sink=world.endpoints["sink"],
            epoch_batches=2,
            epoch_interval=None,
            checkpoint=runs[-1],
        )
        return drives.run(LedgerRange(1, last))

    async def check() -> None:
        reached = await FileCheckpoint(runs[-1]).load()
        done = reached.sequence if reached else 0
        assert set(range(1, done + 1)) <= set(world.book.rows)  # what the checkpoint covers is durable
        with anyio.fail_after(5):
            await run()
        assert set(world.book.rows) == set(range(1, last + 1))
        again = [row for row in world.book.rows if world.book.rows.count(row) > 1]
        assert len(set(again)) <= 2  # one epoch at the most

    yield Cases(run, check, prepare, least=10)
