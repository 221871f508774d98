"""A rough TCP link: bytes between whoever dials it and a target, which come late, slowly, or not at all.

It knows nothing of what the bytes mean. What is lost on the way of a real network is sent again by TCP,
so a link that lets nothing through holds the bytes back; only `cut` loses them, and the connection with them.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from flowctl_aio.errors import ConfigError, UsageError
from flowctl_aio.owner import OwnerTask, Started
from flowctl_aio.testing.ports import bind_port
from flowctl_aio.transport.address import host_of, parse_endpoint

logger = logging.getLogger(__name__)

CHUNK_BYTES = 16 * 1024
# Chunks under way in one direction of one connection; its sender waits when there are more.
MAX_CHUNKS = 64
TICKS = 20  # slices a second of a trickle


@asynccontextmanager
async def open_link(target: str) -> AsyncIterator[RoughLink]:
    """A link to `target`, `host:port`, that can be dialled at `link.endpoint` while the block runs.

    The block may be entered in one task and left in another. Leaving it resets what is still connected.

    Raises:
        ConfigError: if the target is not a TCP address.
    """
    link = RoughLink(target)
    owner = OwnerTask(link._main, name=f"flowctl_aio link to {target}")
    await owner.start()
    try:
        yield link
    finally:
        owner.cancel()
        with anyio.CancelScope(shield=True):
            await owner.wait()


class RoughLink:
    """What happens to the bytes; made by `open_link`. All changes take effect at once, for both directions.

    Attributes:
        endpoint: where to dial instead of the target.
        delay: seconds that each byte is late; the link stays as fast as it was.
        connections: how many are open.
        accepted: how many there have been.
    """

    def __init__(self, target: str) -> None:
        if target.startswith("unix:"):
            raise ConfigError(f"a link leads to host:port, not to {target!r}")
        target = parse_endpoint(target)
        self._host, self._target_port = host_of(target), int(target.rpartition(":")[2])
        self.delay = 0.0
        self.connections = self.accepted = 0
        self._rate: float | None = None
        self._flowing, self._listening = anyio.Event(), anyio.Event()
        self._flowing.set()
        self._open: set[anyio.CancelScope] = set()
        self._stranded: set[anyio.CancelScope] = set()
        self._found = anyio.Event()
        self._listener: socket.socket | None = bind_port()
        self._port: int = self._listener.getsockname()[1]
        self._keeper: socket.socket | None = None

    def __repr__(self) -> str:
        state = "refuses" if self._listener is None else "is open" if self._flowing.is_set() else "is a black hole"
        return f"<RoughLink {self.endpoint} to {self._host}:{self._target_port} {state}, {self.connections} connected>"

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._port}"

    def cut(self) -> None:
        """Reset every connection; new ones are taken."""
        for connection in self._open:
            connection.cancel()

    def trickle(self, bytes_per_second: float) -> None:
        """Let this much through, per connection and direction.

        Raises:
            UsageError: if it is not above 0; for nothing at all there is `black_hole`.
        """
        if not bytes_per_second > 0:
            raise UsageError(f"a link trickles with more than 0 bytes a second, not {bytes_per_second!r}")
        self._rate = bytes_per_second

    def black_hole(self) -> None:
        """Let nothing through. Connections stay up and new ones are taken; what was sent arrives after `heal`."""
        if self._flowing.is_set():
            self._flowing = anyio.Event()

    def strand(self) -> None:
        """Let nothing more through on the connections that are open, which stay up; new ones are good.

        So it is after a machine has slept, or behind a router that has forgotten its connections.
        """
        self._stranded |= self._open

    def refuse(self) -> None:
        """Refuse new connections; those that are open go on."""
        if self._listener is not None:
            anyio.notify_closing(self._listener)
            self._listener.close()
            self._listener = None
            self._listening = anyio.Event()
            self._keeper = bind_port(port=self._port)

    def heal(self) -> None:
        """Be a good link again: no delay, full speed, everything through, new connections taken."""
        self.delay, self._rate = 0.0, None
        self._flowing.set()
        self._stranded.clear()
        self._found.set()
        self._found = anyio.Event()
        if self._listener is None:
            self._listener = bind_port(port=self._port)
            if self._keeper is not None:
                self._keeper.close()
                self._keeper = None
            self._listener.listen()
            self._listening.set()

    async def _main(self, started: Started) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                if self._listener is not None:
                    self._listener.listen()
                    self._listening.set()
                started()
                await self._accept(tasks)
        finally:
            for end in (self._listener, self._keeper):
                if end is not None:
                    end.close()

    async def _accept(self, tasks: TaskGroup) -> None:
        while True:
            await self._listening.wait()
            listener = self._listener
            if listener is None:
                continue
            try:
                await anyio.wait_readable(listener)
                connection, _ = listener.accept()
            except (anyio.ClosedResourceError, OSError):
                continue  # it refuses now, or the client has left already
            connection.setblocking(False)
            tasks.start_soon(self._connect, connection)

    async def _connect(self, connection: socket.socket) -> None:
        self.accepted += 1
        self.connections += 1
        ends: list[asyncio.StreamWriter] = []
        scope = anyio.CancelScope()
        self._open.add(scope)
        try:
            with scope:
                inward, to_client = await asyncio.open_connection(sock=connection, limit=CHUNK_BYTES)
                ends.append(to_client)
                await self._flowing.wait()
                outward, to_target = await asyncio.open_connection(self._host, self._target_port, limit=CHUNK_BYTES)
                ends.append(to_target)
                async with anyio.create_task_group() as pumps:
                    for reader, writer in ((inward, to_target), (outward, to_client)):
                        send, receive = anyio.create_memory_object_stream[tuple[float, bytes]](MAX_CHUNKS)
                        pumps.start_soon(self._read, reader, send)
                        pumps.start_soon(self._write, receive, writer, scope)
                for writer in ends:  # both sides have said all that they had to say
                    writer.close()
                    await writer.wait_closed()
        except* OSError as group:
            # The target is away, or one side was reset: so is the other.
            logger.debug("the link at %s lost a connection: %s", self.endpoint, group.exceptions)
        finally:
            self._open.discard(scope)
            self._stranded.discard(scope)
            self.connections -= 1
            if not ends:
                connection.close()
            for writer in ends:
                await _close(writer)

    async def _read(self, reader: asyncio.StreamReader, chunks: MemoryObjectSendStream[tuple[float, bytes]]) -> None:
        with chunks:
            while chunk := await reader.read(CHUNK_BYTES):
                await chunks.send((anyio.current_time() + self.delay, chunk))

    async def _write(
        self,
        chunks: MemoryObjectReceiveStream[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        connection: anyio.CancelScope,
    ) -> None:
        with chunks:
            async for due, chunk in chunks:
                await anyio.sleep_until(due)
                rest = memoryview(chunk)
                while rest:
                    await self._passable(connection)
                    rate = self._rate
                    part = rest if rate is None else rest[: max(1, int(rate / TICKS))]
                    writer.write(part)
                    await writer.drain()
                    rest = rest[len(part) :]
                    if rate is not None:
                        await anyio.sleep(len(part) / rate)
            await self._passable(connection)
            writer.write_eof()  # a half-close is passed on

    async def _passable(self, connection: anyio.CancelScope) -> None:
        while not self._flowing.is_set() or connection in self._stranded:
            await (self._found if connection in self._stranded else self._flowing).wait()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Reset what was not closed: RST, not FIN, so that whoever waits for the rest hears that there is none."""
    if not writer.is_closing():
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    with anyio.CancelScope(shield=True), suppress(OSError):  # why it ended was said before
        await writer.wait_closed()
