"""Claims about what `flowctl-aio plane` makes of its options."""

import pytest

from flowctl_aio.cli.plane import with_port
from flowctl_aio.errors import ConfigError


@pytest.mark.parametrize(
    ("bind", "port", "address"),
    [("127.0.0.1:8080", 9, "127.0.0.1:9"), ("localhost:0", 0, "localhost:0"), ("[::1]:8080", 65535, "[::1]:65535")],
)
def test_the_port_replaces_the_one_of_the_address(bind, port, address):
    assert with_port(bind, port) == address


@pytest.mark.parametrize(
    ("bind", "port", "text"),
    [
        ("127.0.0.1:8080", 65536, "--port 65536 is not between 0 and 65535"),
        ("127.0.0.1:8080", -1, "--port -1 is not between"),
        ("unix:///tmp/x", 1, "--bind unix:///tmp/x has no port"),
        ("localhost", 1, "--bind localhost has no port"),
    ],
)
def test_a_port_that_fits_nowhere_is_refused(bind, port, text):
    with pytest.raises(ConfigError, match=text):
        with_port(bind, port)
