"""Damaged messages → `decode`: each gives the named error or rows that can be believed. Seeded, and needs nothing else.

python -m tests.fuzz.frames --cases N [--seed S]
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import time

from flowctl_aio.codec import arrow
from flowctl_aio.codec.envelope import End, Envelope, Frame, decode, encode_end, encode_frame, encode_rows
from flowctl_aio.errors import CodecError
from tests.codec.frames import EVENTS, LEDGERS, LIMIT, TYPED, with_payload, written

# Numbers at which lengths and offsets break.
EDGES = (0, 1, 2**31 - 1, 2**31, 2**62, 2**63 - 1)


def seeds():
    """Whole messages of each envelope, and those whose frames may be changed under a checksum that fits."""
    for envelope in Envelope:
        yield envelope, encode_end(envelope, End(1, 2))
        for batch in (LEDGERS, EVENTS, TYPED):
            yield envelope, encode_frame(envelope, batch, number=0, limit=LIMIT)
        yield envelope, next(encode_rows(envelope, LEDGERS, limit=LIMIT))


def mutated(data, chance):
    """Cut, flipped, with a number at an edge, or with a piece of itself elsewhere."""
    broken = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(broken))
        match chance.randrange(8):
            case 0:
                del broken[max(at, 1) :]
            case 1 | 2 | 3:
                broken[at] ^= 1 << chance.randrange(8)
            case 4 | 5:
                number = struct.pack("<q", chance.choice(EDGES))[: chance.choice((1, 2, 4, 8))]
                broken[at : at + len(number)] = number
            case _:
                start = chance.randrange(len(broken))
                broken[at:at] = broken[start : start + 16]
    return bytes(broken)


def damaged(envelope, raw, chance):
    """The message damaged, or in half of the cases its frame alone, under a checksum that fits the damage."""
    message = envelope.message.FromString(raw)
    if "checksum" in message.metadata and chance.random() < 0.5:
        return with_payload(envelope, message, mutated(getattr(message, envelope.field_name), chance))
    return mutated(raw, chance)


def believable(received):
    """Whether an accepted frame is valid all through and comes back the same when it is written and read again."""
    if not isinstance(received, Frame):
        return True
    rows = received.batch.record_batch
    rows.validate(full=True)
    again = arrow.read_frame(written(rows), expected_checksum="", expected_rows=rows.num_rows, limit=2 * LIMIT)
    # Arrow compares no NaN with another as equal, hence the bytes.
    return again.equals(rows, check_metadata=True) or written(again) == written(rows)


def run(cases, seed):
    """What came of the cases; anything in `strange` is a fault."""
    chance, known = random.Random(seed), list(seeds())
    tally = {"cases": cases, "errors": 0, "frames": 0, "others": 0, "slowest_ms": 0.0, "strange": []}
    for case in range(cases):
        envelope, raw = chance.choice(known)
        data = damaged(envelope, raw, chance)
        start = time.perf_counter()
        try:
            received = decode(envelope, data, limit=LIMIT)
        except CodecError:
            tally["errors"] += 1
        except Exception as error:  # noqa: BLE001 - what is looked for
            tally["strange"].append(f"case {case} of seed {seed}: {error!r}")
        else:
            tally["frames" if isinstance(received, Frame) else "others"] += 1
            if not believable(received):
                tally["strange"].append(f"case {case} of seed {seed}: read in silence as something else")
        tally["slowest_ms"] = max(tally["slowest_ms"], round(1e3 * (time.perf_counter() - start), 1))
    return tally


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    print(json.dumps(run(chosen.cases, chosen.seed)))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
