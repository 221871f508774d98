"""An embedded control plane with faults on demand: away, restarting, slow, rejecting, forgetting, hanging.

It is the real plane on a real port; what goes wrong goes wrong before it, or with it as a whole.
"""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple
from weakref import WeakSet

import anyio
from google.protobuf.message import Message

from flowctl_aio.errors import UsageError
from flowctl_aio.plane import EmbeddedControlPlane
from flowctl_aio.testing.beats import Beats, beat_of
from flowctl_aio.testing.faults import BEATING, STATUS_NAMES, Fault
from flowctl_aio.testing.ports import bind_port
from flowctl_aio.testing.waiting import wait_known
from flowctl_aio.transport.address import host_of
from flowctl_aio.transport.status import Refused
from flowctl_aio.types import Health, ServiceStatus

MAX_ARRIVALS = 100_000


class Arrival(NamedTuple):
    """A call that came: when, in seconds of the loop's clock, and the last part of its name."""

    moment: float
    method: str


class PlaneUnderTest:
    """A control plane that fails when told to. It keeps its port, whatever becomes of it.

    The block may be entered in one task and left in another. Faults add up, in the order in which they began.

    Example:
        async with PlaneUnderTest() as plane, FlowctlSession(component, config_for(plane)) as session:
            async with plane.rejecting("UNAVAILABLE", methods=["Heartbeat"]) as fault:
                await fault.wait_hits(3)
                assert session.state is State.DEGRADED
            await plane.restart()
            await plane.wait_registered(session.service_id)

    What it knows stands in a file that goes with the block, so that it can come back with its memory.

    Args:
        db: a file of your own, which stays.
        options: what an `EmbeddedControlPlane` takes beside, such as `quirks="flowctl"`; except its `gate`.

    Attributes:
        calls: how many calls have come, by the last part of their names: `plane.calls["Heartbeat"]`.
        arrivals: the last 100,000 of them, oldest first.
    """

    def __init__(self, address: str = "127.0.0.1:0", *, db: str | PathLike[str] | None = None, **options: Any) -> None:
        self._address, self._db, self._options = address, db, options
        self.calls: Counter[str] = Counter()
        self.arrivals: deque[Arrival] = deque(maxlen=MAX_ARRIVALS)
        self._plane: EmbeddedControlPlane | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self._faults: list[Fault] = []
        self._listeners: WeakSet[Beats] = WeakSet()
        self._back = anyio.Event()
        self._is_over = False
        self._keeper: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<PlaneUnderTest of {self._plane or 'no plane yet'!r}>"

    # What it knows

    @property
    def plane(self) -> EmbeddedControlPlane:
        """The embedded plane: after a restart another one; while it is down, the one that was.

        Raises:
            UsageError: if it was never up.
        """
        if self._plane is None:
            raise UsageError("a plane under test is there once its block is entered")
        return self._plane

    @property
    def endpoint(self) -> str:
        """Where the plane can be dialled, also when nobody answers there.

        Raises:
            UsageError: if it was never up.
        """
        return self.plane.endpoint

    def is_running(self) -> bool:
        return self._plane is not None and self._plane.is_running()

    def services(self) -> list[ServiceStatus]:
        """Every service as it is now; of a plane that is down, what it knew."""
        return self.plane.services()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; it is asked now, after each change, and when the plane is back.

        Raises:
            UsageError: if the condition does not hold when the block of the plane ends.

        Cancellation: loses nothing.
        """
        while not condition():
            if self._is_over:
                raise UsageError("the plane has ended, so nothing will change")
            if self.is_running():
                await self.plane.wait_changed()
            else:
                await self._back.wait()

    async def wait_registered(
        self, service_id: str, health: Health | None = Health.HEALTHY, timeout: float = 5.0
    ) -> ServiceStatus:
        """Return a service once it is registered, and is as `health` says; None for any health.

        Raises:
            AssertionError: if that takes longer than `timeout` seconds.

        Cancellation: loses nothing.
        """
        return await wait_known(self, service_id, health, timeout)

    def listen(self, listener: Beats) -> None:
        """Tell a listener of every beat from now on; `beats_of` does it."""
        self._listeners.add(listener)

    # Its faults

    async def down(self) -> None:
        """Stop: calls under way are cut off, and new ones find nobody. Twice is once.

        Cancellation: it stops all the same.
        """
        if not self.is_running():
            return
        self._back = anyio.Event()
        await self.plane.aclose()
        self._keeper = _kept(self.endpoint)

    async def up(self, *, forget: bool = True) -> None:
        """Come back at the same port after `down`; up already, it stays so.

        Args:
            forget: come back knowing nobody, with the file gone.

        Raises:
            UsageError: if it was never up.

        Cancellation: leaves it down.
        """
        if self.is_running():
            return
        if forget:
            self._wipe()
        self._release()
        self._plane = await self._start(self.endpoint)
        self._back.set()

    async def restart(self, *, forget: bool = True) -> None:
        """Go down and come back at the same port; with `forget`, knowing nobody.

        Cancellation: may leave it down.
        """
        await self.down()
        await self.up(forget=forget)

    @asynccontextmanager
    async def outage(self, *, forget: bool = True) -> AsyncIterator[None]:
        """Be down while the block runs."""
        await self.down()
        try:
            yield
        finally:
            await self.up(forget=forget)

    def forget(self, service_id: str | None = None) -> None:
        """Lose one entry, or all, without a word to anybody."""
        self.plane.forget(service_id)

    @asynccontextmanager
    async def forgetting(self, service_id: str | None = None) -> AsyncIterator[Fault]:
        """Lose the entry again before each beat while the block runs, so that no beat finds it."""

        async def act() -> None:
            self.forget(service_id)

        async with self._faulty(Fault(act, methods=BEATING)) as fault:
            yield fault

    @asynccontextmanager
    async def slow(
        self, seconds: float, *, methods: Iterable[str] = (), times: int | None = None
    ) -> AsyncIterator[Fault]:
        """Answer so much later while the block runs. See `Fault` for `methods` and `times`."""

        async def act() -> None:
            await anyio.sleep(seconds)

        async with self._faulty(Fault(act, methods=methods, times=times)) as fault:
            yield fault

    @asynccontextmanager
    async def rejecting(
        self,
        code: str = "UNAVAILABLE",
        details: str = "refused by the test",
        *,
        methods: Iterable[str] = (),
        times: int | None = None,
    ) -> AsyncIterator[Fault]:
        """Answer with the gRPC status `code` while the block runs. See `Fault` for `methods` and `times`.

        Raises:
            UsageError: if there is no such status.
        """
        if code not in STATUS_NAMES:
            raise UsageError(f"{code!r} is no status to refuse with; there are {', '.join(sorted(STATUS_NAMES))}")

        async def act() -> None:
            raise Refused(code, details)

        async with self._faulty(Fault(act, methods=methods, times=times)) as fault:
            yield fault

    @asynccontextmanager
    async def hanging(self, *, methods: Iterable[str] = (), times: int | None = None) -> AsyncIterator[Fault]:
        """Answer nothing while the block runs; after it, the calls that still wait are answered."""
        over = anyio.Event()
        async with self._faulty(Fault(over.wait, methods=methods, times=times)) as fault:
            try:
                yield fault
            finally:
                over.set()

    # Its life

    async def __aenter__(self) -> PlaneUnderTest:
        """Listen.

        Raises:
            ConfigError: if the address is malformed or taken, or an option is wrong.
            UsageError: if the block was entered before.

        Cancellation: stops what had started.
        """
        if self._plane is not None:
            raise UsageError("a plane under test is entered once; make a new one")
        if self._db is None:
            self._folder = TemporaryDirectory(prefix="flowctl_aio-plane-")
            self._db = Path(self._folder.name, "plane.db")
        try:
            self._plane = await self._start(self._address)
        except BaseException:
            self._clean()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.plane.aclose()
        self._clean()
        self._is_over = True
        self._back.set()

    async def _start(self, address: str) -> EmbeddedControlPlane:
        return await EmbeddedControlPlane(address, db=self._db, gate=self._meet, **self._options).__aenter__()

    def _wipe(self) -> None:
        """Take away the file, with what SQLite keeps beside it."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._db}{suffix}").unlink(missing_ok=True)

    def _clean(self) -> None:
        self._release()
        if self._folder is not None:
            self._folder.cleanup()

    @asynccontextmanager
    async def _faulty(self, fault: Fault) -> AsyncIterator[Fault]:
        self._faults.append(fault)
        try:
            yield fault
        finally:
            self._faults.remove(fault)

    async def _meet(self, method: str, request: Message) -> None:
        name = method.rpartition("/")[2]
        now = anyio.current_time()
        self.calls[name] += 1
        self.arrivals.append(Arrival(now, name))
        if name in BEATING:
            beat = beat_of(request, now)
            for listener in tuple(self._listeners):
                listener.note(beat)
        for fault in tuple(self._faults):
            await fault.meet(name)

    def _release(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None


def _kept(endpoint: str) -> socket.socket | None:
    """The port of a plane that is down; None if there is none to keep, or somebody was faster, which coming up says."""
    if endpoint.startswith("unix:"):
        return None
    try:
        return bind_port(host_of(endpoint), int(endpoint.rpartition(":")[2]))
    except OSError:
        return None
