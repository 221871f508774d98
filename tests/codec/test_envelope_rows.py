"""Claims about plain rows: they come back equal, and none passes for a frame or an end."""

from datetime import UTC, datetime

import pytest

from flowctl_aio.batches import EventBatch, LedgerBatch
from flowctl_aio.codec import arrow
from flowctl_aio.codec.envelope import END_CONTENT_TYPE, Envelope, decode, encode_rows
from flowctl_aio.codec.protobuf import SPLIT_ABOVE
from flowctl_aio.errors import CodecError, FrameCorruptError, FrameTooLargeError
from flowctl_aio.types import Cursor, Event, RawLedger

from .frames import ENVELOPES, EVENTS, LIMIT, TYPED, transfers, written


@ENVELOPES
@pytest.mark.parametrize("size", [10, 2 * SPLIT_ABOVE])
def test_ledgers_come_back_equal_from_plain_rows(envelope, size):
    batch = LedgerBatch.from_ledgers(
        [RawLedger(7, b"x" * size, datetime(2025, 1, 1, 0, 0, 0, 5, UTC), "test", {"a": "b"}), RawLedger(8, b"")]
    )
    rows = [decode(envelope, raw, limit=LIMIT) for raw in encode_rows(envelope, batch, limit=LIMIT)]
    assert rows == list(batch)


@pytest.mark.parametrize("envelope", [Envelope.EVENT, Envelope.EVENT_V1])
@pytest.mark.parametrize("size", [10, 2 * SPLIT_ABOVE])
def test_events_come_back_equal_from_plain_rows(envelope, size):
    batch = EventBatch.from_events([Event("kind", b"x" * size, id="1", cursor=Cursor(7, 1)), Event("kind", b"")])
    rows = [decode(envelope, raw, limit=LIMIT) for raw in encode_rows(envelope, batch, limit=LIMIT)]
    assert rows == list(batch)


@ENVELOPES
@pytest.mark.parametrize("batch", [LedgerBatch.from_ledgers([]), EventBatch.from_events([]), transfers([])])
def test_no_rows_are_no_plain_messages(envelope, batch):
    assert list(encode_rows(envelope, batch, limit=LIMIT)) == []


@pytest.mark.parametrize("batch", [EVENTS, TYPED], ids=["events", "typed"])
def test_events_do_not_go_into_plain_ledger_messages(batch):
    with pytest.raises(CodecError, match="is an event"):
        list(encode_rows(Envelope.LEDGER, batch, limit=LIMIT))


@ENVELOPES
def test_a_plain_row_above_the_limit_is_named_and_those_before_it_are_given(envelope):
    rows = encode_rows(envelope, LedgerBatch.from_ledgers([RawLedger(7, b""), RawLedger(8, b"x" * 500)]), limit=400)
    assert decode(envelope, next(rows), limit=400) == RawLedger(7, b"")
    with pytest.raises(FrameTooLargeError, match=r"ledger[ -]8"):
        next(rows)


@pytest.mark.parametrize("content_type", [arrow.CONTENT_TYPE, END_CONTENT_TYPE, f"{END_CONTENT_TYPE}; q=1"])
@pytest.mark.parametrize("envelope", [Envelope.EVENT, Envelope.EVENT_V1])
def test_an_event_that_the_peer_would_take_for_a_frame_or_an_end_is_refused(envelope, content_type):
    for event in (
        Event("kind", b"", id="mine", content_type=content_type),
        Event("kind", b"", id="mine", metadata={"content-type": content_type}),
    ):
        with pytest.raises(CodecError, match="mine"):
            list(encode_rows(envelope, EventBatch.from_events([event]), limit=LIMIT))


@pytest.mark.parametrize("envelope", [Envelope.EVENT, Envelope.EVENT_V1])
def test_arrow_under_a_content_type_of_its_own_is_an_event_and_under_none_refused(envelope):
    payload = written(TYPED.record_batch)
    event = Event("kind", payload, id="mine", content_type="application/x-theirs")
    (raw,) = encode_rows(envelope, EventBatch.from_events([event]), limit=LIMIT)
    assert decode(envelope, raw, limit=LIMIT) == event
    with pytest.raises(CodecError, match="'mine' is Arrow"):
        list(encode_rows(envelope, EventBatch.from_events([Event("kind", payload, id="mine")]), limit=LIMIT))
    with pytest.raises(FrameCorruptError):
        decode(envelope, envelope.message(payload=payload).SerializeToString(), limit=LIMIT)


@ENVELOPES
def test_bytes_that_only_begin_like_arrow_are_a_row(envelope):
    batch = LedgerBatch.from_ledgers([RawLedger(7, arrow.CONTINUATION + tail) for tail in (b"", b"\0" * 4, b"x" * 99)])
    rows = [decode(envelope, raw, limit=LIMIT) for raw in encode_rows(envelope, batch, limit=LIMIT)]
    assert rows == list(batch)


def test_a_ledger_that_the_peer_would_take_for_an_end_is_refused():
    batch = LedgerBatch.from_ledgers([RawLedger(7, b"", metadata={"content-type": END_CONTENT_TYPE})])
    with pytest.raises(CodecError, match="ledger 7"):
        list(encode_rows(Envelope.LEDGER, batch, limit=LIMIT))
