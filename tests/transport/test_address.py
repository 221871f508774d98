"""Endpoints as text."""

from __future__ import annotations

import socket

import pytest

from flowctl_aio.errors import ConfigError
from flowctl_aio.transport.address import check_plaintext, dialable, host_of, is_loopback, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("localhost:8080", "localhost:8080"),
        (":8080", "localhost:8080"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("[::1]:50051", "[::1]:50051"),
        ("[fe80::1]:1", "[fe80::1]:1"),
        ("a-b.example.org:65535", "a-b.example.org:65535"),
        ("dns:///plane.example.org:8080", "dns:///plane.example.org:8080"),
        ("unix:///run/flowctl.sock", "unix:///run/flowctl.sock"),
        ("unix:relative.sock", "unix:relative.sock"),
    ],
)
def test_an_endpoint_is_what_a_flowctl_can_dial(text, endpoint):
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "localhost",
        "localhost:",
        "localhost:-1",
        "localhost:65536",
        "localhost:http",
        "localhost:80/path",
        "::1:80",
        "host name:80",
        "host:80\n",
        "unix:",
        "unix:///",
        "ipv4:1.2.3.4:80",
        "user:password@host:80",
    ],
)
def test_anything_else_is_a_config_error_that_quotes_it(text):
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["http://localhost:8080", "https://plane:443", "grpc://plane:80"])
def test_a_url_gets_a_hint(text):
    with pytest.raises(ConfigError, match="URL cannot be dialled by gRPC; give host:port"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("endpoint", "host", "loopback"),
    [
        ("localhost:1", "localhost", True),
        ("127.0.0.1:1", "127.0.0.1", True),
        ("127.8.9.10:1", "127.8.9.10", True),
        ("[::1]:1", "::1", True),
        ("unix:///a", "", True),
        ("0.0.0.0:1", "0.0.0.0", False),
        ("[::]:1", "::", False),
        ("10.0.0.1:1", "10.0.0.1", False),
        ("dns:///example.org:1", "example.org", False),
        ("dns:///localhost:1", "localhost", True),
        ("localhost.example.org:1", "localhost.example.org", False),
        ("127.0.0.1.example.org:1", "127.0.0.1.example.org", False),
    ],
)
def test_what_stays_on_this_machine(endpoint, host, loopback):
    assert (host_of(endpoint), is_loopback(endpoint)) == (host, loopback)
    if loopback:
        check_plaintext(endpoint, insecure=False)
    else:
        with pytest.raises(ConfigError, match="insecure=True"):
            check_plaintext(endpoint, insecure=False)
        check_plaintext(endpoint, insecure=True)


@pytest.mark.parametrize(
    ("bound", "advertised", "endpoint"),
    [
        ("127.0.0.1:0", "", "127.0.0.1:7"),
        ("[::1]:0", "", "[::1]:7"),
        ("0.0.0.0:0", "", f"{socket.gethostname()}:7"),
        ("[::]:0", "", f"{socket.gethostname()}:7"),
        ("0.0.0.0:0", "pod-1.svc", "pod-1.svc:7"),
        ("0.0.0.0:0", "fd00::1", "[fd00::1]:7"),
        ("unix:///a", "pod-1", "unix:///a"),
    ],
)
def test_a_bound_address_becomes_one_that_can_be_dialled(bound, advertised, endpoint):
    assert dialable(bound, 7, advertise_host=advertised) == endpoint
