"""Damaged messages → `decode`: each gives the named error or rows that can be believed. Seeded, and needs nothing else.

python -m tests.fuzz.frames --cases N [--seed S]
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import resource
import signal
import time

import pyarrow as pa
from google.protobuf.message import DecodeError

from flowctl_aio.batches import LedgerBatch
from flowctl_aio.codec import arrow
from flowctl_aio.codec.envelope import (
    End,
    Envelope,
    Frame,
    Known,
    decode,
    encode_end,
    encode_frame,
    encode_rest,
    encode_rows,
)
from flowctl_aio.codec.protobuf import SPLIT_ABOVE, split_payload
from flowctl_aio.errors import CodecError
from flowctl_aio.types import RawLedger
from tests.codec.frames import EVENTS, LEDGERS, LIMIT, TYPED, transfers, with_payload, written

from .mutations import mutated, refielded, rewired

# Above `SPLIT_ABOVE`, where the payload is taken out by hand, and not by the parser of protobuf.
LARGE = LedgerBatch.from_ledgers(
    [RawLedger(7, random.Random(7).randbytes(11_000)), RawLedger(8, b"\x0a\x05" * 4000, metadata={"a": "b"})]
)
LONG_ROW = LedgerBatch.from_ledgers([RawLedger(9, b"x" * 20_000)])
MANY = transfers([(f"ASSET{row}", row) for row in range(1500)], event_type="t")
# What the frame before a frame without its schema had.
KNOWN = Known(0, EVENTS.schema)
# Longest time that one case may take, in seconds.
CASE_LIMIT = 5.0


def seeds():
    """Whole messages of each envelope, and those whose frames may be changed under a checksum that fits."""
    for envelope in Envelope:
        yield envelope, encode_end(envelope, End(1, 2))
        for batch in (LEDGERS, EVENTS, TYPED, LARGE, MANY):
            yield envelope, encode_frame(envelope, batch, number=0, limit=LIMIT)
        yield envelope, encode_rest(envelope, EVENTS, number=1, known=KNOWN)
        for batch in (LEDGERS, LONG_ROW):
            yield envelope, next(encode_rows(envelope, batch, limit=LIMIT))


def damaged(envelope, raw, chance):
    """The message damaged, or in half of the cases its frame alone, under a checksum that fits the damage."""
    message = envelope.message.FromString(raw)
    if "checksum" in message.metadata and chance.random() < 0.5:
        change = rewired if chance.random() < 0.6 else mutated
        return with_payload(envelope, message, change(getattr(message, envelope.field_name), chance))
    return (refielded if chance.random() < 0.5 else mutated)(raw, chance)


def believable(received):
    """Whether an accepted frame is valid all through and comes back the same when it is written and read again."""
    if not isinstance(received, Frame):
        return True
    rows = received.batch.record_batch
    rows.validate(full=True)
    again = arrow.read_frame(written(rows), expected_checksum="", expected_rows=rows.num_rows, limit=2 * LIMIT)
    # Arrow compares no NaN with another as equal, hence the bytes.
    return again.equals(rows, check_metadata=True) or written(again) == written(rows)


def splits_alike(envelope, raw):
    """Whether the payload that is taken out by hand is the one that the parser of protobuf finds."""
    try:
        whole = envelope.message.FromString(raw)
    except DecodeError:
        whole = None
    try:
        split = split_payload(raw, envelope.field)
        if split is None:
            return True  # left to the parser of protobuf
        payload, rest = split
        left = envelope.message.FromString(rest)
    except (CodecError, DecodeError):
        return whole is None
    if whole is None or bytes(payload) != getattr(whole, envelope.field_name):
        return False
    whole.ClearField(envelope.field_name)
    return left == whole


def is_known(envelope, raw):
    """Whether it has a frame whose schema was read before, so that only the rest of it is read."""
    try:
        payload = getattr(envelope.message.FromString(raw), envelope.field_name)
    except DecodeError:
        return False
    return arrow._head(pa.py_buffer(payload)) in arrow._known


def run(cases, seed, *, before_each=lambda: None):
    """What came of the cases; anything in `strange` is a fault."""
    chance, seeded = random.Random(seed), list(seeds())
    tally = {"cases": cases, "errors": 0, "frames": 0, "others": 0, "split": 0, "known": 0, "slowest_ms": 0.0}
    strange = tally["strange"] = []
    for case in range(cases):
        envelope, raw = chance.choice(seeded)
        data = damaged(envelope, raw, chance)
        before_each()
        tally["split"] += len(data) > SPLIT_ABOVE
        tally["known"] += is_known(envelope, data)
        start = time.perf_counter()
        try:
            received = decode(envelope, data, limit=LIMIT, known=KNOWN)
        except CodecError:
            tally["errors"] += 1
        except Exception as error:  # noqa: BLE001 - what is looked for
            strange.append(f"case {case} of seed {seed}: {error!r}")
        else:
            tally["frames" if isinstance(received, Frame) else "others"] += 1
            if not believable(received):
                strange.append(f"case {case} of seed {seed}: read in silence as something else")
        tally["slowest_ms"] = max(tally["slowest_ms"], round(1e3 * (time.perf_counter() - start), 1))
        if not splits_alike(envelope, data):
            strange.append(f"case {case} of seed {seed}: split in another way than protobuf does")
    return tally


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    # A case that hangs ends the process with a traceback, also where it hangs outside of Python.
    faulthandler.register(signal.SIGALRM, chain=True)
    tally = run(chosen.cases, chosen.seed, before_each=lambda: signal.setitimer(signal.ITIMER_REAL, CASE_LIMIT))
    signal.setitimer(signal.ITIMER_REAL, 0)
    tally["max_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(tally))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
