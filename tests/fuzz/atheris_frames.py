"""The same as a target of atheris, which looks for inputs that reach code no input has reached before.

python -m tests.fuzz.atheris_frames --write-seeds FOLDER
python -m tests.fuzz.atheris_frames FOLDER -max_total_time=600 -timeout=5 -rss_limit_mb=2048

The first byte of an input chooses what reads the rest. Anything but the named error, a row that can be believed, or
the same from both ways of reading ends it, as does an input that takes too long. atheris is no dependency of ours.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["flowctl_aio.codec", "flowctl_aio.batches"]):
    from flowctl_aio.codec import arrow
    from flowctl_aio.codec.envelope import Envelope, decode
    from flowctl_aio.codec.protobuf import SPLIT_ABOVE
    from flowctl_aio.errors import CodecError

from tests.codec.frames import LIMIT, with_payload

from .frames import KNOWN, believable, seeds, splits_alike
from .mutations import mutated, refielded, rewired, varint

ENVELOPES = tuple(Envelope)
# Longer inputs are damaged in no other ways, only slower.
MAX_INPUT = 4096
# A field that no envelope has, long enough for the payload behind it to be taken out by hand.
PADDING = varint(1000 << 3 | 2) + varint(SPLIT_ABOVE) + bytes(SPLIT_ABOVE)


def read_envelope(envelope, data):
    """Whatever it is, it is the same alone and behind something that makes the message a long one."""
    assert splits_alike(envelope, PADDING + data), "split in another way than protobuf does"
    short, long = outcome(envelope, data), outcome(envelope, PADDING + data)
    assert type(short) is type(long), f"{short!r} alone, {long!r} behind padding"
    assert believable(short), "read in silence as something else"
    assert believable(long), "read in silence as something else"


def outcome(envelope, data):
    try:
        return decode(envelope, data, limit=LIMIT, known=KNOWN)
    except CodecError:
        return None


def read_frame(envelope, data):
    """A frame alone, and then in an envelope with a checksum that fits."""
    try:
        arrow.read_frame(data, expected_checksum="", expected_rows=None, limit=LIMIT).validate(full=True)
    except CodecError:
        return
    raw = with_payload(envelope, envelope.message(metadata={"checksum": ""}), data)
    read_envelope(envelope, raw)


TARGETS = [(read, envelope) for read in (read_envelope, read_frame) for envelope in ENVELOPES]


def test_one_input(data: bytes) -> None:
    if data:
        read, envelope = TARGETS[data[0] % len(TARGETS)]
        read(envelope, data[1:])


def change(data: bytes, max_size: int, seed: int) -> bytes:
    """Now and then by its structure, otherwise as atheris does."""
    chance = Random(seed)
    if len(data) < 3 or chance.random() < 0.4:
        return atheris.Mutate(data, max_size)
    by_structure = refielded if data[0] % len(TARGETS) < len(ENVELOPES) else rewired
    how = mutated if chance.random() < 0.2 else by_structure
    return (data[:1] + how(data[1:], chance))[:max_size]


def write_seeds(folder: Path) -> None:
    """Whole messages of each envelope, and the frames in them; not the long ones, the padding stands for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (envelope, raw) in enumerate(seeds()):
        if len(raw) >= MAX_INPUT:
            continue
        which = ENVELOPES.index(envelope)
        (folder / f"seed-{number:02}").write_bytes(bytes((which,)) + raw)
        payload = getattr(envelope.message.FromString(raw), envelope.field_name)
        if arrow.is_frame(payload):
            (folder / f"seed-{number:02}-frame").write_bytes(bytes((which + len(ENVELOPES),)) + payload)


def main() -> None:
    if sys.argv[1:2] == ["--write-seeds"]:
        write_seeds(Path(sys.argv[2]))
        return
    atheris.Setup([*sys.argv, f"-max_len={MAX_INPUT}"], test_one_input, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
