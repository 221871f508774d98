"""What may be shown of a server's address: providers put keys into its query, its path and its user part."""

from __future__ import annotations

from urllib.parse import urlsplit

from flowctl_aio.errors import ConfigError


def check_url(url: str) -> None:
    """Checks that a URL is one of http or https with a host.

    Raises:
        ConfigError: if it is not; only its scheme and host are told.
    """
    try:
        parts = urlsplit(url)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_fit = False
    if not is_fit:
        raise ConfigError(f"a Stellar RPC server has an http or https URL, not {shown(url)}")


def shown(url: str) -> str:
    """The URL without all that may be a secret: scheme, host and port remain, and `/...` for a path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "one that cannot be read"
    if not parts.scheme or not parts.hostname:
        return "one without a scheme or a host"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{'/...' if parts.path.strip('/') else ''}"
