"""Batch ⇄ one raw message, in the three envelopes that data travels in.

A message is one of four things: a frame (a whole batch as Arrow), a plain row, the end marker that SDK peers
close a stream with, or a credit against the stream's direction. All are ordinary messages to everybody else.
A small frame may come without its schema, where an earlier one of the stream had the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from flowctl_aio import _wire as wire
from flowctl_aio.batches import LEDGER_SCHEMA, Batch, EventBatch, LedgerBatch, schema_name
from flowctl_aio.codec import arrow, plain
from flowctl_aio.codec.arrow import NO_COMPRESSION
from flowctl_aio.codec.protobuf import SPLIT_ABOVE, join_payload, payload_prefix, split_payload
from flowctl_aio.errors import CodecError, FrameCorruptError, FrameTooLargeError, SchemaMismatchError
from flowctl_aio.types import NOTHING, Event, RawLedger

END_CONTENT_TYPE = "application/vnd.flowctl-aio.end"
CREDIT_CONTENT_TYPE = "application/vnd.flowctl-aio.credit"
# A frame without its schema, and the metadata that tells which frame of the stream had it.
REST_CONTENT_TYPE, SCHEMA_KEY = "application/vnd.flowctl-aio.rest", "schema-of-batch"
HANDLE_CONTENT_TYPE, HANDLE_KEY = "application/vnd.flowctl-aio.handle", "handle"
# What no row may say that it is.
RESERVED = frozenset(
    {arrow.CONTENT_TYPE, END_CONTENT_TYPE, CREDIT_CONTENT_TYPE, HANDLE_CONTENT_TYPE, REST_CONTENT_TYPE}
)
# No credit is longer; and the mark by which a message that may be one is told from all others without parsing it.
MAX_CREDIT_BYTES, CREDIT_MARK = 256, CREDIT_CONTENT_TYPE.encode()
# A handle is a message of a few hundred bytes.
MAX_HANDLE, HANDLE_TYPE_BYTES = 64 * 1024, HANDLE_CONTENT_TYPE.encode()
# Around a payload: the entries of the metadata, and the bytes of all that is not payload.
MAX_ENTRIES, MAX_AROUND_BYTES = 1024, 1024 * 1024
# Metadata that only frames have.
FRAME_KEYS = ("arrow-rows", "batch-number", "checksum")
# Metadata that carries a trace context. Here it is only passed on; what it says is not looked at.
# Source: W3C Trace Context.
TRACE_KEYS = ("traceparent", "tracestate")
# The payload field has number 2 or 3, a tag of one byte and a length of at most five.
ENVELOPE_BYTES = 6
# Metadata that only moves what comes behind it, and what such an entry takes without its text: twice a tag and a length
# for the entry and its key, the key, a tag and a length for the text.
PAD_KEY = "pad"
PAD_BYTES = 6 + len(PAD_KEY)


class Envelope(Enum):
    """Which message carries the data: its class, and the number and name of its bytes field."""

    LEDGER = (wire.RawLedger, 2, "xdr_data")
    EVENT = (wire.Event, 2, "payload")
    EVENT_V1 = (wire.v1.Event, 3, "payload")

    def __init__(self, message: Any, field: int, field_name: str) -> None:
        self.message, self.field, self.field_name = message, field, field_name


@dataclass(frozen=True, slots=True)
class Frame:
    """A batch that came as Arrow, with its number in the stream (None if the sender gave none) and its trace.

    Attributes:
        has_schema: whether it came with its schema.
        beside: bytes of it that were not in the message.
    """

    batch: Batch
    number: int | None
    trace: Mapping[str, str] = field(default_factory=dict)
    has_schema: bool = True
    beside: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """The end marker: how many batches and rows the sender has sent."""

    batches: int
    rows: int


@dataclass(frozen=True, slots=True)
class Known:
    """The schema that the frame `number` of a stream had."""

    number: int
    schema: Any


@dataclass(frozen=True, slots=True)
class Credit:
    """What the other side may have sent since the stream began: so many batches, of so many bytes."""

    batches: int
    bytes: int


Received: TypeAlias = Frame | End | RawLedger | Event


def encode_frame(
    envelope: Envelope,
    batch: Batch,
    *,
    number: int,
    limit: int,
    trace: Mapping[str, str] = NOTHING,
    compression: str = NO_COMPRESSION,
) -> bytes:
    """A whole batch as one message.

    Args:
        compression: of the buffers.
        trace: the trace context to send with it.

    Raises:
        FrameTooLargeError: if the message is longer than `limit` bytes.
    """
    parts = arrow.frame_parts(batch.record_batch, compression)
    metadata = _frame_metadata(batch, number, trace)
    metadata["checksum"] = arrow.checksum(*parts)
    message = _envelope(envelope, batch.event_type, arrow.CONTENT_TYPE, metadata, batch)
    rest = message.SerializeToString()
    payload = sum(map(len, parts))
    if payload > SPLIT_ABOVE:
        # A reader takes a long payload where it lies, and Arrow must copy from what begins at no multiple of 8.
        before = len(rest) + PAD_BYTES + len(payload_prefix(envelope.field, payload))
        message.metadata[PAD_KEY] = " " * (-before % 8)
        rest = message.SerializeToString()
    size = len(rest) + ENVELOPE_BYTES + payload
    if size > limit:
        raise FrameTooLargeError(f"a batch of {len(batch)} rows", size=size, limit=limit)
    return join_payload(rest, envelope.field, *parts)


def encode_rest(
    envelope: Envelope, batch: Batch, *, number: int, known: Known, trace: Mapping[str, str] = NOTHING
) -> bytes | None:
    """As `encode_frame`, for a small batch with the schema of an earlier frame of the stream, which it leaves out.

    Returns:
        None if such a batch cannot do without.
    """
    rest = arrow.rest_of_frame(batch.record_batch)
    if rest is None:
        return None
    metadata = _frame_metadata(batch, number, trace)
    metadata["checksum"], metadata[SCHEMA_KEY] = arrow.checksum(rest), str(known.number)
    around = _envelope(envelope, batch.event_type, REST_CONTENT_TYPE, metadata, batch).SerializeToString()
    return join_payload(around, envelope.field, rest)


def encode_handle(
    envelope: Envelope, batch: Batch, *, handle: str, number: int, trace: Mapping[str, str] = NOTHING
) -> bytes:
    """A message in place of that of `encode_frame`: the frame itself lies in memory that the peer has too.

    Args:
        handle: where, in words that whoever has the memory understands.
    """
    metadata = {**_frame_metadata(batch, number, trace), HANDLE_KEY: handle}
    data: bytes = _envelope(envelope, batch.event_type, HANDLE_CONTENT_TYPE, metadata, batch).SerializeToString()
    return data


def encode_rows(envelope: Envelope, batch: Batch, *, limit: int, trace: Mapping[str, str] = NOTHING) -> Iterator[bytes]:
    """Each row of a batch as one plain message.

    Args:
        trace: the trace context to send with the rows that have none of their own.

    Raises:
        FrameTooLargeError: if a row's message is longer than `limit` bytes.
        CodecError: if the envelope holds ledgers and the rows are events, if a row has more metadata than a reader
            takes, or if it says it has the content
            type of a frame, an end marker or a credit: the peer would take it for one.
    """
    for row in plain.rows(batch):
        message = _row_to_wire(envelope, row)
        what = f"ledger {row.sequence}" if isinstance(row, RawLedger) else f"event {row.id or row.event_type!r}"
        content_type = _content_type(message)
        if content_type in RESERVED:
            raise CodecError(f"{what} cannot travel as a plain message of content type {content_type}")
        if _is_disguised(message, getattr(message, envelope.field_name)):
            raise CodecError(f"{what} is Arrow and cannot travel as a plain message of content type {content_type!r}")
        if trace and not any(key in message.metadata for key in TRACE_KEYS):
            message.metadata.update(trace)
        data = message.SerializeToString()
        if len(data) > limit:
            raise FrameTooLargeError(what, size=len(data), limit=limit)
        _check_around(envelope, message, len(data), what)
        yield data


def encode_end(envelope: Envelope, end: End) -> bytes:
    """The end marker as one message."""
    metadata = {"batches": str(end.batches), "rows": str(end.rows)}
    data: bytes = _envelope(envelope, "flowctl_aio.EndOfStream", END_CONTENT_TYPE, metadata, None).SerializeToString()
    return data


def encode_credit(envelope: Envelope, credit: Credit) -> bytes:
    """A credit as one message."""
    metadata = {"batches": str(credit.batches), "bytes": str(credit.bytes)}
    data: bytes = _envelope(envelope, "flowctl_aio.Credit", CREDIT_CONTENT_TYPE, metadata, None).SerializeToString()
    return data


def decode_credit(envelope: Envelope, raw: bytes) -> Credit | None:
    """The credit that a message from outside is; None if it is another message.

    Raises:
        FrameCorruptError: if it says that it is one, and is not.
    """
    if len(raw) > MAX_CREDIT_BYTES or CREDIT_MARK not in raw:
        return None
    try:
        message = envelope.message.FromString(raw)
    except DecodeError:
        return None  # whoever reads it as a batch says what is wrong with it
    if _content_type(message) != CREDIT_CONTENT_TYPE:
        return None
    return Credit(_count(message.metadata, "batches"), _count(message.metadata, "bytes"))


def decode(envelope: Envelope, raw: bytes, *, limit: int, known: Known | None = None) -> Received:
    """Read one message from outside.

    Args:
        limit: longest message to look at, in bytes.
        known: the schema that frames without one may have; None if there may be none.

    Raises:
        FrameTooLargeError: if it is longer, or has more metadata than anybody needs.
        FrameCorruptError: if it is not a message, its frame is broken, or it is a credit, which is not for this stream.
        SchemaMismatchError: if its frame has other columns than it says.
    """
    if len(raw) > limit:
        raise FrameTooLargeError("a message", size=len(raw), limit=limit)
    payload: Any
    try:
        if len(raw) > SPLIT_ABOVE:
            split = split_payload(raw, envelope.field)
            if split is None:
                raise FrameCorruptError(f"a message of {len(raw)} bytes has more fields than anybody needs")
            payload, rest = split
            if len(rest) > MAX_AROUND_BYTES:
                raise FrameTooLargeError("what is around a payload", size=len(rest), limit=MAX_AROUND_BYTES)
            message = envelope.message.FromString(rest)
        else:
            message = envelope.message.FromString(raw)
            payload = getattr(message, envelope.field_name)
    except DecodeError as error:
        raise FrameCorruptError(f"a message of {len(raw)} bytes is not a {envelope.message.__name__}") from error
    if len(message.metadata) > MAX_ENTRIES:
        raise FrameCorruptError(
            f"a message has {len(message.metadata)} entries of metadata, above the limit of {MAX_ENTRIES}"
        )
    content_type = _content_type(message)
    if content_type == arrow.CONTENT_TYPE:
        return _frame_from_wire(message, payload, limit)
    if content_type == REST_CONTENT_TYPE:
        number = _count(message.metadata, SCHEMA_KEY)
        if known is None or known.number != number:
            raise FrameCorruptError(f"a frame has the schema of batch {number}, which is not the last that told one")
        return _frame_from_wire(message, payload, limit, known.schema)
    if content_type == END_CONTENT_TYPE:
        return End(_count(message.metadata, "batches"), _count(message.metadata, "rows"))
    if content_type == CREDIT_CONTENT_TYPE:
        raise FrameCorruptError("a credit came on a stream without credits")
    if content_type == HANDLE_CONTENT_TYPE:
        raise FrameCorruptError("a frame is said to lie in shared memory, and there is none")
    if _is_disguised(message, payload):
        raise FrameCorruptError(f"a frame says that its content type is {content_type[:80]!r}")
    if isinstance(payload, memoryview):
        setattr(message, envelope.field_name, bytes(payload))
    return _row_from_wire(message)


def decode_handle(envelope: Envelope, raw: bytes, *, look: Callable[[str], memoryview], limit: int) -> Frame | None:
    """Read a message as `encode_handle` makes it, and the frame that it speaks of; None if it is another message.

    Args:
        look: gives the bytes that a handle stands for; the batch keeps them alive.
        limit: largest frame to accept.

    Raises:
        FrameTooLargeError, FrameCorruptError, SchemaMismatchError: as `decode`.
    """
    if len(raw) > MAX_HANDLE or HANDLE_TYPE_BYTES not in raw:
        return None
    try:
        message = envelope.message.FromString(raw)
    except DecodeError:
        return None  # `decode` says so
    if _content_type(message) != HANDLE_CONTENT_TYPE:
        return None
    frame = look(message.metadata.get(HANDLE_KEY, ""))
    return replace(_frame_from_wire(message, frame, limit), beside=len(frame))


def _frame_metadata(batch: Batch, number: int, trace: Mapping[str, str]) -> dict[str, str]:
    metadata = {
        "data_format": "apache_arrow",
        "arrow-schema": batch.schema_name,
        "arrow-rows": str(len(batch)),
        "batch-number": str(number),
        **trace,
    }
    if batch.first_cursor is not None:
        metadata["first-cursor"] = str(batch.first_cursor)
    if batch.last_cursor is not None:
        metadata["last-cursor"] = str(batch.last_cursor)
    return metadata


def _envelope(
    envelope: Envelope, event_type: str, content_type: str, metadata: dict[str, str], batch: Batch | None
) -> Any:
    """The message around a payload, without it."""
    first = batch.first_cursor if batch is not None else None
    if envelope is Envelope.EVENT_V1:
        return wire.v1.Event(
            type=event_type, content_type=content_type, metadata=metadata, stellar_cursor=plain.cursor_to_wire(first)
        )
    metadata["content-type"] = content_type
    if envelope is Envelope.EVENT:
        return wire.Event(event_type=event_type, metadata=metadata)
    metadata["event-type"] = event_type
    # A courtesy to people who look at the stream; the batch has its cursors in the metadata.
    sequence = first.sequence if first is not None and first.sequence < 2**32 else 0
    return wire.RawLedger(ledger_sequence=sequence, metadata=metadata)


def _check_around(envelope: Envelope, message: Any, size: int, what: str) -> None:
    """Whether a reader takes what a row of `size` bytes has beside its payload."""
    if (entries := len(message.metadata)) > MAX_ENTRIES:
        raise CodecError(f"{what} has {entries} entries of metadata, above the limit of {MAX_ENTRIES}")
    if size > MAX_AROUND_BYTES:
        around = size - len(getattr(message, envelope.field_name))
        if around > MAX_AROUND_BYTES:
            raise FrameTooLargeError(f"what is around the payload of {what}", size=around, limit=MAX_AROUND_BYTES)


def _content_type(message: Any) -> str:
    """What a message says it is, without parameters."""
    text: str = getattr(message, "content_type", "") or message.metadata.get("content-type", "")
    return text.partition(";")[0]


def _is_disguised(message: Any, payload: Any) -> bool:
    """Whether a message that says it is a row is what damage leaves of a frame: Arrow, and no word of what it is.

    Arrow of somebody else's, under a content type of its own, is a row like any other.
    """
    says_nothing = not _content_type(message) or any(key in message.metadata for key in FRAME_KEYS)
    return says_nothing and arrow.is_frame(payload)


def _frame_from_wire(message: Any, payload: Any, limit: int, schema: Any | None = None) -> Frame:
    # Looked into, not copied: in Python protobuf's maps copy themselves key by key.
    metadata: Mapping[str, str] = message.metadata
    batch = arrow.read_frame(
        payload,
        expected_checksum=metadata.get("checksum", ""),
        expected_rows=_count(metadata, "arrow-rows") if "arrow-rows" in metadata else None,
        limit=limit,
        schema=schema,
    )
    name = schema_name(batch.schema)
    promised = metadata.get("arrow-schema", "")
    if promised and promised != name:
        raise SchemaMismatchError(expected=promised, found=name or "columns without a name")
    number = _count(metadata, "batch-number") if "batch-number" in metadata else None
    trace = {key: metadata[key] for key in TRACE_KEYS if key in metadata}
    if name == LEDGER_SCHEMA:
        return Frame(LedgerBatch(batch), number, trace, has_schema=schema is None)
    event_type = getattr(message, "event_type", "") or getattr(message, "type", "") or metadata.get("event-type", "")
    first = plain.cursor_from_text(metadata.get("first-cursor"))
    last = plain.cursor_from_text(metadata.get("last-cursor"))
    events = EventBatch(batch, event_type=event_type or None, first_cursor=first, last_cursor=last)
    return Frame(events, number, trace, has_schema=schema is None)


def _row_to_wire(envelope: Envelope, row: RawLedger | Event) -> Any:
    if envelope is Envelope.LEDGER:
        if isinstance(row, Event):
            raise CodecError(f"the peer asked for ledgers without Arrow, and {row.event_type or 'this'} is an event")
        return plain.ledger_to_wire(row)
    if envelope is Envelope.EVENT:
        event = plain.ledger_to_event(row, plain.LEDGER_TYPE_CLASSIC) if isinstance(row, RawLedger) else row
        return plain.event_to_classic(event)
    event = plain.ledger_to_event(row, plain.LEDGER_TYPE_V1) if isinstance(row, RawLedger) else row
    return plain.event_to_v1(event)


def _row_from_wire(message: Any) -> RawLedger | Event:
    if isinstance(message, wire.RawLedger):
        return plain.ledger_from_wire(message)
    event = plain.event_from_classic(message) if isinstance(message, wire.Event) else plain.event_from_v1(message)
    return plain.ledger_from_event(event)


def _count(metadata: Mapping[str, str], key: str) -> int:
    text = metadata.get(key, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise FrameCorruptError(f"the metadata {key} is {text[:40]!r}, not a count")
    return int(text)
