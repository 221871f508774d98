"""The embedded control plane: both dialects on one port, in memory or on a file, for as long as its block runs."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

import anyio
from google.protobuf.message import DecodeError, Message

from flowctl_aio import _wire as wire
from flowctl_aio.errors import ConfigError, UsageError
from flowctl_aio.owner import OwnerTask, Started
from flowctl_aio.plane import classic, v1
from flowctl_aio.plane.chunks import Chunks
from flowctl_aio.plane.methods import Desk, Gate
from flowctl_aio.plane.quirks import keep_nowhere, rules_of
from flowctl_aio.plane.registry import Registry
from flowctl_aio.plane.runs import Run, Runs
from flowctl_aio.security import Admission, ServerTls
from flowctl_aio.transport.server import UnaryMethod, open_server
from flowctl_aio.types import Dialect, Health, ServiceStatus

if TYPE_CHECKING:
    from flowctl_aio.plane.store import Store

Found: TypeAlias = Mapping[str, Mapping[str, bytes]]
logger = logging.getLogger(__name__)

# What a real flowctl accepts, so that what is too big for it is too big here.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
STOP_LIMIT = 5.0


class EmbeddedControlPlane:
    """A control plane in this process, for development, tests and single machines.

    It serves `flowctl.ControlPlane` and `flowctl.v1.ControlPlaneService` over one registry. A block may be
    entered in one task and left in another; a plane is entered once, and a new one takes the same port at once.
    After the block the plane still tells what it knew.

    With a file, a call that changes something is answered when the change is in it, so the death of the process
    loses nothing that was acknowledged. A new plane on the file knows the services, runs and chunk runs of the old one;
    the services are as they were, and have a whole lease to be heard of again.

    Example:
        async with EmbeddedControlPlane() as plane:
            ...  # connect to plane.endpoint
            await plane.wait_for_service("ttp", health=Health.HEALTHY)

    Args:
        address: `host:port` to listen on (port 0 takes a free one), or `unix:///path`.
        heartbeat_ttl: seconds for which a HEALTHY service counts as alive without a beat.
        janitor_interval: seconds between two looks for services that do not.
        insecure: listen to other machines too, though nothing is encrypted; not asked where `tls` is given.
        tls: encrypt, and ask for client certificates if it has a client CA.
        admission: let in only calls that show one of its tokens; None lets everybody in.
        db: the file that keeps what the plane knows, made if it is not there; None for memory alone.
        quirks: `"flowctl"` for a plane that is as wrong as a real one; None for one that is right.
        chunks: whether it knows chunk runs; None for yes, unless the quirks are of a plane that did not.
        dialects: those that it serves.
        gate: awaited before each call is handled; see `Gate`. It may be set and taken away later, as an attribute.

    Raises:
        ConfigError: if a number of seconds is not above 0, nobody has such quirks, or there is no dialect to serve.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:0",
        *,
        heartbeat_ttl: float = 30.0,
        janitor_interval: float = 10.0,
        insecure: bool = False,
        tls: ServerTls | None = None,
        admission: Admission | None = None,
        db: str | PathLike[str] | None = None,
        quirks: str | None = None,
        chunks: bool | None = None,
        dialects: Collection[Dialect] = tuple(Dialect),
        gate: Gate | None = None,
    ) -> None:
        for name, seconds in (("heartbeat_ttl", heartbeat_ttl), ("janitor_interval", janitor_interval)):
            if not seconds > 0:
                raise ConfigError(f"{name} is {seconds} s, and must be above 0")
        self._address, self._insecure, self._tls, self._admission = address, insecure, tls, admission
        self.gate = gate
        if not dialects:
            raise ConfigError("a control plane serves one dialect at least")
        self._janitor_interval, self._dialects = janitor_interval, frozenset(dialects)
        self._db = None if db is None else Path(db)
        self._store: Store | None = None
        self._rules = rules_of(quirks, chunks=chunks)
        keep = keep_nowhere if db is None else self._keep
        self._registry = Registry(
            heartbeat_ttl=heartbeat_ttl,
            now=_utc_now,
            monotonic=time.monotonic,
            changed=self._wake,
            keep=None if db is None else keep,
            rules=self._rules,
        )
        self._runs = Runs(now=_utc_now, changed=self._wake, keep=keep, rules=self._rules)
        self._chunks = Chunks(changed=self._wake, keep=keep, rules=self._rules)
        self._owner: OwnerTask | None = None
        self._stop = anyio.Event()
        self._change: anyio.Event | None = None
        self._endpoint, self._port = "", 0

    def __repr__(self) -> str:
        state = "new" if self._owner is None else "listening" if self.is_running() else "stopped"
        return f"<EmbeddedControlPlane {state} at {self._endpoint or self._address}>"

    @property
    def endpoint(self) -> str:
        """Where the plane can be dialled.

        Raises:
            UsageError: if it was never up.
        """
        if not self._endpoint:
            raise UsageError("the plane has no endpoint before it is entered")
        return self._endpoint

    @property
    def port(self) -> int:
        """The port that it listens on; 0 for a unix socket.

        Raises:
            UsageError: if it was never up.
        """
        return self._port if self.endpoint else 0

    def is_running(self) -> bool:
        """Whether it answers: it was entered, and has not begun to end."""
        return self._owner is not None and self._owner.is_running() and not self._stop.is_set()

    def services(self) -> list[ServiceStatus]:
        """Every service as it is now, in the order in which their ids first registered."""
        return [entry.status() for entry in self._registry.entries()]

    def runs(self) -> list[Run]:
        """Every pipeline run as it is now, newest first."""
        return self._runs.latest(limit=None)

    def chunks(self) -> list[wire.ChunkRun]:
        """Every chunk run as it is now, newest first."""
        return self._chunks.latest(limit=None)

    def forget(self, service_id: str | None = None) -> None:
        """Drop one entry, or all of them, without a word to anybody: as a plane does that lost its state.

        Runs are kept. An id that is not there is no error.
        """
        self._registry.forget(service_id)

    async def wait_changed(self) -> None:
        """Return at the next change: a registration, a beat, a lapsed lease, news of a run, or the end of the plane.

        To wait for a state, look, and wait while it is not there: nothing comes between the two.
        `wait_until` does that.

        Raises:
            UsageError: if the plane is not running.

        Cancellation: loses nothing.
        """
        if not self.is_running():
            raise UsageError("the plane is not running, so nothing will change")
        if self._change is None:
            self._change = anyio.Event()
        await self._change.wait()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; it is asked now and after each change.

        Raises:
            UsageError: if the condition does not hold when the plane stops.

        Cancellation: loses nothing.
        """
        while not condition():
            await self.wait_changed()

    async def wait_for_service(self, service_id: str, health: Health | None = None) -> ServiceStatus:
        """Return a service once it is registered, and is as `health` says; None for any health.

        Raises:
            UsageError: if there is no such service when the plane stops.

        Cancellation: loses nothing.
        """
        found: list[ServiceStatus] = []

        def is_there() -> bool:
            found[:] = [
                status
                for status in self.services()
                if status.service_id == service_id and health in (None, status.health)
            ]
            return bool(found)

        await self.wait_until(is_there)
        return found[0]

    async def __aenter__(self) -> EmbeddedControlPlane:
        """Listen.

        Raises:
            ConfigError: if the address is malformed, taken, or open to other machines while `insecure` is false and
                `tls` is None; if a file of `tls` or `admission` cannot be used;
                or if another plane has the file open, or it is damaged, or no file of a plane.
            UsageError: if the plane was entered before.

        Cancellation: stops what had started.
        """
        if self._owner is not None:
            raise UsageError("a control plane is entered once; make a new one")
        self._owner = OwnerTask(self._main, name=f"control plane at {self._address}")
        await self._owner.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening; calls under way are cut off. May be called twice.

        Cancellation: waits until the port is free all the same, for 5 s at most.
        """
        self._stop.set()
        if self._owner is None:
            return
        with anyio.move_on_after(STOP_LIMIT, shield=True) as limit:
            await self._owner.wait()
        if limit.cancelled_caught:
            self._owner.cancel()
            logger.warning("the control plane at %s did not stop within %g s", self._endpoint, STOP_LIMIT)

    async def _main(self, started: Started) -> None:
        try:
            async with AsyncExitStack() as stack:
                if self._db is not None:
                    self._store = await stack.enter_async_context(_open_store(self._db))
                    self._restore(self._db, self._store.found)
                    stack.callback(self._lose_store)
                server = await stack.enter_async_context(
                    open_server(
                        self._services(),
                        self._address,
                        max_message_bytes=MAX_MESSAGE_BYTES,
                        insecure=self._insecure,
                        tls=self._tls,
                        admission=self._admission,
                    )
                )
                self._endpoint, self._port = server.endpoint, server.port
                logger.info("control plane listening at %s", self._endpoint)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._keep_leases)
                    started()
                    await self._stop.wait()
                    tasks.cancel_scope.cancel()
            logger.info("control plane at %s stopped", self._endpoint)
        finally:
            self._stop.set()
            self._wake()

    def _restore(self, path: Path, found: Found) -> None:
        try:
            self._registry.restore(found.get("service", {}), found.get("beat", {}))
            self._runs.restore(found.get("run", {}))
            self._chunks.restore(found.get("chunk", {}))
        except (ValueError, TypeError, KeyError, OverflowError, struct.error, DecodeError) as error:
            raise ConfigError(f"{path} holds a record that no plane wrote: {error}") from error

    def _services(self) -> dict[str, dict[str, UnaryMethod]]:
        def endpoint() -> str:  # known only once the server listens
            return self._endpoint

        desk = Desk(self._rules, None if self._store is None else self._store.saved)
        served: dict[str, Mapping[str, UnaryMethod]] = {}
        if Dialect.CLASSIC in self._dialects:
            spoken = classic.ClassicControlPlane(self._registry, self._runs, endpoint, self._chunks, desk)
            served[classic.SERVICE] = spoken.methods()
        if Dialect.V1 in self._dialects:
            served[v1.SERVICE] = v1.V1ControlPlane(self._registry, endpoint, desk).methods()
        return {
            service: {name: self._gated(f"/{service}/{name}", method) for name, method in methods.items()}
            for service, methods in served.items()
        }

    def _keep(self, kind: str, record_id: str, change: Callable[[], bytes] | None) -> None:
        if self._store is not None:  # before and after the block, only the memory changes
            self._store.put(kind, record_id, change)

    def _lose_store(self) -> None:
        self._store = None

    def _gated(self, name: str, method: UnaryMethod) -> UnaryMethod:
        async def held(gate: Gate, request: Message) -> Message:
            await gate(name, request)
            answer: Message = await method.handle(request)
            return answer

        def handle(request: Message) -> Awaitable[Message]:
            return method.handle(request) if self.gate is None else held(self.gate, request)

        return replace(method, handle=handle)

    async def _keep_leases(self) -> None:
        due = anyio.current_time()
        while True:
            due = max(due + self._janitor_interval, anyio.current_time())
            await anyio.sleep_until(due)
            self._registry.sweep()

    def _wake(self) -> None:
        change, self._change = self._change, None
        if change is not None:
            change.set()


def _open_store(path: Path) -> AbstractAsyncContextManager[Store]:
    # A plane in memory needs no SQLite, and some Pythons are built without it.
    from flowctl_aio.plane.store import open_store

    return open_store(path)


def _utc_now() -> datetime:
    return datetime.now(UTC)
