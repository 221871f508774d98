"""Claims about metrics that are kept as bytes: they are a mapping like any other."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio import _wire as wire
from flowctl_aio.plane.metrics import MAX_METRICS, Metrics

NAMES = st.sampled_from(["a", "b", "c", "uptime", "é"])
BEATS = st.lists(st.dictionaries(NAMES, st.text(max_size=5)), max_size=6)


@given(BEATS, st.booleans())
def test_beats_are_merged_as_dicts_are(beats, from_messages):
    metrics, expected = Metrics(), {}
    for beat in beats:
        message = wire.v1.HeartbeatRequest(service_id="s", status=2, metrics=beat)
        newer, encoded = (message.metrics, message.SerializeToString) if from_messages else (beat, None)
        metrics = metrics.updated(newer, encoded)
        expected |= beat
    assert metrics == expected
    assert dict(metrics) == metrics.plain() == expected
    assert len(metrics) == len(expected)
    assert Metrics.decode(metrics.encoded) == expected


def test_a_name_that_is_not_there_is_missing_as_in_a_dict():
    metrics = Metrics().updated({"a": "1"})
    assert metrics["a"] == "1"
    assert "b" not in metrics
    with pytest.raises(KeyError, match="b"):
        metrics["b"]
    assert repr(metrics) == "Metrics({'a': '1'})"


def test_those_longest_without_news_are_forgotten():
    metrics = Metrics().updated({"first": "1", "second": "1"}).updated({str(n): "1" for n in range(MAX_METRICS - 2)})
    metrics = metrics.updated({"first": "2"}).updated({"new": "1"})
    assert len(metrics) == MAX_METRICS
    assert "second" not in metrics
    assert metrics["first"] == "2"


def test_what_is_no_heartbeat_does_not_decode():
    with pytest.raises(DecodeError):
        Metrics.decode(b"\xff\xff")
