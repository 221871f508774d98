"""Every error the SDK raises, as one tree. Whose fault it is picks the class.

    FlowctlError                      never raised itself
    ├── ConfigError                   yours: a setting (also a ValueError)
    ├── UsageError                    yours: a call out of order (also a RuntimeError)
    ├── CodecError                    the bytes: something outside did not decode (also a ValueError)
    │   ├── FrameCorruptError         cut, changed on the way, or no frame at all
    │   ├── FrameTooLargeError        above the limit that was set
    │   ├── SchemaMismatchError       well formed, but not the columns that were asked for
    │   └── LedgerDecodeError         not a ledger, or not one of a known version
    ├── ControlError                  the control plane
    │   ├── PlaneUnavailableError     cannot be reached (also a ConnectionError)
    │   ├── RegistrationError         reached, and said no
    │   ├── NotRegisteredError        the plane does not know this service
    │   ├── UnimplementedError        the plane is an older one, and lacks what was asked for
    │   └── PeerNotFoundError         discovery found nobody who fits
    ├── StreamError                   a data stream, or the peer behind it
    │   ├── PeerUnavailableError      cannot be reached, or went away (also a ConnectionError)
    │   ├── StreamTruncatedError      ended without its end marker: what came may not be all
    │   ├── StreamCancelledError      cancelled from elsewhere, not by this task
    │   └── PeerError                 the peer's component failed, and said so
    ├── ComponentError                a component's own code
    │   ├── BadEventsError            rows of a batch that it cannot take, by number
    │   ├── MissingLedgerError        a ledger inside the range is not there
    │   │   └── LedgerGoneError       it was there, and a server has let go of it
    │   ├── LakeError                 a data lake cannot be read as one
    │   └── RpcError                  a Stellar RPC server does not give what was asked for
    ├── DeadLetterError               events that were set aside cannot be written, or read again
    ├── DeadlineExceededError         no answer in time (also a TimeoutError)
    └── SessionClosedError            the session has ended, and with it everything that was opened from it

An error takes facts, keeps them as attributes, and writes its own sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class FlowctlError(Exception):
    """The root of the tree; catch it to catch everything that is ours."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructors take facts, not the sentence, so the default way of copying
        # an exception to another process would call them with the wrong arguments.
        return _revive, (type(self), self.args, self.__dict__)


def _revive(kind: type[FlowctlError], args: tuple[Any, ...], facts: dict[str, Any]) -> FlowctlError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(facts)
    return error


class ConfigError(FlowctlError, ValueError):
    """One or more settings are wrong; `problems` has a sentence for each."""

    def __init__(self, *problems: str) -> None:
        self.problems: Sequence[str] = problems
        super().__init__("; ".join(problems))


class UsageError(FlowctlError, RuntimeError):
    """A method was called when, or in a way, that it cannot work."""


class CodecError(FlowctlError, ValueError):
    """Bytes from outside do not decode."""


class FrameCorruptError(CodecError):
    """A frame is cut, was changed on the way, or contradicts its own metadata."""


class FrameTooLargeError(CodecError):
    """A frame, or one row of it, is above its limit.

    Attributes:
        size: what it is, in bytes.
        limit: what it may be, in bytes.
    """

    def __init__(self, what: str, *, size: int, limit: int) -> None:
        self.what, self.size, self.limit = what, size, limit
        super().__init__(f"{what} takes {size} bytes, above the limit of {limit}")


class SchemaMismatchError(CodecError):
    """A frame decodes, but its columns are not those of the schema it should have."""

    def __init__(self, *, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"expected the schema {expected}, found {found}")


class LedgerDecodeError(CodecError):
    """A ledger's XDR cannot be read.

    Attributes:
        ledger: its sequence, None where the bytes do not even tell that.
        offset: the byte at which reading failed, counted from the start of the ledger.
    """

    def __init__(self, reason: str, *, ledger: int | None = None, offset: int | None = None) -> None:
        self.reason, self.ledger, self.offset = reason, ledger, offset
        who = "a ledger" if ledger is None else f"ledger {ledger}"
        where = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{who} cannot be read{where}: {reason}")


class ControlError(FlowctlError):
    """A conversation with the control plane failed."""


class PlaneUnavailableError(ControlError, ConnectionError):
    """The control plane does not answer."""


class RegistrationError(ControlError):
    """The control plane answered, and refused the registration."""


class NotRegisteredError(ControlError):
    """The control plane does not know this service: it restarted, or somebody removed the entry."""


class UnimplementedError(ControlError):
    """The control plane lacks the method that was called."""


class PeerNotFoundError(ControlError):
    """Discovery found no service that fits."""


class StreamError(FlowctlError):
    """A data stream failed.

    Attributes:
        peer: the address of the other end.
        code: name of the gRPC status, where there was one.
        details: the peer's own words, where there were any.
    """

    def __init__(self, reason: str, *, peer: str = "", code: str | None = None, details: str | None = None) -> None:
        self.reason, self.peer, self.code, self.details = reason, peer, code, details
        super().__init__(f"{peer}: {reason}" if peer else reason)


class PeerUnavailableError(StreamError, ConnectionError):
    """The peer cannot be reached, or went away in the middle."""


class StreamTruncatedError(StreamError):
    """A stream ended too early: between SDK peers without its end marker, or before the last ledger of a range.

    What came may not be all of it.
    """


class StreamCancelledError(StreamError):
    """The call was cancelled, though nobody cancelled the task that was using it."""


class PeerError(StreamError):
    """The component at the other end failed; `details` has what it was willing to tell."""


class ComponentError(FlowctlError):
    """A component's own code failed."""


class BadEventsError(ComponentError):
    """Some rows of a batch cannot be processed; raised by a component that knows which.

    Attributes:
        rows: the number of each, counted from 0 in the batch that the component was given, and what is wrong with it.
    """

    def __init__(self, rows: Mapping[int, str]) -> None:
        self.rows = dict(rows)
        first = next((f": row {row}: {reason}" for row, reason in self.rows.items()), "")
        count = len(self.rows)
        super().__init__(f"{count} {'row' if count == 1 else 'rows'} cannot be processed{first}")


class MissingLedgerError(ComponentError):
    """A bounded range has a hole.

    Attributes:
        ledger: the first sequence that is not there.
    """

    def __init__(self, ledger: int, where: str) -> None:
        self.ledger, self.where = ledger, where
        super().__init__(f"ledger {ledger} is not in {where}")


class LedgerGoneError(MissingLedgerError):
    """A server keeps ledgers for a while only, and this one is past it.

    Attributes:
        ledger: the one that was asked for.
        oldest: the oldest that the server still has.
    """

    def __init__(self, ledger: int, where: str, *, oldest: int) -> None:
        super().__init__(ledger, where)
        self.oldest = oldest
        self.args = (f"ledger {ledger} was asked for, and the oldest that {where} still has is {oldest}",)


class LakeError(ComponentError):
    """A data lake has no manifest and no settings in its place, contradicts its manifest, or cannot be opened."""


class RpcError(ComponentError):
    """A Stellar RPC server cannot be reached, refuses, or goes on answering wrongly."""


class DeadLetterError(FlowctlError):
    """Events that a component failed at cannot be written to where dead letters go, or read from there."""


class DeadlineExceededError(FlowctlError, TimeoutError):
    """An answer did not come in time."""


class SessionClosedError(FlowctlError):
    """The session this came from has ended."""
