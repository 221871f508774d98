"""gRPC statuses ⇄ our errors."""

from __future__ import annotations

import grpc
import pytest

from flowctl_aio.errors import (
    ComponentError,
    ConfigError,
    DeadlineExceededError,
    FrameCorruptError,
    FrameTooLargeError,
    MissingLedgerError,
    PeerError,
    PeerUnavailableError,
    StreamCancelledError,
    StreamError,
    StreamTruncatedError,
)
from flowctl_aio.transport.status import (
    Refused,
    connection_fault,
    error_from_status,
    is_not_found,
    is_unimplemented,
    status_of,
)

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "kind", "parent"),
    [
        (Code.UNAVAILABLE, PeerUnavailableError, ConnectionError),
        (Code.CANCELLED, StreamCancelledError, StreamError),
        (Code.INTERNAL, PeerError, StreamError),
        (Code.UNKNOWN, PeerError, StreamError),
        (Code.FAILED_PRECONDITION, PeerError, StreamError),
        (Code.UNAUTHENTICATED, PeerError, StreamError),
        (Code.PERMISSION_DENIED, PeerError, StreamError),
    ],
)
def test_a_status_becomes_the_error_it_means(code, kind, parent):
    error = error_from_status(code, "some words", "localhost:1")
    assert type(error) is kind
    assert isinstance(error, parent)
    assert (error.code, error.details, error.peer) == (code.name, "some words", "localhost:1")
    assert "localhost:1" in str(error)


@pytest.mark.parametrize(
    ("details", "is_tls", "expected"),
    [
        (
            "x: CERTIFICATE_VERIFY_FAILED: certificate has expired",
            True,
            "the certificate of the server, or of its CA, has",
        ),
        ("x: CERTIFICATE_VERIFY_FAILED: certificate is not yet valid", True, "check the clocks"),
        ("x: CERTIFICATE_VERIFY_FAILED: self signed certificate", True, "check the CA"),
        ("x: Hostname Verification Check failed.", True, "check the server name"),
        ("x: SSLV3_ALERT_BAD_CERTIFICATE", True, "check the client certificate"),
        ("x: WRONG_VERSION_NUMBER", True, "the server answers in clear"),
        ("x: TLSV1_ALERT_PROTOCOL_VERSION", True, "no TLS from 1.2 on"),
        ("x: missing selected ALPN property", True, "does not offer HTTP/2"),
        ("x: Unwrap failed (TSI_DATA_CORRUPTED)", True, "as if it wanted a client certificate"),
        ("x: UNSUPPORTED_PROTOCOL", True, "no TLS from 1.2 on"),
        ("x: Failed to create security handshaker.", True, "the certificates given here cannot be used"),
        ("x: Tls handshake failed (TSI_PROTOCOL_FAILURE): news", True, "TLS: the handshake failed"),
        ("x: Socket closed", True, "perhaps TLS: the server hung up, as if it wanted a client certificate"),
        ("x: recvmsg:Connection reset by peer", False, "perhaps TLS: the server hung up on plaintext"),
    ],
)
def test_a_connection_that_tls_prevents_says_what_to_look_at(details, is_tls, expected):
    said = connection_fault(f"failed to connect to all addresses; last error: {details}", is_tls=is_tls)
    assert expected in said
    assert said.endswith(details)


@pytest.mark.parametrize(
    ("details", "is_tls"),
    [
        ("failed to connect to all addresses; last error: x: Connection refused", True),
        ("failed to connect to all addresses; last error: x: CERTIFICATE_VERIFY_FAILED", False),
        ("Socket closed", True),
        ("Socket closed", False),
        ("", True),
    ],
)
def test_other_faults_of_connections_are_not_blamed_on_tls(details, is_tls):
    assert connection_fault(details, is_tls=is_tls) == details


def test_an_expired_deadline_is_a_timeout():
    error = error_from_status(Code.DEADLINE_EXCEEDED, "", "localhost:1")
    assert isinstance(error, DeadlineExceededError)
    assert isinstance(error, TimeoutError)


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (Refused("NOT_FOUND", "who?"), Code.NOT_FOUND, "who?"),
        (FrameTooLargeError("ledger 7", size=9, limit=8), Code.RESOURCE_EXHAUSTED, "ledger 7 takes 9 bytes"),
        (FrameCorruptError("cut"), Code.INVALID_ARGUMENT, "cut"),
        (ConfigError("endpoint is empty"), Code.INVALID_ARGUMENT, "endpoint is empty"),
        (ComponentError("KeyError in ttp"), Code.FAILED_PRECONDITION, "KeyError in ttp"),
        (MissingLedgerError(7, "the lake"), Code.FAILED_PRECONDITION, "ledger 7 is not in the lake"),
        (StreamTruncatedError("no marker"), Code.ABORTED, "no marker"),
        (KeyError("password=hunter2"), Code.INTERNAL, "KeyError in the component"),
    ],
)
def test_an_error_becomes_the_status_that_tells_it(error, code, details):
    found, text = status_of(error)
    assert found is code
    assert details in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        ("NOT_FOUND", "", True),
        ("FAILED_PRECONDITION", "", True),
        ("UNKNOWN", "service ttp Not Found", True),
        ("UNKNOWN", "disk full", False),
        ("UNKNOWN", None, False),
        ("INTERNAL", "not found", False),
        (None, None, False),
    ],
)
def test_a_plane_says_in_several_ways_that_it_does_not_know_us(code, details, expected):
    assert is_not_found(StreamError("x", code=code, details=details)) is expected


def test_a_missing_method_is_told_from_other_failures():
    assert is_unimplemented(StreamError("x", code="UNIMPLEMENTED"))
    assert is_unimplemented(StreamError("x", code="UNKNOWN", details="GetServiceStatus not implemented"))
    assert not is_unimplemented(StreamError("x", code="UNKNOWN", details="service x not found"))
    assert not is_unimplemented(StreamError("x", code="UNAVAILABLE"))
    assert not is_unimplemented(StreamError("x"))
