"""A port that is kept while nobody listens there: whoever dials it is refused, and nobody gets it by chance."""

from __future__ import annotations

import socket


def bind_port(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A socket that has the port and does not listen yet; another one may take the port while this one has it.

    Raises:
        OSError: if somebody listens there.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
