import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise

import pyarrow as pa
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowctl_aio import _wire as wire
from flowctl_aio.batches import SCHEMA_KEY, EventBatch, LedgerBatch
from flowctl_aio.codec import plain
from flowctl_aio.errors import CodecError, FrameCorruptError
from flowctl_aio.types import Cursor, Event, RawLedger

quick = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
moments = st.datetimes(timezones=st.just(UTC))
cursors = st.builds(Cursor, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
# Keys under which a field travels that a dialect has no place for; see the tests on reserved keys.
CLASSIC_KEYS = {"event-id", "content-type", "source-component-id", "cursor"}
V1_KEYS = {"schema-version"}
LEDGER_KEYS = {"ledger_sequence", "xdr_size"}


def metadata(*, without):
    return st.dictionaries(texts.filter(lambda key: key not in without), texts, max_size=3)


def ledgers(*, without):
    return st.builds(
        RawLedger,
        st.integers(0, 2**32 - 1),
        st.binary(max_size=60),
        st.none() | moments,
        texts,
        metadata(without=without),
    )


def events(*, without):
    return st.builds(
        Event,
        event_type=texts,
        payload=st.binary(max_size=60),
        id=texts,
        schema_version=st.integers(0, 2**32 - 1),
        timestamp=st.none() | moments,
        metadata=metadata(without=without),
        content_type=texts,
        source=texts,
        cursor=st.none() | cursors,
    )


def through(message):
    """`message` as another process would see it."""
    return type(message).FromString(message.SerializeToString())


@quick
@given(ledgers(without=set()))
def test_a_ledger_comes_back_equal_from_a_ledger_message(ledger):
    assert plain.ledger_from_wire(through(plain.ledger_to_wire(ledger))) == ledger


@quick
@given(ledgers(without=LEDGER_KEYS | CLASSIC_KEYS))
def test_a_ledger_comes_back_equal_from_a_classic_event(ledger):
    message = plain.event_to_classic(plain.ledger_to_event(ledger, plain.LEDGER_TYPE_CLASSIC))
    assert plain.ledger_from_event(plain.event_from_classic(through(message))) == ledger


@quick
@given(ledgers(without=LEDGER_KEYS | V1_KEYS))
def test_a_ledger_comes_back_equal_from_a_v1_event(ledger):
    message = plain.event_to_v1(plain.ledger_to_event(ledger, plain.LEDGER_TYPE_V1))
    assert plain.ledger_from_event(plain.event_from_v1(through(message))) == ledger


@quick
@given(events(without=CLASSIC_KEYS))
def test_an_event_comes_back_equal_from_a_classic_event(event):
    assert plain.event_from_classic(through(plain.event_to_classic(event))) == event


@quick
@given(events(without=V1_KEYS))
def test_an_event_comes_back_equal_from_a_v1_event(event):
    assert plain.event_from_v1(through(plain.event_to_v1(event))) == event


def test_what_the_classic_event_has_no_field_for_travels_in_its_metadata():
    event = Event("kind", b"", id="i", content_type="text/plain", source="s", cursor=Cursor(7, 1), metadata={"a": "b"})
    message = plain.event_to_classic(event)
    assert dict(message.metadata) == {
        "a": "b",
        "event-id": "i",
        "content-type": "text/plain",
        "source-component-id": "s",
        "cursor": "7:1",
    }


def test_what_the_v1_event_has_no_field_for_travels_in_its_metadata():
    assert dict(plain.event_to_v1(Event("kind", b"", schema_version=3)).metadata) == {"schema-version": "3"}
    assert dict(plain.event_to_v1(Event("kind", b"")).metadata) == {}


def test_a_reserved_key_in_an_events_own_metadata_is_read_as_the_field():
    event = Event("kind", b"", metadata={"event-id": "i", "source-component-id": "s", "cursor": "7:1"})
    received = plain.event_from_classic(through(plain.event_to_classic(event)))
    assert (received.id, received.source, received.cursor, received.metadata) == ("i", "s", Cursor(7, 1), {})
    event = Event("kind", b"", metadata={"schema-version": "3"})
    received = plain.event_from_v1(through(plain.event_to_v1(event)))
    assert (received.schema_version, received.metadata) == (3, {})


def test_a_field_wins_over_a_reserved_key_of_an_events_own_metadata():
    event = Event("kind", b"", id="mine", metadata={"event-id": "other"})
    assert plain.event_from_classic(through(plain.event_to_classic(event))).id == "mine"


@pytest.mark.parametrize("text", ["", "now", "7:x", "-1", f"{2**64}"])
def test_a_strangers_cursor_stays_in_the_metadata(text):
    received = plain.event_from_classic(wire.Event(event_type="kind", metadata={"cursor": text}))
    assert (received.cursor, received.metadata) == (None, {"cursor": text})


@pytest.mark.parametrize("text", ["", "v1", "1.0", "-1", "²", f"{2**32}", "9" * 5000])
def test_a_strangers_schema_version_stays_in_the_metadata(text):
    received = plain.event_from_v1(wire.v1.Event(type="kind", metadata={"schema-version": text}))
    assert (received.schema_version, received.metadata) == (0, {"schema-version": text})


def test_the_metadata_that_a_ledger_event_adds_is_taken_out_again():
    ledger = RawLedger(7, b"abc", metadata={"ledger_sequence": "lies", "a": "b"})
    event = plain.ledger_to_event(ledger, plain.LEDGER_TYPE_V1)
    assert event.metadata == {"ledger_sequence": "7", "xdr_size": "3", "a": "b"}
    assert plain.ledger_from_event(event).metadata == {"a": "b"}


def test_a_ledger_event_is_what_go_components_send():
    closed_at = datetime(2025, 8, 3, 12, 0, 1, 500_000, UTC)
    event = plain.ledger_to_event(RawLedger(7, b"xdr", closed_at, "passphrase"), plain.LEDGER_TYPE_V1)
    assert (event.event_type, event.id) == ("stellar.ledger.v1", "stellar-ledger-7")
    assert (event.content_type, event.cursor) == ("application/protobuf", Cursor(7))
    payload = wire.StellarLedger.FromString(event.payload)
    assert payload == wire.StellarLedger(
        sequence=7, ledger_close_meta_xdr=b"xdr", network="passphrase", closed_at=int(closed_at.timestamp())
    )


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (None, datetime(2025, 1, 1, tzinfo=UTC)),
        (datetime(2025, 1, 1, 0, 0, 0, 7, UTC), datetime(2025, 1, 1, 0, 0, 0, 7, UTC)),
        (datetime(2025, 1, 1, 0, 0, 9, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)),
    ],
    ids=["no timestamp", "the same second more exactly", "when it was sent"],
)
def test_a_ledger_closed_when_its_payload_says(timestamp, expected):
    payload = wire.StellarLedger(sequence=7, closed_at=int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()))
    event = Event(
        plain.LEDGER_TYPE_V1, payload.SerializeToString(), timestamp=timestamp, content_type="application/protobuf"
    )
    assert plain.ledger_from_event(event).closed_at == expected


@pytest.mark.parametrize("content_type", ["", "application/json"])
def test_a_ledger_event_with_another_content_type_stays_an_event(content_type):
    event = Event(plain.LEDGER_TYPE_V1, b"{}", content_type=content_type)
    assert plain.ledger_from_event(event) is event


def test_an_event_of_another_type_stays_an_event():
    event = Event("kind", wire.StellarLedger(sequence=7).SerializeToString(), content_type="application/protobuf")
    assert plain.ledger_from_event(event) is event


@pytest.mark.parametrize(
    "payload",
    [b"\xff", b"\x12\x05a", *(wire.StellarLedger(closed_at=at).SerializeToString() for at in (2**62, -(2**62), 2**39))],
)
def test_a_ledger_event_whose_payload_is_no_ledger_is_corrupt(payload):
    with pytest.raises(FrameCorruptError, match="the-id"):
        plain.ledger_from_event(
            Event(plain.LEDGER_TYPE_CLASSIC, payload, id="the-id", content_type="application/protobuf")
        )


@quick
@given(st.binary(max_size=60))
def test_a_random_payload_of_a_ledger_event_is_a_ledger_or_corrupt(payload):
    try:
        received = plain.ledger_from_event(
            Event(plain.LEDGER_TYPE_V1, payload, content_type="application/protobuf; messageType=x")
        )
    except FrameCorruptError:
        return
    assert isinstance(received, RawLedger)


@quick
@given(moments)
def test_a_moment_comes_back_equal(moment):
    assert plain.timestamp_from_wire(plain.timestamp_to_wire(moment)) == moment


def test_a_moment_of_another_zone_is_the_same_moment():
    moment = datetime(2025, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))
    assert plain.timestamp_from_wire(plain.timestamp_to_wire(moment)) == datetime(2025, 1, 1, tzinfo=UTC)
    assert plain.timestamp_to_wire(None) is None


@pytest.mark.parametrize(
    "stamp", [Timestamp(seconds=2**62), Timestamp(seconds=-(2**62)), Timestamp(nanos=-1), Timestamp(nanos=2**31 - 1)]
)
def test_a_timestamp_that_is_no_date_is_corrupt(stamp):
    with pytest.raises(FrameCorruptError, match="no date"):
        plain.timestamp_from_wire(stamp)


@quick
@given(cursors)
def test_a_cursor_comes_back_equal(cursor):
    assert plain.cursor_from_wire(through(plain.cursor_to_wire(cursor))) == cursor
    assert plain.cursor_from_text(str(cursor)) == cursor


def test_no_cursor_is_none_and_a_broken_one_corrupt():
    assert plain.cursor_to_wire(None) is plain.cursor_from_text(None) is plain.cursor_from_text("") is None
    with pytest.raises(FrameCorruptError):
        plain.cursor_from_text("x")


@quick
@given(st.lists(ledgers(without=set()) | events(without=set()), max_size=8))
def test_batches_of_runs_have_every_value_in_order(values):
    batches = list(plain.from_rows(values))
    assert [value for batch in batches for value in plain.rows(batch)] == values
    kinds = [type(batch) for batch in batches]
    assert all(kind is not after for kind, after in pairwise(kinds))


def typed(columns, **facts):
    batch = pa.record_batch(columns).replace_schema_metadata({SCHEMA_KEY: b"transfers@2"})
    return EventBatch(batch, event_type="transfer", **facts)


def test_typed_rows_become_json_events():
    batch = typed({"asset": ["XLM", "€"], "ledger_sequence": [7, None], "amount": [5, 2**53]}, first_cursor=Cursor(6))
    first, second = plain.rows(batch)
    assert first == Event(
        "transfer",
        b'{"asset":"XLM","ledger_sequence":7,"amount":5}',
        content_type="application/json",
        metadata={"arrow-schema": "transfers@2"},
        cursor=Cursor(7),
    )
    assert json.loads(second.payload) == {"asset": "€", "ledger_sequence": None, "amount": 2**53}
    assert second.cursor == Cursor(6)


def test_json_has_times_as_iso_bytes_as_hex_and_the_rest_as_text():
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    row = {
        "at": pa.array([moment], pa.timestamp("us", tz="UTC")),
        "xdr": [b"\x01\xff"],
        "amount": [Decimal("1.50")],
        "day": [date(2025, 1, 1)],
        "map": pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())),
        "nested": [{"xdr": b"\x02"}],
    }
    (event,) = plain.rows(typed(row))
    assert json.loads(event.payload) == {
        "at": "2025-01-01T00:00:00+00:00",
        "xdr": "01ff",
        "amount": "1.50",
        "day": "2025-01-01",
        "map": [["k", "v"]],
        "nested": {"xdr": "02"},
    }


def test_json_has_null_for_what_is_no_number_and_never_a_word_that_json_has_not():
    row = {"a": [math.nan], "b": [[1.5, math.inf]], "c": [{"d": -math.inf}], "e": [b"\x01"]}
    (event,) = plain.rows(typed(row))
    assert event.payload == b'{"a":null,"b":[1.5,null],"c":{"d":null},"e":"01"}'


@pytest.mark.parametrize("sequence", [-1, None])
def test_a_ledger_sequence_that_is_none_gives_no_cursor(sequence):
    (event,) = plain.rows(typed({"ledger_sequence": pa.array([sequence], pa.int64())}))
    assert event.cursor is None


def test_a_time_that_python_has_not_is_a_codec_error_that_names_the_column():
    far = pa.array([2**62]).cast(pa.timestamp("us", tz="UTC"))
    with pytest.raises(CodecError, match="the column at"):
        list(plain.rows(typed({"at": far})))


def test_no_rows_are_no_events():
    assert list(plain.rows(typed({"a": pa.array([], pa.int64())}))) == []
    assert list(plain.rows(LedgerBatch.from_ledgers([]))) == []
    assert list(plain.from_rows([])) == []
