"""Claims about batches: what goes in comes back, and columns that do not fit are refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowctl_aio.batches import (
    EVENT_SCHEMA,
    LEDGER_SCHEMA,
    SCHEMA_KEY,
    EventBatch,
    LedgerBatch,
    event_schema,
    ledger_schema,
    schema_name,
)
from flowctl_aio.errors import CodecError, SchemaMismatchError, UsageError
from flowctl_aio.types import Cursor, Event, RawLedger
from tests.strategies import events, ledgers

quick = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])

TWO = [RawLedger(7, b"seven", datetime(2025, 1, 1, tzinfo=UTC), "test", {"a": "b"}), RawLedger(8, b"eight")]
TYPED = pa.record_batch({"asset": ["XLM", "USDC", "EUR"], "amount": [5, 6, 7]})


def changed(batch, column, values):
    """`batch` with other values in one column, of the same type."""
    at = batch.schema.get_field_index(column)
    return batch.set_column(at, batch.schema.field(at), pa.array(values, batch.schema.field(at).type))


class Capsule:
    """What another library's object is to us: nothing but the protocol."""

    def __init__(self, batch):
        self._batch = batch

    def __arrow_c_array__(self, requested_schema=None):
        return self._batch.__arrow_c_array__(requested_schema)


@quick
@given(st.lists(ledgers, max_size=6))
def test_ledgers_come_back_equal_from_a_batch(values):
    batch = LedgerBatch.from_ledgers(values)
    batch.record_batch.validate(full=True)
    assert list(batch) == values
    assert len(batch) == len(values)
    first, last = (Cursor(values[0].sequence), Cursor(values[-1].sequence)) if values else (None, None)
    assert (batch.first_cursor, batch.last_cursor) == (first, last)


@quick
@given(st.lists(events, max_size=6))
def test_events_come_back_equal_from_a_batch(values):
    batch = EventBatch.from_events(values)
    batch.record_batch.validate(full=True)
    assert list(batch) == values
    assert batch.is_generic
    ends = (values[0].event_type, values[0].cursor, values[-1].cursor) if values else ("", None, None)
    assert (batch.event_type, batch.first_cursor, batch.last_cursor) == ends


@quick
@given(st.lists(events, min_size=1, max_size=6), st.data())
def test_a_slice_of_events_has_the_cursors_of_its_own_rows(values, data):
    start = data.draw(st.integers(0, len(values) - 1))
    rows = data.draw(st.none() | st.integers(1, len(values)))
    part = EventBatch.from_events(values).slice(start, rows)
    expected = values[start : None if rows is None else start + rows]
    assert list(part) == expected
    assert (part.first_cursor, part.last_cursor) == (expected[0].cursor, expected[-1].cursor)


@quick
@given(st.lists(ledgers, max_size=6), st.data())
def test_a_slice_of_ledgers_is_a_batch_of_those_rows(values, data):
    start = data.draw(st.integers(0, len(values)))
    rows = data.draw(st.none() | st.integers(0, len(values)))
    part = LedgerBatch.from_ledgers(values).slice(start, rows)
    assert list(part) == values[start : None if rows is None else start + rows]


def test_a_slice_copies_nothing_and_counts_only_its_own_bytes():
    batch = LedgerBatch.from_ledgers([RawLedger(7, b"x" * 10_000), RawLedger(8, b"y")])
    part = batch.slice(1)
    assert part.nbytes < 1000 < batch.nbytes
    assert part.record_batch.column("xdr").buffers()[2].address == batch.record_batch.column("xdr").buffers()[2].address


def test_what_a_batch_was_said_to_cover_stays_with_the_slices_at_its_ends():
    batch = EventBatch(
        EventBatch.from_events([Event("kind", b"", cursor=Cursor(6)), Event("kind", b"")]).record_batch,
        first_cursor=Cursor(5),
        last_cursor=Cursor(9),
    )
    assert (batch.first_cursor, batch.last_cursor) == (Cursor(5), Cursor(9))
    assert (batch.slice(0, 1).first_cursor, batch.slice(0, 1).last_cursor) == (Cursor(5), Cursor(6))
    assert (batch.slice(1).first_cursor, batch.slice(1).last_cursor) == (None, Cursor(9))
    assert batch.slice(0).last_cursor == Cursor(9)


def test_only_the_slice_with_the_last_row_of_typed_rows_keeps_the_last_cursor():
    batch = EventBatch(TYPED, event_type="transfer", first_cursor=Cursor(5), last_cursor=Cursor(9))
    head, tail = batch.slice(0, 2), batch.slice(2)
    assert (head.event_type, head.first_cursor, head.last_cursor) == ("transfer", Cursor(5), None)
    assert (tail.event_type, tail.first_cursor, tail.last_cursor) == ("transfer", Cursor(5), Cursor(9))


def test_moments_of_other_zones_come_back_as_the_same_moments():
    closed_at = datetime(2025, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))
    (ledger,) = LedgerBatch.from_ledgers([RawLedger(7, b"", closed_at)])
    assert ledger.closed_at == closed_at
    assert ledger.closed_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("sequence", [-1, 2**32])
def test_a_sequence_that_the_column_cannot_hold_is_named_with_its_row(sequence):
    with pytest.raises(CodecError, match=rf"the sequence of row 1 is {sequence}, which is no uint32"):
        LedgerBatch.from_ledgers([RawLedger(7, b""), RawLedger(sequence, b"")])


UNFIT = {
    "the payload of row 1 is float, which is no large_binary": {"payload": 1.5},
    "the schema_version of row 1 is -1, which is no uint32": {"schema_version": -1},
    "the timestamp of row 1 is str, which is no timestamp": {"timestamp": "yesterday"},
    "the cursor_sequence of row 1 is -1, which is no uint64": {"cursor": Cursor(-1)},
    "the cursor_index of row 1 is 4294967296, which is no uint32": {"cursor": Cursor(1, 2**32)},
    "the metadata of row 1 has what is no text": {"metadata": {"password": 1234}},
}


@pytest.mark.parametrize("said", UNFIT)
def test_a_value_of_an_event_that_does_not_fit_is_named_with_its_row(said):
    odd = replace(Event("E", b""), **UNFIT[said])
    with pytest.raises(CodecError, match=said):
        EventBatch.from_events([Event("E", b""), odd])


ODD = {
    "row 1 is int, not Event": 5,
    "row 1 is RawLedger, not Event": RawLedger(7, b""),
    "the metadata of row 1 is list, not texts by name": Event("E", b"", metadata=["a"]),
    "the cursor of row 1 is 7, not a Cursor": Event("E", b"", cursor=7),
}


@pytest.mark.parametrize("said", ODD)
def test_what_is_no_event_is_named_with_its_row(said):
    with pytest.raises(UsageError, match=said):
        EventBatch.from_events([Event("E", b""), ODD[said]])


def test_what_is_no_ledger_is_named_with_its_row():
    with pytest.raises(UsageError, match="row 0 is Event, not RawLedger"):
        LedgerBatch.from_ledgers([Event("E", b"")])


@pytest.mark.parametrize(
    ("name", "batch"),
    [("raw_ledger@1", LedgerBatch.from_ledgers(TWO)), ("event@1", EventBatch.from_events([]))],
)
def test_the_sdks_own_schemas_have_a_name_and_a_version(name, batch):
    assert batch.schema_name == schema_name(batch.schema) == name
    assert name in {LEDGER_SCHEMA, EVENT_SCHEMA}


def test_a_schema_without_a_name_has_an_empty_one():
    assert schema_name(TYPED.schema) == ""
    assert schema_name(TYPED.schema.with_metadata({"other": "x"})) == ""
    assert schema_name(TYPED.schema.with_metadata({SCHEMA_KEY: b"\xff@1"})) == "\ufffd@1"


@pytest.mark.parametrize(
    "wrong",
    [
        TYPED,
        LedgerBatch.from_ledgers(TWO).record_batch.drop_columns(["network"]),
        LedgerBatch.from_ledgers(TWO).record_batch.select(["xdr", "sequence", "closed_at", "network", "metadata"]),
        LedgerBatch.from_ledgers(TWO).record_batch.rename_columns(["seq", "closed_at", "network", "xdr", "metadata"]),
        EventBatch.from_events([]).record_batch,
    ],
    ids=["other columns", "a column missing", "another order", "another name", "events"],
)
def test_a_ledger_batch_of_other_columns_is_a_mismatch_that_names_them(wrong):
    with pytest.raises(SchemaMismatchError) as caught:
        LedgerBatch(wrong)
    assert caught.value.expected == LEDGER_SCHEMA
    assert wrong.schema.names[0] in caught.value.found


def test_an_event_batch_that_says_it_is_generic_and_has_other_columns_is_a_mismatch():
    with pytest.raises(SchemaMismatchError):
        EventBatch(TYPED.replace_schema_metadata({SCHEMA_KEY: EVENT_SCHEMA}))


@pytest.mark.parametrize("column", ["sequence", "network", "xdr"])
def test_nulls_where_a_ledger_has_none_are_a_mismatch_that_names_the_column(column):
    with pytest.raises(SchemaMismatchError, match=f"1 nulls in its column {column}"):
        LedgerBatch(changed(LedgerBatch.from_ledgers(TWO).record_batch, column, [None, None]).slice(1))


@pytest.mark.parametrize("column", ["event_type", "payload", "id", "schema_version", "content_type", "source"])
def test_nulls_where_an_event_has_none_are_a_mismatch_that_names_the_column(column):
    batch = EventBatch.from_events([Event("kind", b"")]).record_batch
    with pytest.raises(SchemaMismatchError, match=f"column {column}"):
        EventBatch(changed(batch, column, [None]))


def test_nulls_in_the_metadata_are_empty():
    batch = changed(LedgerBatch.from_ledgers(TWO).record_batch, "metadata", [None, [("a", None)]])
    assert [ledger.metadata for ledger in LedgerBatch(batch)] == [{}, {"a": ""}]


def test_a_time_that_python_has_not_is_a_codec_error_that_names_the_column():
    batch = LedgerBatch.from_ledgers(TWO).record_batch
    far = pa.array([2**62, 0]).cast(pa.timestamp("us", tz="UTC"))
    with pytest.raises(CodecError, match="the column closed_at"):
        list(LedgerBatch(batch.set_column(1, batch.schema.field(1), far)))


def test_ledgers_without_the_name_of_their_schema_are_given_it_and_keep_other_metadata():
    rows = LedgerBatch.from_ledgers(TWO).record_batch.replace_schema_metadata({"made-by": "polars"})
    batch = LedgerBatch(rows)
    assert batch.schema_name == LEDGER_SCHEMA
    assert batch.schema.metadata == {b"made-by": b"polars", SCHEMA_KEY: LEDGER_SCHEMA.encode()}
    assert list(batch) == TWO


def test_iterating_typed_rows_is_a_mismatch_because_they_are_no_events():
    batch = EventBatch(TYPED, event_type="transfer")
    assert not batch.is_generic
    with pytest.raises(SchemaMismatchError, match="asset: string"):
        list(batch)


def test_a_batch_without_rows_has_the_cursors_it_is_given():
    empty = EventBatch.from_events([]).record_batch
    batch = EventBatch(empty, event_type="kind", first_cursor=Cursor(5), last_cursor=Cursor(9))
    assert (len(batch), batch.event_type, batch.first_cursor, batch.last_cursor) == (0, "kind", Cursor(5), Cursor(9))
    assert EventBatch(empty).event_type == ""


@pytest.mark.parametrize(
    "batch", [LedgerBatch.from_ledgers(TWO), EventBatch.from_events([Event("kind", b"x")]), EventBatch(TYPED)]
)
def test_other_libraries_read_a_batch_without_a_copy(batch):
    assert pa.record_batch(batch).equals(batch.record_batch, check_metadata=True)
    assert pa.table(batch).equals(pa.Table.from_batches([batch.record_batch]), check_metadata=True)
    assert pa.schema(batch).equals(batch.schema, check_metadata=True)
    taken = pa.record_batch(batch).column(0).buffers()[-1]
    assert taken.address == batch.record_batch.column(0).buffers()[-1].address


def test_batches_are_made_of_whatever_speaks_the_capsule_protocol():
    ledgers = LedgerBatch.from_ledgers(TWO)
    assert list(LedgerBatch(Capsule(ledgers.record_batch))) == TWO
    assert list(LedgerBatch(ledgers)) == TWO
    assert EventBatch(Capsule(TYPED)).record_batch.equals(TYPED)


def test_what_does_not_speak_it_is_a_type_error():
    with pytest.raises(TypeError):
        LedgerBatch(5)


def test_a_repr_tells_kind_size_schema_and_place():
    assert repr(LedgerBatch.from_ledgers(TWO)) == "<LedgerBatch 2 rows raw_ledger@1 7:0..8:0>"
    assert repr(EventBatch(TYPED)) == "<EventBatch 3 rows custom>"


def test_the_columns_of_ledgers_and_events_are_those_that_are_documented():
    assert {field.name: str(field.type) for field in ledger_schema()} == {
        "sequence": "uint32",
        "closed_at": "timestamp[us, tz=UTC]",
        "network": "string",
        "xdr": "large_binary",
        "metadata": "map<string, string>",
    }
    assert {field.name: str(field.type) for field in event_schema()} == {
        "event_type": "string",
        "payload": "large_binary",
        "id": "string",
        "schema_version": "uint32",
        "timestamp": "timestamp[us, tz=UTC]",
        "metadata": "map<string, string>",
        "content_type": "string",
        "source": "string",
        "cursor_sequence": "uint64",
        "cursor_index": "uint32",
    }
