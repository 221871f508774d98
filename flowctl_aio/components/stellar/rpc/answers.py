"""What a Stellar RPC server answers, checked: text in, ledgers and numbers out.

A server is a stranger. Whatever does not have the shape of an answer is a PassingError, since a proxy in front of a
good server gives such things too; the caller asks again, and counts.

Source: Stellar RPC API reference, `getLedgers`, `getHealth` and `getNetwork`; JSON-RPC 2.0.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from flowctl_aio.components.stellar.lake.objects import StoredLedger
from flowctl_aio.components.stellar.lake.store import PassingError
from flowctl_aio.errors import LedgerDecodeError

_MAX_WORDS = 200
"""Characters of a server's own words that are passed on."""


class RefusedError(PassingError):
    """The server answered with an error.

    Attributes:
        code: as JSON-RPC numbers errors.
        words: what the server says.
    """

    def __init__(self, code: int, words: str) -> None:
        self.code, self.words = code, words
        super().__init__(f"the server says {words!r} ({code})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The ledgers that a server holds, both included."""

    oldest: int
    latest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Ledgers that follow each other.

    Attributes:
        ledgers: ascending by one; they may be fewer than were asked for.
        latest: the last ledger that the server holds.
        fault: what is wrong with the ledger behind them; None if nothing is.
    """

    ledgers: list[StoredLedger]
    latest: int
    fault: str | None


def read_result(text: bytes, number: int | None) -> dict[str, Any]:
    """Takes the result out of the answer to call `number`, or to any call if that is None.

    Raises:
        RefusedError: if it is an error.
        PassingError: if it is no answer to this call.
    """
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PassingError("the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise PassingError("the answer is not a JSON object")
    refusal = answer.get("error")
    if isinstance(refusal, dict):
        code, words = refusal.get("code"), refusal.get("message")
        words = " ".join(words.split())[:_MAX_WORDS] if isinstance(words, str) else "nothing"
        raise RefusedError(code if type(code) is int else 0, words)
    if number is not None and answer.get("id") != number:
        raise PassingError("the answer is to another call")
    result = answer.get("result")
    if not isinstance(result, dict):
        raise PassingError("the answer has no result")
    return result


def read_window(result: dict[str, Any]) -> Window:
    """Reads the bounds that `getHealth` tells.

    Raises:
        PassingError: if they are not there.
    """
    window = Window(oldest=_number(result, "oldestLedger"), latest=_number(result, "latestLedger"))
    if window.latest < window.oldest:
        raise PassingError(f"the server holds ledgers {window.oldest} to {window.latest}, it says")
    return window


def read_passphrase(result: dict[str, Any]) -> str:
    """Reads the passphrase that `getNetwork` tells.

    Raises:
        PassingError: if it is not there.
    """
    passphrase = result.get("passphrase")
    if not isinstance(passphrase, str) or not passphrase:
        raise PassingError("the answer has no passphrase")
    return passphrase


def read_page(
    result: dict[str, Any], *, first: int | None, limit: int | None = None, previous: StoredLedger | None = None
) -> Page:
    """Reads what `getLedgers` gives, up to the first ledger that is not what it should be.

    Args:
        result: of the answer.
        first: the ledger that must come first; None takes any.
        limit: the most that were asked for.
        previous: the ledger before, to check the chain; None checks it inside of the page only.

    Raises:
        PassingError: if it is no page at all.
    """
    entries = result.get("ledgers")
    if entries is None:
        entries = []  # an empty list, as some servers write it
    if not isinstance(entries, list):
        raise PassingError("the answer has no list of ledgers")
    if limit is not None and len(entries) > limit:
        raise PassingError(f"the answer has {len(entries)} ledgers where {limit} were asked for")
    latest = _number(result, "latestLedger")
    ledgers: list[StoredLedger] = []
    fault = None
    for entry in entries:
        try:
            ledger = _read_ledger(entry, first if previous is None else previous.sequence + 1, previous)
        except (PassingError, LedgerDecodeError) as error:
            fault = str(error)
            break
        ledgers.append(ledger)
        previous = ledger
    return Page(ledgers=ledgers, latest=latest, fault=fault)


def _read_ledger(entry: object, expected: int | None, previous: StoredLedger | None) -> StoredLedger:
    if not isinstance(entry, dict):
        raise PassingError("an entry of the page is not a JSON object")
    sequence = _number(entry, "sequence")
    if expected is not None and sequence != expected:
        raise PassingError(f"the server gives ledger {sequence} where ledger {expected} should be")
    encoded, announced = entry.get("metadataXdr"), entry.get("hash")
    if not isinstance(encoded, str) or not isinstance(announced, str):
        raise PassingError(f"ledger {sequence} comes without its hash or its XDR")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PassingError(f"the XDR of ledger {sequence} is not base64") from error
    ledger = StoredLedger.of(data, stored_bytes=len(encoded))
    if len(data) % 4:
        raise PassingError(f"the XDR of ledger {sequence} is cut: it has {len(data)} bytes")
    if ledger.sequence != sequence:
        raise PassingError(f"what is called ledger {sequence} is ledger {ledger.sequence}")
    if ledger.hash.hex() != announced.lower():
        raise PassingError(f"ledger {sequence} is announced with another hash than it has")
    if previous is not None and (reason := ledger.break_after(previous)) is not None:
        raise PassingError(reason)
    return ledger


def _number(values: dict[str, Any], name: str) -> int:
    """A ledger's number; published samples have some numbers as text."""
    value = values.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if type(value) is not int or not 0 <= value < 2**32:
        raise PassingError(f"the answer has no {name}")
    return value
