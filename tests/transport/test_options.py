"""Channel options: no connection waits for long before it is tried again."""

from __future__ import annotations

import pytest

from flowctl_aio.transport.options import control_options, data_options


@pytest.mark.parametrize("options", [control_options(loopback=True), data_options(loopback=True, max_message_bytes=1)])
def test_t8_reconnecting_is_tried_within_seconds(options):
    assert dict(options)["grpc.max_reconnect_backoff_ms"] <= 5000
