"""Dead letters ⇄ files: lines of JSON in one file, or a folder of Parquet files.

Nothing here is async: whoever calls is in a thread. What is written is durable when the call returns, and files
are the owner's alone (0600), for events may hold anything.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowctl_aio.durable import sync
from flowctl_aio.errors import DeadLetterError
from flowctl_aio.serving.dead_letters.letter import DeadLetter

logger = logging.getLogger(__name__)
FIELDS = ("processor_id", "error_type", "message", "original_event", "timestamp", "context")


def write_lines(path: Path, letters: Sequence[DeadLetter]) -> None:
    """Append letters to a file, one JSON object a line, in one write: streams and processes may share the file.

    Raises:
        OSError: if it cannot be written. A line cut short by that, or by a kill, spoils no other.
    """
    data = b"".join(_line(letter) for letter in letters)
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        if end and file.read(1) != b"\n":
            data = b"\n" + data  # somebody was cut short
        written = file.write(data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes could be written")
        os.fsync(file.fileno())
    if is_new:
        sync(path.parent)


def write_part(folder: Path, letters: Sequence[DeadLetter]) -> None:
    """Add letters to a folder as a Parquet file of their own, which appears whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    schema = pa.schema(
        [
            ("processor_id", pa.string()),
            ("error_type", pa.string()),
            ("message", pa.string()),
            ("original_event", pa.large_binary()),
            ("timestamp", pa.timestamp("us", tz="UTC")),
            ("context", pa.map_(pa.string(), pa.string())),
        ]
    )
    columns = [[getattr(letter, name) for letter in letters] for name in FIELDS[:-1]]
    columns.append([list(letter.context.items()) for letter in letters])
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
    name = f"letters-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}.parquet"
    part = folder / f".{name}.part"  # readers of folders leave out what begins with a dot
    try:
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            pq.write_table(pa.table(arrays, schema=schema), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        part.rename(folder / name)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(folder)


def read_dead_letters(path: str | Path) -> Iterator[DeadLetter]:
    """The letters of a `.jsonl` file or a `.parquet` folder, in the order in which they were written.

    A line or file that is not whole is left out with a warning: its writer died, and the events in it were
    never answered, so they have come or will come again.

    Raises:
        DeadLetterError: if there is nothing at `path`, or it cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            for part in sorted(path.glob("letters-*.parquet")):
                yield from _read_part(part)
        else:
            yield from _read_lines(path)
    except OSError as error:
        raise DeadLetterError(f"the dead letters at {path} cannot be read: {error}") from error


def _line(letter: DeadLetter) -> bytes:
    values: dict[str, Any] = {name: getattr(letter, name) for name in FIELDS}
    values["original_event"] = base64.b64encode(letter.original_event).decode()
    values["timestamp"] = letter.timestamp.isoformat()
    values["context"] = dict(letter.context)
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _read_lines(path: Path) -> Iterator[DeadLetter]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                letter = _letter(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                logger.warning("line %d of %s is no whole dead letter: %s", number, path, type(error).__name__)
                continue
            yield letter


def _letter(values: Any) -> DeadLetter:
    texts = {name: values[name] for name in ("processor_id", "error_type", "message")}
    context = dict(values["context"])
    if not all(isinstance(text, str) for text in (*texts.values(), *context, *context.values())):
        raise TypeError
    original = base64.b64decode(values["original_event"], validate=True)
    moment = datetime.fromisoformat(values["timestamp"])
    return DeadLetter(**texts, original_event=original, timestamp=moment, context=context)


def _read_part(path: Path) -> Iterator[DeadLetter]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        logger.warning("%s is no whole file of dead letters: %s", path, error)
        return
    with file:
        for batch in file.iter_batches(batch_size=100, columns=list(FIELDS)):
            for row in batch.to_pylist():
                yield DeadLetter(**{**row, "context": dict(row["context"])})
