"""What the verbs that run one service share: their settings, and a life that ends by signal or with their parent."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

import anyio
from cyclopts import Parameter

from flowctl_aio import FlowctlConfig, FlowctlSession, Health, tune_malloc
from flowctl_aio.cli.plane_options import PlaneOptions
from flowctl_aio.cli.signals import Told, until_told
from flowctl_aio.cli.systemd import Notifier
from flowctl_aio.component import Component
from flowctl_aio.config.components import ComponentSettings
from flowctl_aio.config.reading.resolve import Resolved, resolve, resolve_component
from flowctl_aio.errors import ConfigError

S = TypeVar("S", bound=ComponentSettings)
# Under `flowctl run`: some 2 s after it has asked its components to end, its plane is gone, and the farewell must
# come before; and its limit of a message is this, on every call.
RUNNER_DRAIN = 0.8
RUNNER_MESSAGE_BYTES = 50 * 1024 * 1024
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServiceOptions(PlaneOptions):
    """Options of every service. What is not given comes from the environment, a file, a profile, or a default."""

    bind: Annotated[str | None, Parameter(help="Where the data plane listens [a free port of this host].")] = None
    health: Annotated[str | None, Parameter(help="Where the health pages listen, host:port [nowhere].")] = None
    heartbeat_interval: Annotated[float | None, Parameter(help="Seconds between two heartbeats [10].")] = None
    heartbeat_mode: Annotated[
        Literal["loop", "thread"] | None, Parameter(help="Beat from a thread where the loop is blocked [loop].")
    ] = None
    drain_timeout: Annotated[
        float | None, Parameter(help="Seconds that streams may take to end after a signal [15; 0.8 in `flowctl run`].")
    ] = None
    serve_tls_cert: Annotated[str | None, Parameter(help="PEM of the data plane's certificate.")] = None
    serve_tls_key: Annotated[str | None, Parameter(help="PEM of its key.")] = None
    serve_tls_client_ca: Annotated[str | None, Parameter(help="PEM of who signs the clients of the data plane.")] = None
    accept_tokens_file: Annotated[str | None, Parameter(help="File of the tokens that let callers in.")] = None
    tune_malloc: Annotated[bool, Parameter(help="Keep large buffers in the process: faster large messages.")] = True
    watch_parent: Annotated[bool, Parameter(negative=(), help="End when the parent process does.")] = False
    with_parent: Annotated[bool, Parameter(negative=(), help="End when standard input closes.", show=False)] = False

    def settings(self) -> dict[str, Any]:
        """The options as settings of a session; None for what is not given."""
        return {
            **super().settings(),
            "bind": self.bind,
            "health_bind": self.health,
            "heartbeat_interval": self.heartbeat_interval,
            "heartbeat_mode": self.heartbeat_mode,
            "drain_timeout": self.drain_timeout,
            "serve_tls_cert": self.serve_tls_cert,
            "serve_tls_key": self.serve_tls_key,
            "serve_tls_client_ca": self.serve_tls_client_ca,
            "accept_tokens_file": self.accept_tokens_file,
        }

    def load(self, component: str, component_id: str | None, notes: Sequence[str] = ()) -> FlowctlConfig:
        """The settings of one component's session; what is known but has no effect is logged.

        Args:
            notes: what is to be known of the component's own settings, to be logged with it.

        Raises:
            ConfigError: if anything is wrong with them; all of it is named.
        """
        resolved = self._resolve(component, component_id)
        for note in dict.fromkeys((*resolved.notes, *notes)):
            logging.getLogger(__name__).warning("%s", note)
        _set_log_level(resolved)
        return _for_runner(resolved)

    def load_own(self, kind: type[S], component: str, component_id: str | None) -> Resolved[S]:
        """The component's own settings.

        Raises:
            ConfigError: if anything is wrong with them, or with those of its session: all of it is named at once.
        """
        problems: list[str] = []
        own: Resolved[S] | None = None
        try:
            own = resolve_component(kind, file=self.config)
        except ConfigError as error:
            problems += error.problems
        try:
            self._resolve(component, component_id)
        except ConfigError as error:
            problems += error.problems
        if own is None or problems:
            raise ConfigError(*dict.fromkeys(problems))
        return own

    def _resolve(self, component: str, component_id: str | None) -> Resolved[FlowctlConfig]:
        return resolve(component, file=self.config, profile=self.profile, component_id=component_id, **self.settings())


def _set_log_level(resolved: Resolved[FlowctlConfig]) -> None:
    """The level that somebody chose; the default of the command line is quieter than that of the settings."""
    if resolved.origins["log_level"] != "default":
        logging.getLogger().setLevel(LEVELS[resolved.config.log_level])


def _for_runner(resolved: Resolved[FlowctlConfig]) -> FlowctlConfig:
    """Under `flowctl run` there is less time to drain, and more room in a message, unless somebody has set them."""
    if not resolved.origins["component_id"].startswith("environment FLOWCTL_"):
        return resolved.config
    fitting: dict[str, Any] = {"drain_timeout": RUNNER_DRAIN, "stranger_message_bytes": RUNNER_MESSAGE_BYTES}
    return replace(
        resolved.config, **{name: value for name, value in fitting.items() if resolved.origins[name] == "default"}
    )


async def run_service(
    options: ServiceOptions,
    component: str,
    component_id: str | None,
    make: Callable[[FlowctlConfig], Awaitable[Component]],
    notes: Sequence[str] = (),
) -> None:
    """Serve a component until SIGINT or SIGTERM; a second signal ends it at once.

    Prints one JSON line on standard output when it is ready, and tells systemd.

    Args:
        component: whose settings to read, such as `ttp_arrow_processor`.
        make: makes it, once its process hears signals; it gets the settings of the session.
        notes: on the component's own settings.
    """
    if options.tune_malloc:
        tune_malloc()
    config = options.load(component, component_id, notes)
    notifier = Notifier()
    async with (
        until_told(with_parent=options.with_parent, watch_parent=options.watch_parent) as told,
        AsyncExitStack() as stack,
    ):
        session = await _begin(stack, told, config, make)
        if session is None:
            return
        session.start_soon(notifier.run, lambda: repr(session), lambda: session.read_health() is not Health.UNHEALTHY)
        print_ready(session.service_id, session.endpoint)
        await told.wait()
        logging.getLogger(__name__).info("%s ends: %s", session.service_id, told.why)
        notifier.send(STOPPING="1", STATUS=f"draining: {told.why}")


async def _begin(
    stack: AsyncExitStack, told: Told, config: FlowctlConfig, make: Callable[[FlowctlConfig], Awaitable[Component]]
) -> FlowctlSession | None:
    """The session, once it is up; None if somebody wants the end before: a lake or a plane may be long in answering."""
    session = None
    async with anyio.create_task_group() as group:
        watching = anyio.CancelScope()

        async def give_up() -> None:
            with watching:
                await told.wait()
                group.cancel_scope.cancel()

        group.start_soon(give_up)
        session = await stack.enter_async_context(FlowctlSession(await make(config), config))
        watching.cancel()
    return session


def print_ready(service_id: str, endpoint: str) -> None:
    """Tell a waiting parent, or a reader, where the service is."""
    print(json.dumps({"ready": service_id, "endpoint": endpoint}), flush=True)
