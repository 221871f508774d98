import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowctl_aio import _wire as wire
from flowctl_aio.codec.protobuf import MAX_WALKED, join_payload, split_payload
from flowctl_aio.errors import FrameCorruptError

quick = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
# Each envelope's message, the number and the name of its payload.
ENVELOPES = pytest.mark.parametrize(
    ("kind", "field", "name"),
    [(wire.RawLedger, 2, "xdr_data"), (wire.Event, 2, "payload"), (wire.v1.Event, 3, "payload")],
    ids=["RawLedger", "Event", "v1.Event"],
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field_of(number, kind, content):
    return varint(number << 3 | kind) + content


def delimited(number, content):
    return field_of(number, 2, varint(len(content)) + content)


# Fields that a newer proto may have: every wire type, and numbers that none of ours has.
unknown_numbers = st.integers(20, 2**29 - 1)
unknown_leaves = st.one_of(
    st.builds(lambda number, value: field_of(number, 0, varint(value)), unknown_numbers, st.integers(0, 2**64 - 1)),
    st.builds(lambda number, value: field_of(number, 1, value), unknown_numbers, st.binary(min_size=8, max_size=8)),
    st.builds(lambda number, value: field_of(number, 5, value), unknown_numbers, st.binary(min_size=4, max_size=4)),
    st.builds(delimited, unknown_numbers, st.binary(max_size=20)),
)
# A group may hold a field of the payload's number; it is not the payload.
inside_groups = st.lists(unknown_leaves | st.builds(delimited, st.integers(2, 3), st.binary(max_size=5)), max_size=3)
unknown = unknown_leaves | st.builds(
    lambda number, inside: field_of(number, 3, b"") + b"".join(inside) + field_of(number, 4, b""),
    unknown_numbers,
    inside_groups,
)


@st.composite
def messages(draw, kind, field):
    """A message of `kind` as bytes: its fields in any order, any of them absent, any of them more than once."""
    pieces = draw(st.lists(unknown, max_size=3))
    pieces += [delimited(field, draw(st.binary(max_size=200))) for _ in range(draw(st.integers(0, 3)))]
    metadata = draw(st.dictionaries(texts, texts, max_size=3))
    if kind is wire.RawLedger:
        whole = wire.RawLedger(ledger_sequence=draw(st.integers(0, 2**32 - 1)), network=draw(texts), metadata=metadata)
    elif kind is wire.Event:
        whole = wire.Event(event_type=draw(texts), schema_version=draw(st.integers(0, 2**32 - 1)), metadata=metadata)
    else:
        whole = wire.v1.Event(id=draw(texts), type=draw(texts), content_type=draw(texts), metadata=metadata)
        if draw(st.booleans()):
            whole.stellar_cursor.ledger_sequence = draw(st.integers(0, 2**64 - 1))
    for known, _ in whole.ListFields():
        part = kind()
        if known.name == "metadata":
            part.metadata.update(metadata)
        elif known.message_type is not None:
            getattr(part, known.name).CopyFrom(getattr(whole, known.name))
        else:
            setattr(part, known.name, getattr(whole, known.name))
        pieces.append(part.SerializeToString())
    return b"".join(draw(st.permutations(pieces)))


@ENVELOPES
@quick
@given(data=st.data())
def test_a_message_splits_into_what_the_ordinary_parser_finds(kind, field, name, data):
    raw = data.draw(messages(kind, field))
    whole = kind.FromString(raw)
    payload, rest = split_payload(raw, field)
    assert payload == getattr(whole, name)
    without = kind.FromString(raw)
    without.ClearField(name)
    assert kind.FromString(rest) == without


@ENVELOPES
@quick
@given(data=st.data())
def test_a_joined_message_is_the_ordinary_message(kind, field, name, data):
    message = kind.FromString(data.draw(messages(kind, field)))
    payload = data.draw(st.binary(max_size=300))
    cut = data.draw(st.integers(0, len(payload)))
    message.ClearField(name)
    joined = join_payload(message.SerializeToString(), field, payload[:cut], payload[cut:])
    setattr(message, name, payload)
    assert kind.FromString(joined) == message
    assert split_payload(joined, field)[0] == payload


@pytest.mark.parametrize("size", [0, 1, 127, 128, 2**14 - 1, 2**14, 2**21 - 1, 2**21])
def test_lengths_at_the_edges_of_their_encoding_join_and_split(size):
    payload = b"x" * size
    joined = join_payload(b"", 2, payload)
    assert wire.Event.FromString(joined).payload == payload
    assert split_payload(joined, 2) == (payload, b"")


def test_of_a_payload_that_occurs_twice_the_last_one_counts():
    raw = delimited(2, b"first") + delimited(1, b"kind") + delimited(2, b"second")
    payload, rest = split_payload(raw, 2)
    assert (payload, rest) == (b"second", delimited(1, b"kind"))
    assert wire.Event.FromString(raw).payload == b"second"


def test_an_absent_payload_is_empty():
    assert split_payload(delimited(1, b"kind"), 2) == (b"", delimited(1, b"kind"))
    assert split_payload(b"", 2) == (b"", b"")


def test_the_payload_points_into_the_message():
    raw = delimited(2, b"x" * 1000)
    payload, _ = split_payload(raw, 2)
    assert isinstance(payload, memoryview)
    assert payload.obj is raw


def test_the_payloads_number_with_another_wire_type_is_not_the_payload():
    raw = field_of(2, 0, varint(5)) + field_of(2, 5, b"abcd")
    assert split_payload(raw, 2) == (b"", raw)
    assert wire.Event.FromString(raw).payload == b""


def test_every_cut_of_a_message_splits_as_the_ordinary_parser_reads_it_or_is_corrupt():
    ledger = wire.RawLedger(ledger_sequence=7, xdr_data=b"x" * 40, network="test", metadata={"a": "b"})
    raw = ledger.SerializeToString()
    raw += field_of(77, 1, bytes(8)) + field_of(78, 5, bytes(4)) + field_of(79, 0, b"\x81\1")
    for size in range(len(raw)):
        try:
            whole = wire.RawLedger.FromString(raw[:size])
        except DecodeError:
            with pytest.raises(FrameCorruptError):
                split_payload(raw[:size], 2)
        else:
            assert split_payload(raw[:size], 2)[0] == whole.xdr_data


@ENVELOPES
@settings(quick, max_examples=300)
@given(raw=st.binary(max_size=60))
def test_random_bytes_split_as_the_ordinary_parser_reads_them_or_are_refused(kind, field, name, raw):
    try:
        payload, rest = split_payload(raw, field)
        kind.FromString(rest)
    except (FrameCorruptError, DecodeError):
        with pytest.raises(DecodeError):
            kind.FromString(raw)
    else:
        assert payload == getattr(kind.FromString(raw), name)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x12", id="a payload without a length"),
        pytest.param(b"\x12\x05abc", id="a payload that is too short"),
        pytest.param(b"\x12" + b"\xff" * 9 + b"\x01", id="a payload of 2**64 bytes"),
        pytest.param(b"\xff" * 11, id="a number without an end"),
        pytest.param(b"\x12\x80\x80\x80\x80\x80\x00", id="a length in six bytes"),
        pytest.param(b"\x92\x80\x80\x80\x80\x00\x00", id="a field number in six bytes"),
        pytest.param(b"\x09abc", id="eight bytes that are three"),
        pytest.param(b"\x0dab", id="four bytes that are two"),
        pytest.param(b"\x16", id="a wire type that does not exist"),
    ],
)
def test_what_is_no_message_is_corrupt(raw):
    with pytest.raises(DecodeError):
        wire.Event.FromString(raw)
    with pytest.raises(FrameCorruptError):
        split_payload(raw, 2)


def test_a_message_of_more_fields_than_anybody_should_walk_is_left_to_the_parser():
    few, many = b"\x78\x00" * MAX_WALKED, b"\x78\x00" * (MAX_WALKED + 1)
    assert split_payload(few, 2) == (b"", few)
    assert split_payload(many, 2) is None
