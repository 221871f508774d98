"""What the verbs that run one service share: their settings, and a life that ends by signal or with their parent."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from cyclopts import Parameter

from flowctl_aio import FlowctlConfig, FlowctlSession, tune_malloc
from flowctl_aio.cli.signals import until_told
from flowctl_aio.cli.systemd import Notifier
from flowctl_aio.component import Component
from flowctl_aio.config.reading.resolve import Resolved, resolve

# Some 2 s after `flowctl run` has asked its components to end, its plane is gone; the farewell must come before.
RUNNER_DRAIN = 0.8
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


@Parameter(name="*")
@dataclass(frozen=True)
class ServiceOptions:
    """Options of every service. What is not given comes from the environment, a file, a profile, or a default."""

    plane: Annotated[str | None, Parameter(help="The control plane, host:port [localhost:8080].")] = None
    bind: Annotated[str | None, Parameter(help="Where the data plane listens [a free port of this host].")] = None
    health: Annotated[str | None, Parameter(help="Where the health pages listen, host:port [nowhere].")] = None
    config: Annotated[str | None, Parameter(help="A YAML file of settings.")] = None
    profile: Annotated[str, Parameter(help="local, flowctl, development or production.")] = ""
    heartbeat_interval: Annotated[float | None, Parameter(help="Seconds between two heartbeats [10].")] = None
    heartbeat_mode: Annotated[
        Literal["loop", "thread"] | None, Parameter(help="Beat from a thread where the loop is blocked [loop].")
    ] = None
    drain_timeout: Annotated[
        float | None, Parameter(help="Seconds that streams may take to end after a signal [15; 0.8 in `flowctl run`].")
    ] = None
    insecure: Annotated[bool | None, Parameter(help="Allow plaintext to and from other machines.")] = None
    tls_ca: Annotated[str | None, Parameter(help="PEM of whom to trust; encrypts the channels.")] = None
    tls_cert: Annotated[str | None, Parameter(help="PEM of a client certificate.")] = None
    tls_key: Annotated[str | None, Parameter(help="PEM of its key.")] = None
    tls_server_name: Annotated[str | None, Parameter(help="Name in the certificates of servers.")] = None
    serve_tls_cert: Annotated[str | None, Parameter(help="PEM of the data plane's certificate.")] = None
    serve_tls_key: Annotated[str | None, Parameter(help="PEM of its key.")] = None
    serve_tls_client_ca: Annotated[str | None, Parameter(help="PEM of who signs the clients of the data plane.")] = None
    token_file: Annotated[str | None, Parameter(help="File of the bearer token to show.")] = None
    accept_tokens_file: Annotated[str | None, Parameter(help="File of the tokens that let callers in.")] = None
    tune_malloc: Annotated[bool, Parameter(help="Keep large buffers in the process: faster large messages.")] = True
    watch_parent: Annotated[bool, Parameter(help="End when the parent process does.")] = False
    with_parent: Annotated[bool, Parameter(help="End when standard input closes.", show=False)] = False

    def load(self, component: str, component_id: str | None) -> FlowctlConfig:
        """The settings of one component's session.

        Raises:
            ConfigError: if anything is wrong with them; all of it is named.
        """
        resolved = resolve(
            component,
            file=self.config,
            profile=self.profile,
            component_id=component_id,
            endpoint=self.plane,
            bind=self.bind,
            health_bind=self.health,
            heartbeat_interval=self.heartbeat_interval,
            heartbeat_mode=self.heartbeat_mode,
            drain_timeout=self.drain_timeout,
            insecure=self.insecure,
            tls_ca=self.tls_ca,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
            tls_server_name=self.tls_server_name,
            serve_tls_cert=self.serve_tls_cert,
            serve_tls_key=self.serve_tls_key,
            serve_tls_client_ca=self.serve_tls_client_ca,
            token_file=self.token_file,
            accept_tokens_file=self.accept_tokens_file,
        )
        for note in resolved.notes:
            logging.getLogger(__name__).warning("%s", note)
        _set_log_level(resolved)
        return _hurried(resolved)


def _set_log_level(resolved: Resolved[FlowctlConfig]) -> None:
    """The level that somebody chose; the default of the command line is quieter than that of the settings."""
    if resolved.origins["log_level"] != "default":
        logging.getLogger().setLevel(LEVELS[resolved.config.log_level])


def _hurried(resolved: Resolved[FlowctlConfig]) -> FlowctlConfig:
    """Under `flowctl run` there is less time to drain, unless somebody has set it."""
    by_runner = resolved.origins["component_id"].startswith("environment FLOWCTL_")
    if by_runner and resolved.origins["drain_timeout"] == "default":
        return replace(resolved.config, drain_timeout=RUNNER_DRAIN)
    return resolved.config


async def run_service(
    options: ServiceOptions, component: str, component_id: str | None, make: Callable[[], Awaitable[Component]]
) -> None:
    """Serve a component until SIGINT or SIGTERM; a second signal ends it at once.

    Prints one JSON line on standard output when it is ready, and tells systemd.

    Args:
        component: whose settings to read, such as `ttp_arrow_processor`.
        make: makes it, once its process hears signals.
    """
    if options.tune_malloc:
        tune_malloc()
    config = options.load(component, component_id)
    notifier = Notifier()
    async with (
        until_told(with_parent=options.with_parent, watch_parent=options.watch_parent) as told,
        FlowctlSession(await make(), config) as session,
    ):
        session.start_soon(notifier.run, session)
        print_ready(session.service_id, session.endpoint)
        await told.wait()
        logging.getLogger(__name__).info("%s ends: %s", session.service_id, told.why)
        notifier.send(STOPPING="1", STATUS=f"draining: {told.why}")


def print_ready(service_id: str, endpoint: str) -> None:
    """Tell a waiting parent, or a reader, where the service is."""
    print(json.dumps({"ready": service_id, "endpoint": endpoint}), flush=True)
