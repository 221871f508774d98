"""Channel options: no connection waits for long before it is tried again, and nothing comes without a bound."""

from __future__ import annotations

import pytest

from flowctl_aio.transport.options import MIB, control_options, data_options, server_options


@pytest.mark.parametrize("options", [control_options(loopback=True), data_options(loopback=True, max_message_bytes=1)])
def test_t8_reconnecting_is_tried_within_seconds(options):
    assert dict(options)["grpc.max_reconnect_backoff_ms"] <= 5000


@pytest.mark.parametrize(
    "options",
    [
        data_options(loopback=True, max_message_bytes=1, max_inflight_bytes=8 * MIB),
        server_options(max_message_bytes=1, max_inflight_bytes=8 * MIB),
    ],
)
def test_t9_the_window_is_ours_and_not_what_grpc_finds(options):
    assert dict(options)["grpc.http2.bdp_probe"] == 0
    assert 1.4 * dict(options)["grpc.http2.lookahead_bytes"] < 4 * MIB


@pytest.mark.parametrize(
    "options",
    [
        control_options(loopback=True),
        data_options(loopback=True, max_message_bytes=1),
        server_options(max_message_bytes=1),
    ],
)
def test_the_metadata_of_calls_is_bounded_everywhere(options):
    assert 0 < dict(options)["grpc.max_metadata_size"] < dict(options)["grpc.absolute_max_metadata_size"] <= 64 * 1024
