"""Endpoints as text: what can be dialled, what can be bound, and what stays on this machine."""

from __future__ import annotations

import ipaddress
import re

from flowctl_aio.errors import ConfigError

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]*):(?P<port>\d{1,5})")


def parse_endpoint(text: str) -> str:
    """Check an endpoint, and fill in `localhost` where only a port is given.

    Accepted are `host:port`, `:port`, `[v6]:port`, `dns:///host:port` and `unix:///path`,
    the forms that a real flowctl can dial.

    Raises:
        ConfigError: if it is empty, a URL with another scheme, or has no port.
    """
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").strip("/"):
            raise ConfigError(f"{text!r} names no socket (unix:///path)")
        return text
    match = _HOST_PORT.fullmatch(text.removeprefix("dns:///"))
    if match is None or not 0 <= int(match["port"]) <= 65535:
        hint = "an HTTP URL cannot be dialled by gRPC; give" if "://" in text else "give"
        raise ConfigError(f"{text!r} is not an endpoint: {hint} host:port")
    return f"localhost:{match['port']}" if text.startswith(":") else text


def host_of(endpoint: str) -> str:
    """The host part of an endpoint, without brackets; empty for a unix socket."""
    if endpoint.startswith("unix:"):
        return ""
    return endpoint.removeprefix("dns:///").rpartition(":")[0].strip("[]")


def is_loopback(endpoint: str) -> bool:
    """Whether traffic to `endpoint` cannot leave this machine."""
    host = host_of(endpoint)
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def check_plaintext(endpoint: str, *, insecure: bool) -> None:
    """Refuse to talk in clear with another machine unless the user asked for it.

    Raises:
        ConfigError: if `endpoint` is not on this machine and `insecure` is false.
    """
    if not insecure and not is_loopback(endpoint):
        raise ConfigError(f"{endpoint} is not on this machine, and the connection is plaintext: say insecure=True")


def dialable(bound: str, port: int, *, advertise_host: str = "") -> str:
    """The endpoint under which others reach a server that is bound to `bound` and got `port`.

    A wildcard address can be bound but not dialled, so it needs a name: `advertise_host`, or else this host's own.
    """
    if bound.startswith("unix:"):
        return bound
    host = advertise_host or host_of(bound)
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared with, not bound to
        import socket

        host = socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
