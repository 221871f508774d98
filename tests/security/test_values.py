"""What is refused before anything is opened, and what the values do not tell."""

from __future__ import annotations

import pytest

from flowctl_aio.errors import ConfigError
from flowctl_aio.security import Admission, ClientTls, Credentials, ServerTls


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: ClientTls(cert="client.pem"), "only the cert is given"),
        (lambda: ClientTls(key="client.key"), "only the key is given"),
        (lambda: ClientTls(cert=b"pem"), "only the cert is given"),
        (lambda: ServerTls("server.pem", ""), "only the cert is given"),
        (lambda: ServerTls("", b"pem"), "only the key is given"),
        (lambda: ServerTls("", ""), "needs a certificate and its key"),
        (lambda: Credentials(token="a", token_file="b"), "give token or token_file"),
        (lambda: Credentials(api_key="a", api_key_file="b"), "give api_key or api_key_file"),
        (lambda: Admission(), "lets nobody in"),
    ],
)
def test_half_of_a_thing_is_refused(make, problem):
    with pytest.raises(ConfigError, match=problem):
        make()


def test_secrets_stand_in_no_repr():
    values = [
        ClientTls("ca.pem", b"cert", b"hunter2"),
        ServerTls(b"cert", b"hunter2"),
        Credentials(token="hunter2", api_key="hunter2"),
        Admission(frozenset({"hunter2"})),
    ]
    assert "hunter2" not in repr(values)
