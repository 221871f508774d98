"""Spans when the application wants them, nothing when it does not, and no trust in the contexts of others."""

from __future__ import annotations

import subprocess
import sys

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from flowctl_aio.observe import tracing
from flowctl_aio.types import NOTHING

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch) -> InMemorySpanExporter:
    """What the application's exporter gets; set up as an application does, and taken back."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


@pytest.mark.parametrize(
    "parent",
    [
        PARENT,
        PARENT[:-2] + "00",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-a-later-version-adds",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ],
)
def test_a_trace_context_is_read(parent):
    assert tracing.extract({"traceparent": parent, "other": "x"}) == {"traceparent": parent}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        PARENT.upper(),
        PARENT + " ",
        PARENT + "\n",
        PARENT + "-extra",
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        PARENT.replace("4", "٤"),
        "01" + PARENT[2:] + "-" + "x" * 100_000,
    ],
)
def test_what_is_no_trace_context_is_none(parent):
    assert tracing.extract({"traceparent": parent, "tracestate": "a=1"}) == {}


@pytest.mark.parametrize(
    ("state", "kept"),
    [("vendor=1,other=2", True), ("", False), ("a=" + "x" * 600, False), ("a=\n", False), ("a=é", False)],
)
def test_a_trace_state_is_kept_if_it_is_short_and_plain(state, kept):
    carrier = tracing.extract({"traceparent": PARENT, "tracestate": state})
    assert carrier.get("tracestate") == (state if kept else None)


@given(st.text(max_size=80) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True))
def test_no_trace_context_breaks_a_span(parent):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())
        with tracing.span("x", parent={"traceparent": parent, "tracestate": parent}, links=[{"traceparent": parent}]):
            assert tracing.extract(tracing.current())


def test_without_a_provider_there_are_no_spans():
    assert not tracing.is_on()
    with tracing.span("x", parent={"traceparent": PARENT}) as span:
        span.set("a", 1)
        span.fail(ValueError())
        assert span is tracing.NO_SPAN
        assert not span.is_recording
        assert span.carrier() == tracing.current() == {}
    metadata: dict[str, str] = {}
    tracing.inject(metadata)
    assert metadata == {}


def test_opentelemetry_is_not_imported_for_us():
    code = (
        "import sys, flowctl_aio.observe.tracing as t, flowctl_aio.serving, flowctl_aio.session\n"
        "with t.span('x'): pass\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_span_is_recorded_with_what_is_said_of_it(spans):
    assert tracing.is_on()
    with tracing.span("outer", kind="client", attributes={"a": 1}) as outer, tracing.span("inner") as inner:
        inner.set("b", "two")
        assert outer.is_recording
        metadata = {"kept": "x"}
        tracing.inject(metadata)
        assert metadata == {"kept": "x", **inner.carrier()}
    inner_span, outer_span = spans.get_finished_spans()
    assert (outer_span.name, outer_span.kind, dict(outer_span.attributes)) == ("outer", SpanKind.CLIENT, {"a": 1})
    assert outer_span.parent is None
    assert inner_span.parent.span_id == outer_span.context.span_id
    assert dict(inner_span.attributes) == {"b": "two"}
    assert tracing.extract(metadata)["traceparent"].split("-")[1] == f"{outer_span.context.trace_id:032x}"


def test_a_parent_from_elsewhere_and_links_are_taken(spans):
    link = {"traceparent": PARENT.replace("b7ad", "aaaa"), "tracestate": "v=1"}
    parent = {"traceparent": PARENT, "tracestate": "v=2"}
    with tracing.span("x", parent=parent, links=[link, {}, {"traceparent": "rubbish"}]) as span:
        assert span.carrier()["tracestate"] == "v=2"
    (found,) = spans.get_finished_spans()
    assert found.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert found.parent.span_id == 0xB7AD6B7169203331
    assert found.parent.is_remote
    assert [f"{known.context.span_id:016x}" for known in found.links] == ["aaaa6b7169203331"]


def test_an_empty_parent_begins_a_trace_of_its_own(spans):
    with tracing.span("outer"), tracing.span("x", parent=NOTHING):
        pass
    assert spans.get_finished_spans()[0].parent is None


def test_a_span_need_not_be_current(spans):
    with tracing.span("call", is_current=False) as call:
        assert tracing.current() == {}
        assert call.carrier()
    with tracing.span("outer"), tracing.apart():
        assert tracing.current() == {}


def test_a_failure_tells_its_kind_and_no_secret(spans):
    with pytest.raises(ValueError, match="token"), tracing.span("x"):
        raise ValueError("token=abc123")
    (found,) = spans.get_finished_spans()
    assert (found.status.status_code, found.status.description) == (StatusCode.ERROR, "ValueError")
    assert dict(found.attributes) == {"error.type": "ValueError"}
    assert "abc123" not in found.to_json()


@pytest.mark.anyio
async def test_to_be_cancelled_is_no_failure(spans):
    with anyio.CancelScope() as scope:
        with tracing.span("x"):
            scope.cancel()
            await anyio.sleep_forever()
    (found,) = spans.get_finished_spans()
    assert found.status.status_code is StatusCode.UNSET


def test_a_span_that_is_not_sampled_still_says_so_to_others(monkeypatch):
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(sampler=ALWAYS_OFF))
    with tracing.span("x") as span:
        assert not span.is_recording
        assert int(span.carrier()["traceparent"][-2:], 16) & trace.TraceFlags.SAMPLED == 0
