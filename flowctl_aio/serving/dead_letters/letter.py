"""One event that was set aside ⇄ `ProcessorError`, and the event that carries one to a sink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from google.protobuf.message import DecodeError

from flowctl_aio import _wire as wire
from flowctl_aio.batches import Batch
from flowctl_aio.codec import plain
from flowctl_aio.codec.envelope import Envelope, encode_frame
from flowctl_aio.errors import CodecError, FrameCorruptError
from flowctl_aio.serving.policy import SetAside
from flowctl_aio.types import Cursor, Event, RawLedger

EVENT_TYPE = "flowctl.ProcessorError"
VALIDATION, PROCESSING = "VALIDATION", "PROCESSING"
MAX_ROW_BYTES = 2**31 - 1


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a component failed at, and why.

    Attributes:
        processor_id: component id of who failed.
        error_type: `VALIDATION` if the event is not what it should be, else `PROCESSING`.
        message: the exception's class and what it said.
        original_event: a serialised `flowctl.Event`.
        timestamp: when it failed.
        context: `error` (class of the exception), `attempts`, `event_type`, and where known `cursor`.

    Source: `flowctl.ProcessorError`.
    """

    processor_id: str
    error_type: str
    message: str
    original_event: bytes
    timestamp: datetime
    context: Mapping[str, str]

    @property
    def id(self) -> str:
        """The same for the same event of the same component, so that a second letter about it can be told."""
        return sha256(self.processor_id.encode() + b"\0" + self.original_event).hexdigest()[:32]

    @property
    def cursor(self) -> Cursor | None:
        """Where in the ledger stream the event belongs; None if it does not say."""
        return plain.cursor_from_text(self.context.get("cursor"))

    def event(self) -> Event | RawLedger:
        """The event, as the component would be given it again.

        Raises:
            FrameCorruptError: if the bytes are no event.
        """
        try:
            message = wire.Event.FromString(self.original_event)
        except DecodeError as error:
            raise FrameCorruptError(f"the event in the dead letter {self.id} cannot be read") from error
        return plain.ledger_from_event(plain.event_from_classic(message))


def letter_of(aside: SetAside, component_id: str, now: datetime) -> DeadLetter:
    """The letter about a row that was set aside."""
    original, cursor = _original(aside.row)
    context = {"error": aside.kind, "attempts": str(aside.attempts), "event_type": aside.row.event_type}
    if cursor is not None:
        context["cursor"] = str(cursor)
    return DeadLetter(
        processor_id=component_id,
        error_type=VALIDATION if aside.is_invalid else PROCESSING,
        message=f"{aside.kind}: {aside.reason}" if aside.reason else aside.kind,
        original_event=original,
        timestamp=now,
        context=context,
    )


def _original(row: Batch) -> tuple[bytes, Cursor | None]:
    try:
        value = next(iter(plain.rows(row)))
    except CodecError:
        # A value that Python has not: then the row goes as Arrow, which it came in.
        return encode_frame(Envelope.EVENT, row, number=0, limit=MAX_ROW_BYTES), row.first_cursor
    event = plain.ledger_to_event(value, plain.LEDGER_TYPE_CLASSIC) if isinstance(value, RawLedger) else value
    return plain.event_to_classic(event).SerializeToString(), event.cursor


def letter_to_event(letter: DeadLetter) -> Event:
    """A letter as an event for a sink."""
    message = wire.ProcessorError(
        processor_id=letter.processor_id,
        error_type=letter.error_type,
        message=letter.message,
        original_event=letter.original_event,
        timestamp=plain.timestamp_to_wire(letter.timestamp),
        context=letter.context,
    )
    return Event(
        EVENT_TYPE,
        message.SerializeToString(),
        id=letter.id,
        timestamp=letter.timestamp,
        content_type=plain.PROTOBUF,
        source=letter.processor_id,
        cursor=letter.cursor,
    )


def letter_from_event(event: Event) -> DeadLetter:
    """The letter in an event of type `flowctl.ProcessorError`, for a sink that takes dead letters.

    Raises:
        FrameCorruptError: if it is no dead letter.
    """
    if event.event_type != EVENT_TYPE:
        raise FrameCorruptError(f"an event of type {event.event_type[:200]!r} is no dead letter")
    try:
        message = wire.ProcessorError.FromString(event.payload)
    except DecodeError as error:
        raise FrameCorruptError(f"the dead letter {event.id!r} cannot be read") from error
    return DeadLetter(
        message.processor_id,
        message.error_type,
        message.message,
        message.original_event,
        plain.timestamp_from_wire(message.timestamp),
        dict(message.context),
    )
