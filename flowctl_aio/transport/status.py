"""gRPC statuses ⇄ our errors. The one place where a foreign error becomes ours, and ours becomes a status."""

from __future__ import annotations

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


def error_from_rpc(error: grpc.aio.AioRpcError, peer: str) -> FlowctlError:
    """The error that a failed call means to its caller."""
    return error_from_status(error.code(), error.details() or "", peer)


def error_from_status(status: grpc.StatusCode, details: str, peer: str) -> FlowctlError:
    """The error that a status other than OK means to the caller."""
    code = status.name
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceededError(f"{peer}: no answer in time")
    if status is grpc.StatusCode.UNAVAILABLE:
        return PeerUnavailableError(f"unavailable ({details})", peer=peer, code=code, details=details)
    if status is grpc.StatusCode.CANCELLED:
        return StreamCancelledError("the call was cancelled", peer=peer, code=code, details=details)
    return PeerError(f"{code} ({details})", peer=peer, code=code, details=details)


def is_unimplemented(error: StreamError) -> bool:
    """Whether the peer is there, but lacks the method or the whole service."""
    return error.code == "UNIMPLEMENTED"


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
