"""gRPC statuses ⇄ our errors. The one place where a foreign error becomes ours, and ours becomes a status."""

from __future__ import annotations

import re

import grpc
import grpc.aio

from flowctl_aio.errors import (
    CodecError,
    ComponentError,
    ConfigError,
    DeadlineExceededError,
    FlowctlError,
    FrameTooLargeError,
    PeerError,
    PeerUnavailableError,
    StreamCancelledError,
    StreamError,
)


class Refused(Exception):  # noqa: N818 - an answer, not a fault: it never leaves a server
    """What a handler raises to answer with a status: `code` is a gRPC status name, `details` goes to the client."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code, self.details = code, details


def error_from_rpc(error: grpc.aio.AioRpcError, peer: str, *, is_tls: bool = False) -> FlowctlError:
    """The error that a failed call means to its caller."""
    return error_from_status(error.code(), error.details() or "", peer, is_tls=is_tls)


def error_from_status(status: grpc.StatusCode, details: str, peer: str, *, is_tls: bool = False) -> FlowctlError:
    """The error that a status other than OK means to the caller, who had or had not switched TLS on."""
    code = status.name
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceededError(f"{peer}: no answer in time")
    if status is grpc.StatusCode.UNAVAILABLE:
        reason = connection_fault(details, is_tls=is_tls)
        return PeerUnavailableError(f"unavailable ({reason})", peer=peer, code=code, details=details)
    if status is grpc.StatusCode.CANCELLED:
        return StreamCancelledError("the call was cancelled", peer=peer, code=code, details=details)
    if status is grpc.StatusCode.UNAUTHENTICATED:
        return PeerError(f"{code}: check the token ({details})", peer=peer, code=code, details=details)
    if status is grpc.StatusCode.UNKNOWN and _BUSY in details.lower():
        reason = f"it serves one stream at a time, and has one already ({details})"
        return PeerError(reason, peer=peer, code=code, details=details)
    return PeerError(f"{code} ({details})", peer=peer, code=code, details=details)


# What gRPC says of a connection that did not come about, and what it means to the one who tried.
_TLS_FAULTS = [
    ("Hostname Verification", "the server's certificate is for another name than was dialled: check the server name"),
    ("certificate has expired", "the certificate of the server, or of its CA, has expired"),
    ("certificate is not yet valid", "the certificate of the server, or of its CA, is not valid yet: check the clocks"),
    ("CERTIFICATE_VERIFY_FAILED", "the server's certificate is not signed by a CA that is trusted here: check the CA"),
    ("PROTOCOL_VERSION", "the server speaks no TLS from 1.2 on"),
    ("UNSUPPORTED_PROTOCOL", "the server speaks no TLS from 1.2 on"),
    ("_ALERT_", "the server broke the handshake off: check the client certificate"),
    ("WRONG_VERSION_NUMBER", "the server answers in clear: switch TLS on there, or off here"),
    ("ALPN", "the server does not offer HTTP/2: is it a gRPC server at all?"),
    ("security handshaker", "the certificates given here cannot be used"),
    ("handshake failed", "the handshake failed"),
]
_NO_CONNECTION = "failed to connect to all addresses; last error: "
_HUNG_UP = re.compile(r"Socket closed|Unwrap failed|Connection reset|Broken pipe|before receiving SETTINGS")


def connection_fault(details: str, *, is_tls: bool) -> str:
    """gRPC's details of an UNAVAILABLE, led by a sentence that says what to look at where TLS is the reason.

    A server that wants another client certificate just hangs up, and so does one that wants TLS and gets plaintext:
    there it is a guess, and says so.
    """
    last = details.removeprefix(_NO_CONNECTION)
    for sign, meaning in _TLS_FAULTS:
        if is_tls and sign in last:
            return f"TLS: {meaning}; {last}"
    if last != details and _HUNG_UP.search(last):
        if is_tls:
            return f"perhaps TLS: the server hung up, as if it wanted a client certificate that it trusts; {last}"
        return f"perhaps TLS: the server hung up on plaintext, as if it wanted TLS; {last}"
    return details


# The words of a Go source that is asked for a second stream, under UNKNOWN.
_BUSY = "already streaming"


def is_busy(error: StreamError) -> bool:
    """Whether a peer that serves one stream at a time has one. A Go source says it in words, under UNKNOWN."""
    return error.code == "UNKNOWN" and _BUSY in (error.details or "").lower()


def is_unimplemented(error: StreamError) -> bool:
    """Whether the peer is there, but lacks the method or the whole service. A Go plane may say it in words."""
    if error.code == "UNIMPLEMENTED":
        return True
    return error.code == "UNKNOWN" and "not implemented" in (error.details or "").lower()


def is_not_found(error: StreamError) -> bool:
    """Whether a control plane says that it does not know us. A Go plane says it in words, under UNKNOWN."""
    if error.code in ("NOT_FOUND", "FAILED_PRECONDITION"):
        return True
    return error.code == "UNKNOWN" and "not found" in (error.details or "").lower()


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """The status with which a server answers `error`.

    Only texts that we wrote ourselves go over the wire: what a component's exception says may be secret.
    """
    if isinstance(error, Refused):
        return grpc.StatusCode[error.code], error.details
    if isinstance(error, FrameTooLargeError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
    if isinstance(error, CodecError | ConfigError):
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)
    if isinstance(error, ComponentError):
        return grpc.StatusCode.FAILED_PRECONDITION, str(error)
    if isinstance(error, FlowctlError):
        return grpc.StatusCode.ABORTED, str(error)
    return grpc.StatusCode.INTERNAL, f"{type(error).__name__} in the component"
