"""Options of channels and servers, each with its reason."""

from __future__ import annotations

from typing import TypeAlias

MIB = 1024 * 1024
Options: TypeAlias = list[tuple[str, int | str]]
# What a control plane may answer: a list of ten thousand services is above the 4 MiB that it takes in.
ANSWER_BYTES = 64 * MIB
# Of a call's metadata, in bytes: above the first some calls are refused, above the second all. A token may be long.
METADATA_BYTES, MAX_METADATA_BYTES = 16 * 1024, 32 * 1024
# The window's part of the bytes in flight. gRPC lets a sender run ahead of a stalled reader by 1.4 times the window,
# and by the message that is being read and the one that is being written; below the least window it crawls.
WINDOW_SHARE, LEAST_WINDOW = 4, 64 * 1024

# grpc's own backoff grows to two minutes; a peer that comes back is found again within about a second.
_RECONNECT: Options = [
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_METADATA: Options = [
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
]


def control_options(*, loopback: bool) -> Options:
    """For the channel to a control plane. No keepalive: a Go plane cuts off clients that ping, and beats do the job."""
    sizes: Options = [
        ("grpc.max_receive_message_length", ANSWER_BYTES),
        ("grpc.max_send_message_length", 4 * MIB),
        *_METADATA,
    ]
    return [*_RECONNECT, *sizes, *_local(loopback=loopback)]


def data_options(*, loopback: bool, max_message_bytes: int, max_inflight_bytes: int | None = None) -> Options:
    """For a channel that carries batches. The pool of its own keeps beats off the data connection.

    Args:
        max_inflight_bytes: how far a stream's sender may run ahead; None leaves it to gRPC.
    """
    return [*_RECONNECT, *_sizes(max_message_bytes), *_window(max_inflight_bytes), *_local(loopback=loopback)]


def server_options(*, max_message_bytes: int, max_inflight_bytes: int | None = None) -> Options:
    """For every server of ours; `max_inflight_bytes` as with `data_options`."""
    return [
        *_window(max_inflight_bytes),
        *_METADATA,
        ("grpc.so_reuseport", 0),  # else a second server on the same port binds without a word
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max(max_message_bytes, ANSWER_BYTES)),
    ]


def _sizes(limit: int) -> Options:
    return [("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", limit), *_METADATA]


def _window(max_inflight_bytes: int | None) -> Options:
    """What the receiving side lets a sender send ahead, on each stream. Without it gRPC finds a window by itself, of
    several MiB: of small messages those are tens of thousands.
    """
    if max_inflight_bytes is None:
        return []
    window = max(max_inflight_bytes // WINDOW_SHARE, LEAST_WINDOW)
    return [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", window)]


def _local(*, loopback: bool) -> Options:
    return [
        ("grpc.use_local_subchannel_pool", 1),
        # A proxy variable of the surroundings must not catch local calls.
        *([("grpc.enable_http_proxy", 0)] if loopback else []),
    ]
