"""Options of channels and servers, each with its reason."""

from __future__ import annotations

from typing import TypeAlias

MIB = 1024 * 1024
Options: TypeAlias = list[tuple[str, int | str]]
# What a control plane may answer: a list of ten thousand services is above the 4 MiB that it takes in.
ANSWER_BYTES = 64 * MIB

# grpc's own backoff grows to two minutes; a peer that comes back is found again within about a second.
_RECONNECT: Options = [
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def control_options(*, loopback: bool) -> Options:
    """For the channel to a control plane. No keepalive: a Go plane cuts off clients that ping, and beats do the job."""
    sizes: Options = [
        ("grpc.max_receive_message_length", ANSWER_BYTES),
        ("grpc.max_send_message_length", 4 * MIB),
    ]
    return [*_RECONNECT, *sizes, *_local(loopback=loopback)]


def data_options(*, loopback: bool, max_message_bytes: int) -> Options:
    """For a channel that carries batches. The pool of its own keeps beats off the data connection."""
    return [*_RECONNECT, *_sizes(max_message_bytes), *_local(loopback=loopback)]


def server_options(*, max_message_bytes: int) -> Options:
    """For every server of ours."""
    return [
        ("grpc.so_reuseport", 0),  # else a second server on the same port binds without a word
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max(max_message_bytes, ANSWER_BYTES)),
    ]


def _sizes(limit: int) -> Options:
    return [("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", limit)]


def _local(*, loopback: bool) -> Options:
    return [
        ("grpc.use_local_subchannel_pool", 1),
        # A proxy variable of the surroundings must not catch local calls.
        *([("grpc.enable_http_proxy", 0)] if loopback else []),
    ]
