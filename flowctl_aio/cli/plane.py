"""`flowctl-aio plane`: the embedded control plane as a process of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import anyio
from cyclopts import Parameter

from flowctl_aio import EmbeddedControlPlane
from flowctl_aio.cli.service import print_ready
from flowctl_aio.cli.signals import until_told
from flowctl_aio.cli.systemd import Notifier
from flowctl_aio.errors import ConfigError
from flowctl_aio.security import Admission, ServerTls


def plane(
    *,
    bind: Annotated[str, Parameter(help="Where to listen; port 0 takes a free one.")] = "127.0.0.1:8080",
    port: Annotated[int | None, Parameter(help="The port to listen on, in place of the one in --bind.")] = None,
    db: Annotated[Path | None, Parameter(help="The file that keeps what the plane knows; else memory does.")] = None,
    quirks: Annotated[Literal["flowctl"] | None, Parameter(help="Be as wrong as a real flowctl.")] = None,
    chunks: Annotated[bool | None, Parameter(help="Know chunk runs; a plane with quirks does only if told.")] = None,
    heartbeat_ttl: Annotated[float, Parameter(help="Seconds without a heartbeat until a service is unhealthy.")] = 30.0,
    janitor_interval: Annotated[float, Parameter(help="Seconds between two looks for such services.")] = 10.0,
    insecure: Annotated[bool, Parameter(help="Listen in plaintext for other machines too.")] = False,
    tls_cert: Annotated[
        str, Parameter(help="PEM of a certificate; encrypts what is said to the plane.", show_default=False)
    ] = "",
    tls_key: Annotated[str, Parameter(help="PEM of its key.", show_default=False)] = "",
    tls_client_ca: Annotated[
        str, Parameter(help="PEM of who signs the clients; others are sent away.", show_default=False)
    ] = "",
    accept_tokens_file: Annotated[
        str, Parameter(help="File of the tokens that let callers in, one a line.", show_default=False)
    ] = "",
    watch_parent: Annotated[bool, Parameter(negative=(), help="End when the parent process does.")] = False,
    with_parent: Annotated[bool, Parameter(negative=(), help="End when standard input closes.", show=False)] = False,
) -> None:
    """Run a control plane, for development and single machines."""
    is_secured = bool(tls_cert or tls_key or tls_client_ca)
    running = EmbeddedControlPlane(
        bind if port is None else with_port(bind, port),
        heartbeat_ttl=heartbeat_ttl,
        janitor_interval=janitor_interval,
        insecure=insecure,
        db=db,
        quirks=quirks,
        chunks=chunks,
        tls=ServerTls(tls_cert, tls_key, tls_client_ca) if is_secured else None,
        admission=Admission(tokens_file=accept_tokens_file) if accept_tokens_file else None,
    )
    asyncio.run(_plane(running, with_parent=with_parent, watch_parent=watch_parent))


async def _plane(running: EmbeddedControlPlane, *, with_parent: bool, watch_parent: bool) -> None:
    notifier = Notifier()
    async with (
        until_told(with_parent=with_parent, watch_parent=watch_parent) as told,
        running,
        anyio.create_task_group() as group,
    ):
        group.start_soon(notifier.run, lambda: repr(running))
        print_ready("plane", running.endpoint)
        await told.wait()
        notifier.send(STOPPING="1", STATUS=f"stopping: {told.why}")
        group.cancel_scope.cancel()


def with_port(address: str, port: int) -> str:
    """`address` with another port.

    Raises:
        ConfigError: if it is no `host:port`, or that is no port.
    """
    host, colon, _ = address.rpartition(":")
    if not colon or address.startswith("unix:"):
        raise ConfigError(f"--bind {address} has no port that --port could replace")
    if not 0 <= port < 65536:
        raise ConfigError(f"--port {port} is not between 0 and 65535")
    return f"{host}:{port}"
